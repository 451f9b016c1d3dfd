"""PANNs CNN14 and ResNet38, the audio towers: convolutional networks over a log-mel spectrogram (arXiv 1912.10211).

`Panns(PRESETS["cnn14"]["tiny"])` is a linen module. Input is log-mel in dB, [b, frames, mels]; images are NHWC with H = time and W = mel.
Facts and sizes: "qiuqiangkong/audioset_tagging_cnn code". Zero-padded frames take part in the pooling, as they do there.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float

from audiojax.typing import Array, Key

XAVIER = nn.initializers.xavier_uniform()


@dataclass(frozen=True)
class PannsConfig:
    """Sizes of one tower; the defaults are the published CNN14.

    Attributes:
      arch: "cnn14" or "resnet38".
      mels: mel bins of the input.
      channels: output channels per stage. cnn14: one ConvBlock each. resnet38: the first is a ConvBlock, the last the ConvBlock
        after the residual layers, and those between are the residual layers.
      depths: residual blocks per residual layer (resnet38 only).
      input_pool: pooling of the spectrogram over (time, mel) before the first stage; (1, 1) is the published network. (2, 2) in the tiny
        presets cuts the first stage to a quarter, which is most of a narrow network's cost.
      last_pool: pooling of the last ConvBlock over (time, mel): (1, 1) in PANNs, (2, 2) in "XinhaoMei/audio-text_retrieval code".
      head: whether to add fc1 and the tagging layer.
      classes: AudioSet tags of the head.
      dropout: after every stage, in training.
      block_dropout: inside residual blocks: 0.1 in PANNs, 0.2 in Mei's copy.
      head_dropout: before fc1 and before the tagging layer.
      sample_rate: rate (Hz) of the front end that the weights expect; the network itself does not use it.
    """

    arch: str = "cnn14"
    mels: int = 64
    channels: tuple[int, ...] = (64, 128, 256, 512, 1024, 2048)
    depths: tuple[int, ...] = ()
    input_pool: tuple[int, int] = (1, 1)
    last_pool: tuple[int, int] = (1, 1)
    head: bool = False
    classes: int = 527
    dropout: float = 0.2
    block_dropout: float = 0.1
    head_dropout: float = 0.5
    sample_rate: int = 32_000

    @property
    def width(self) -> int:
        """Features of the clip vector."""
        return self.channels[-1]

    @property
    def layers(self) -> int:
        """Stages and residual blocks."""
        return len(self.channels) + sum(self.depths)


_RESNET38 = PannsConfig(arch="resnet38", channels=(64, 64, 128, 256, 512, 2048), depths=(3, 4, 6, 3))
PRESETS = {
    "cnn14": {
        "published_32k": PannsConfig(),
        "published_16k": PannsConfig(sample_rate=16_000),
        "tiny": PannsConfig(channels=(8, 8, 16, 32, 64, 128), input_pool=(2, 2), sample_rate=16_000),
    },
    "resnet38": {
        "published_32k": _RESNET38,
        "published_16k": PannsConfig(arch="resnet38", channels=_RESNET38.channels, depths=_RESNET38.depths, sample_rate=16_000),
        "tiny": PannsConfig(arch="resnet38", channels=(8, 8, 16, 32, 64, 128), depths=(1, 1, 2, 1), input_pool=(2, 2), sample_rate=16_000),
    },
}


class PannsOutput(NamedTuple):
    """What the towers return.

    Attributes:
      clip: [b, width], max over time + mean over time of `frames`.
      frames: [b, frames', width], mean over mel of the last feature map.
      embedding: [b, width], ReLU(fc1(clip)), or None without the head.
      clipwise: [b, classes], tag probabilities in [0, 1], or None without the head.
      logits: [b, classes], float32, of which `clipwise` is the sigmoid, or None without the head.
    """

    clip: Array
    frames: Array
    embedding: Array | None
    clipwise: Array | None
    logits: Array | None


class ConvBlock(nn.Module):
    """Twice (3x3 convolution without bias, BatchNorm, ReLU), then average pooling that drops odd rows, then dropout."""

    features: int
    pool: tuple[int, int]
    dropout: float
    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: Float[Array, "b t f c"], *, train: bool) -> Float[Array, "b t2 f2 d"]:
        """Returns the pooled feature map."""
        for i in (1, 2):
            x = self.conv(self.features, (3, 3), name=f"conv{i}")(x)
            x = jax.nn.relu(self.norm(name=f"bn{i}")(x))
        return nn.Dropout(self.dropout, deterministic=not train)(avg_pool(x, self.pool))


class ResidualBlock(nn.Module):
    """Basic residual block whose "stride 2" is average pooling of its input, on both branches; the second scale starts at 0."""

    features: int
    halve: bool
    dropout: float
    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: Float[Array, "b t f c"], *, train: bool) -> Float[Array, "b t2 f2 d"]:
        """Returns ReLU(branch + identity)."""
        x = avg_pool(x, (2, 2)) if self.halve else x
        identity = x
        if self.halve or x.shape[-1] != self.features:
            identity = self.norm(name="downsample_bn")(self.conv(self.features, (1, 1), name="downsample_conv")(x))
        x = jax.nn.relu(self.norm(name="bn1")(self.conv(self.features, (3, 3), name="conv1")(x)))
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        x = self.norm(name="bn2", scale_init=nn.initializers.zeros)(self.conv(self.features, (3, 3), name="conv2")(x))
        return jax.nn.relu(x + identity)


class Panns(nn.Module):
    """bn0 over mel bins, SpecAugment, the stages of `config.arch`, pooling over mel and time, optional tagging head.

    Attributes:
      augment: (key, [b, frames, mels]) -> same shape; called after bn0 when training, with the rng stream "augment".
      axis_name: pmap axis over which BatchNorm statistics are averaged.
    """

    config: PannsConfig = PannsConfig()
    augment: Callable[[Key, Array], Array] | None = None
    axis_name: str | None = None
    dtype: jnp.dtype = jnp.float32
    param_dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, mel: Float[Array, "b frames mels"], *, train: bool) -> PannsOutput:
        """Encodes log-mel spectrograms.

        Args:
          mel: dB values; at least 32 frames at the published depth, else ValueError.
          train: uses batch statistics (mutable collection "batch_stats"), dropout (rng "dropout") and `augment`.
        """
        c = self.config
        if mel.shape[2] != c.mels:
            raise ValueError(f"{mel.shape[2]} mel bins, but this tower takes {c.mels}")
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        norm = partial(nn.BatchNorm, use_running_average=not train, momentum=0.9, epsilon=1e-5, axis_name=self.axis_name, **types)
        conv = partial(nn.Conv, use_bias=False, padding="SAME", kernel_init=XAVIER, **types)

        x = norm(name="bn0")(mel)
        if train and self.augment is not None:
            x = self.augment(self.make_rng("augment"), x)
        x = avg_pool(x[..., None], c.input_pool)  # [b, time, mel, 1]
        stages = {"cnn14": cnn14_stages, "resnet38": resnet38_stages}[c.arch]
        for stage in stages(c, conv, norm):
            x = stage(x, train=train)
        return self._pool(x, train, types)

    def _pool(self, x, train, types):
        c = self.config
        frames = jnp.mean(x, axis=2)  # [b, frames', width]
        clip = largest_frame(frames) + jnp.mean(frames, axis=1)
        if not c.head:
            return PannsOutput(clip, frames, None, None, None)
        drop = nn.Dropout(c.head_dropout, deterministic=not train)
        embedding = jax.nn.relu(nn.Dense(c.width, kernel_init=XAVIER, name="fc1", **types)(drop(clip)))
        logits = nn.Dense(c.classes, kernel_init=XAVIER, name="fc_audioset", **types)(drop(embedding)).astype(jnp.float32)
        return PannsOutput(clip, frames, embedding, jax.nn.sigmoid(logits), logits)


def cnn14_stages(c: PannsConfig, conv: Callable, norm: Callable) -> list[Callable]:
    """One ConvBlock per entry of `channels`, pooled 2x2 except the last."""
    pools = [(2, 2)] * (len(c.channels) - 1) + [c.last_pool]
    return [
        ConvBlock(features, pool, c.dropout, conv, norm, name=f"conv_block{i}")
        for i, (features, pool) in enumerate(zip(c.channels, pools, strict=True), start=1)
    ]


def resnet38_stages(c: PannsConfig, conv: Callable, norm: Callable) -> list[Callable]:
    """ConvBlock, residual layers (all but the first halve the image), pooling with dropout, ConvBlock."""
    if len(c.depths) != len(c.channels) - 2:
        raise ValueError(f"{len(c.depths)} depths for {len(c.channels)} channels: a ResNet needs two more channels than depths")
    stages = [ConvBlock(c.channels[0], (2, 2), c.dropout, conv, norm, name="conv_block1")]
    for i, (features, depth) in enumerate(zip(c.channels[1:-1], c.depths, strict=True), start=1):
        stages += [ResidualBlock(features, i > 1 and j == 0, c.block_dropout, conv, norm, name=f"layer{i}_{j}") for j in range(depth)]
    stages.append(lambda x, *, train: nn.Dropout(c.dropout, deterministic=not train)(avg_pool(x, (2, 2))))
    stages.append(ConvBlock(c.channels[-1], c.last_pool, c.dropout, conv, norm, name="conv_block_after1"))
    return stages


def largest_frame(frames: Float[Array, "b t d"]) -> Float[Array, "b d"]:
    """The maximum over time, whose gradient goes to the first frame that has it, as in torch.

    That of `jnp.max` looks for frames that equal the maximum, and is 0 / 0 where the compiler computes them twice with other roundings.
    """
    return jnp.take_along_axis(frames, jnp.argmax(frames, axis=1)[:, None], axis=1)[:, 0]


def avg_pool(x: Float[Array, "b t f c"], window: tuple[int, int]) -> Float[Array, "b t2 f2 c"]:
    """Mean over windows without overlap; rows and columns that do not fill a window are dropped. ValueError if nothing is left."""
    if x.shape[1] < window[0] or x.shape[2] < window[1]:
        raise ValueError(
            f"a feature map of {x.shape[1]} x {x.shape[2]} is too small to pool by {window[0]} x {window[1]}: the clip is too short"
        )
    return nn.avg_pool(x, window, strides=window)
