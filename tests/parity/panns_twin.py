"""CNN14 and ResNet38 in torch, NCHW, written from the layer tables, with the parameter names of the public checkpoints."""

import torch
import torch.nn.functional as F
from torch import nn


class TwinConvBlock(nn.Module):
    def __init__(self, i, o):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(i, o, 3, padding=1, bias=False), nn.BatchNorm2d(o)
        self.conv2, self.bn2 = nn.Conv2d(o, o, 3, padding=1, bias=False), nn.BatchNorm2d(o)

    def forward(self, x, pool):
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        return F.avg_pool2d(x, pool)


class TwinResidual(nn.Module):
    def __init__(self, i, o, stride):
        super().__init__()
        self.stride = stride
        self.conv1, self.bn1 = nn.Conv2d(i, o, 3, padding=1, bias=False), nn.BatchNorm2d(o)
        self.conv2, self.bn2 = nn.Conv2d(o, o, 3, padding=1, bias=False), nn.BatchNorm2d(o)
        self.downsample = None
        if stride == 2 or i != o:
            pool = nn.AvgPool2d(2) if stride == 2 else nn.Identity()
            self.downsample = nn.Sequential(pool, nn.Conv2d(i, o, 1, bias=False), nn.BatchNorm2d(o))

    def forward(self, x):
        identity = x if self.downsample is None else self.downsample(x)
        x = F.avg_pool2d(x, 2) if self.stride == 2 else x
        x = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(x)) + identity)


class TwinPanns(nn.Module):
    """Takes an `audiojax.encoders.panns.PannsConfig` with a head."""

    def __init__(self, config):
        super().__init__()
        self.config, channels = config, config.channels
        self.bn0 = nn.BatchNorm2d(config.mels)
        self.conv_block1 = TwinConvBlock(1, channels[0])
        if config.arch == "cnn14":
            for n, (i, o) in enumerate(zip(channels, channels[1:], strict=False), start=2):
                setattr(self, f"conv_block{n}", TwinConvBlock(i, o))
        else:
            self.resnet = nn.Module()
            for n, (i, o, depth) in enumerate(zip(channels, channels[1:-1], config.depths, strict=False), start=1):
                blocks = [TwinResidual(i if j == 0 else o, o, 2 if n > 1 and j == 0 else 1) for j in range(depth)]
                setattr(self.resnet, f"layer{n}", nn.Sequential(*blocks))
            self.conv_block_after1 = TwinConvBlock(channels[-2], channels[-1])
        self.fc1 = nn.Linear(channels[-1], channels[-1])
        self.fc_audioset = nn.Linear(channels[-1], config.classes)

    def forward(self, mel):
        x = mel[:, None]  # [b, 1, time, mel]
        x = self.bn0(x.transpose(1, 3)).transpose(1, 3)
        x = self.conv_block1(x, 2)
        if self.config.arch == "cnn14":
            last = len(self.config.channels)
            for n in range(2, last + 1):
                x = getattr(self, f"conv_block{n}")(x, self.config.last_pool if n == last else 2)
        else:
            for n in range(1, len(self.config.depths) + 1):
                x = getattr(self.resnet, f"layer{n}")(x)
            x = self.conv_block_after1(F.avg_pool2d(x, 2), self.config.last_pool)
        frames = x.mean(dim=3).transpose(1, 2)  # [b, time, channels]
        clip = frames.max(dim=1).values + frames.mean(dim=1)
        embedding = F.relu(self.fc1(clip))
        return {"clip": clip, "frames": frames, "embedding": embedding, "clipwise": torch.sigmoid(self.fc_audioset(embedding))}


def load(module, state):
    """Loads numpy arrays; every weight of the torch module must be given, and nothing else (the batch counters aside)."""
    missing, unexpected = module.load_state_dict({name: torch.tensor(value) for name, value in state.items()}, strict=False)
    assert not unexpected, unexpected
    assert all(name.endswith("num_batches_tracked") for name in missing), missing
    return module
