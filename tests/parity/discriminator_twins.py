"""The discriminators of spectrograms and of waveforms in torch, from the layer tables, with torch's own weight and spectral norm."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import spectral_norm
from torch.nn.utils.parametrizations import weight_norm

from audiojax.partition import flat_paths


def patch_twin(config):
    """The layers of a `PatchDiscriminatorConfig` one after another; its norms are in training mode."""
    widths = [config.channels * min(2**i, 8) for i in range(config.layers + 1)]
    layers = [nn.Conv2d(1, widths[0], 4, 2, 1), nn.LeakyReLU(0.2)]
    for i, (before, width) in enumerate(zip(widths, widths[1:], strict=False), start=1):
        layers += [nn.Conv2d(before, width, 4, 2 if i < config.layers else 1, 1, bias=False), nn.BatchNorm2d(width), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, 4, 1, 1))


def fill_patch_twin(twin, params):
    """Copies the parameters of a `PatchDiscriminator`, whose names count layers."""
    convolutions = [layer for layer in twin if isinstance(layer, nn.Conv2d)]
    norms = [layer for layer in twin if isinstance(layer, nn.BatchNorm2d)]
    names = [*(f"conv_{i}" for i in range(len(convolutions) - 1)), "conv_out"]
    for layer, name in zip(convolutions, names, strict=True):
        _copy(layer.weight, np.transpose(params[name]["kernel"], (3, 2, 0, 1)))
        if layer.bias is not None:
            _copy(layer.bias, params[name]["bias"])
    for i, layer in enumerate(norms, start=1):
        _copy(layer.weight, params[f"norm_{i}"]["scale"])
        _copy(layer.bias, params[f"norm_{i}"]["bias"])


class WaveformTwins(nn.Module):
    """All sub-discriminators of a `WaveformDiscriminatorConfig`: the first scale has spectral norm, all others weight norm."""

    def __init__(self, config):
        super().__init__()
        self.config, self.subs = config, nn.ModuleDict()
        around = (config.period_kernel - 1) // 2
        for period in config.periods:
            widths = (1, *config.period_channels)
            steps = [3] * (len(config.period_channels) - 1) + [1]
            layers = [
                nn.Conv2d(a, b, (config.period_kernel, 1), (s, 1), (around, 0)) for a, b, s in zip(widths, widths[1:], steps, strict=False)
            ]
            self.subs[f"period_{period}"] = nn.ModuleList(map(weight_norm, [*layers, nn.Conv2d(widths[-1], 1, (3, 1), 1, (1, 0))]))
        for i in range(config.scales):
            widths = (1, *(layer.channels for layer in config.scale_layers))
            layers = [
                nn.Conv1d(before, layer.channels, layer.kernel, layer.stride, (layer.kernel - 1) // 2, groups=layer.groups)
                for before, layer in zip(widths, config.scale_layers, strict=False)
            ]
            norm = weight_norm if i else spectral_norm
            self.subs[f"scale_{i}"] = nn.ModuleList(map(norm, [*layers, nn.Conv1d(widths[-1], 1, 3, 1, 1)]))

    def fill(self, split, vectors):
        """Copies directions, gains, biases and the vectors of the power iteration."""
        directions, gains, vectors = (flat_paths(tree) for tree in (split["direction"], split["gain"], vectors))
        for name, layers in self.subs.items():
            for i, layer in enumerate(layers):
                path = f"{name}/conv_{'out' if i == len(layers) - 1 else i}"
                one_row = isinstance(layer, nn.Conv1d)  # ours has a height of one
                _copy(layer.bias, directions[f"{path}/bias"])
                if f"{path}/kernel" in gains:
                    weight = layer.parametrizations.weight
                    _copy(weight.original0, _in_torch(gains[f"{path}/kernel"], one_row))
                    _copy(weight.original1, _in_torch(directions[f"{path}/kernel"], one_row))
                else:
                    _copy(layer.weight_orig, _in_torch(directions[f"{path}/kernel"], one_row))
                    _copy(layer.weight_u, vectors[f"{path}/kernel"])

    def forward(self, waveform):
        """[(logits, features)] of every sub-discriminator, features as torch lays them out."""
        found, heard = [], waveform[:, None]
        for name, layers in self.subs.items():
            kind, number = name.split("_")
            if kind == "period":
                filled = F.pad(waveform[:, None], (0, -waveform.shape[1] % int(number)), "reflect")
                x = filled.reshape(len(waveform), 1, -1, int(number))
            else:
                heard = F.avg_pool1d(heard, 4, 2, 2) if int(number) else heard
                x = heard
            features = []
            for layer in layers[:-1]:
                x = F.leaky_relu(layer(x), self.config.slope)
                features.append(x)
            x = layers[-1](x)
            found.append((x.flatten(1), [*features, x]))
        return found


def _in_torch(kernel, one_row):
    """[y, x, in, out] as [out, in, y, x], or as [out, in, x]."""
    kernel = np.transpose(kernel, (3, 2, 0, 1))
    return kernel[:, :, 0] if one_row else kernel


def _copy(target, value):
    with torch.no_grad():
        target.copy_(torch.from_numpy(np.array(value, np.float32)))
