"""The denoising U-Net of AudioLDM (arXiv 2301.12503), AudioLDM 2 (arXiv 2308.05734) and Re-AudioLDM (arXiv 2309.08051).

`UNet(PRESETS["audioldm-s"])` is a linen module: noised latents [b, t, f, c] and timesteps to the predicted noise. A CLAP embedding is
joined to the time embedding; in the later two, further transformers attend to contexts: AudioMAE's and T5's tokens of retrieved clips.

What does not depend on the latents can be computed before a sampler's loop, by the functions that `__call__` itself uses:

    time = module.apply(params, timesteps, class_labels, method="time_features")
    memories = module.apply(params, contexts, method="context_features")
    noise = module.apply(params, latents, time, memories, train=False, method="denoise")

Facts and sizes: "cvssp/audioldm-s-full-v2", "cvssp/audioldm2", subfolder unet; "haoheliu/AudioLDM code".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from audiojax.nn.conv import TORCH_INIT, UpsampleConv
from audiojax.nn.embed import timestep_sinusoid
from audiojax.nn.norm import GroupNorm
from audiojax.nn.spatial import PADDING, Memory, ResidualBlock, SpatialTransformer
from audiojax.typing import Array

Context = tuple[Float[Array, "b m k"], Bool[Array, "b m"] | None]  # tokens; True = valid, None = all are
TimeFeatures = tuple[tuple[Float[Array, "b d"], ...], ...]  # of each level, of each residual block
Memories = tuple[tuple[Memory | None, ...], ...]  # of each level, of each transformer; None = the image itself


@dataclass(frozen=True)
class UNetConfig:
    """Sizes of one U-Net; the defaults are AudioLDM-S.

    Attributes:
      channels: of each level; every level but the last halves time and frequency.
      blocks: residual blocks of a level on the way down; on the way up there is one more.
      attended: whether the residual blocks of each level are followed by transformers; those of the middle are.
      contexts: one transformer after another at each such place: the width of the tokens that it attends to, None = the image itself.
      class_width: of the embedding that is joined to the time's, None = there is none.
      heads: "trained", heads of `head_width` channels, as the published weights were trained; "diffusers", `head_count` heads at every
        level, as diffusers reads their configs. The parameters have the same shapes, the outputs differ.
      latent_channels: of input and output.
      groups: of the norms; divides all channels.
      joint: 0 = contexts in series; otherwise all of them are projected to so many features and attended to together, by one transformer
        where the first of them would stand.
    """

    channels: tuple[int, ...] = (128, 256, 384, 640)
    blocks: int = 2
    attended: tuple[bool, ...] = (False, True, True, True)
    contexts: tuple[int | None, ...] = (None,)
    class_width: int | None = 512
    heads: str = "trained"
    head_width: int = 32
    head_count: int = 8
    latent_channels: int = 8
    groups: int = 32
    joint: int = 0

    @property
    def stride(self) -> int:
        """Time and frequency of the latents are multiples of it."""
        return 2 ** (len(self.channels) - 1)

    @property
    def layers(self) -> int:
        """Residual blocks in all."""
        return len(self.channels) * (2 * self.blocks + 1) + 2

    @property
    def sources(self) -> tuple[bool, ...]:
        """Of the transformers at each place, whether they attend to a context and not to the image itself."""
        own = [width is not None for width in self.contexts]
        return tuple(given for i, given in enumerate(own) if not (self.joint and given and any(own[:i])))

    def heads_of(self, channels: int) -> int:
        """Attention heads at a level with so many channels."""
        if self.heads not in ("trained", "diffusers"):
            raise ValueError(f"heads are 'trained' or 'diffusers', and not {self.heads!a}")
        heads = channels // self.head_width if self.heads == "trained" else self.head_count
        if not heads or channels % heads:
            raise ValueError(f"{channels} channels do not make {heads} attention heads")
        return heads


PRESETS = {
    "audioldm-s": UNetConfig(),
    "audioldm-m": UNetConfig(channels=(192, 384, 576, 960)),
    "audioldm-l": UNetConfig(channels=(256, 512, 768, 1280), head_width=64),
    "audioldm2": UNetConfig(contexts=(None, 768, 1024), class_width=None),
    "re-audioldm": UNetConfig(contexts=(None, 768, 1024)),
    "re-audioldm-l": UNetConfig(channels=(192, 384, 576, 960), contexts=(None, 768, 1024)),  # the paper's 196 makes no 32 groups
    "tiny": UNetConfig((32, 64, 96, 160), 1, (False, False, True, True), (None, 128, 128), class_width=128, head_width=16, groups=8),
}


class Level(nn.Module):
    """The residual blocks of one image size, the first `attended` of them followed by their transformers."""

    config: UNetConfig
    features: int
    blocks: int
    attended: int
    dtype: jnp.dtype = jnp.float32
    param_dtype: jnp.dtype = jnp.float32

    def setup(self):
        c, types = self.config, {"dtype": self.dtype, "param_dtype": self.param_dtype}
        zeros = nn.initializers.zeros
        self.residuals = [ResidualBlock(self.features, c.groups, last_init=zeros, **types) for _ in range(self.blocks)]
        self.times = [nn.Dense(self.features, kernel_init=TORCH_INIT, **types) for _ in range(self.blocks)]
        count = self.attended * len(c.sources)
        transformer = partial(SpatialTransformer, c.heads_of(self.features) if count else 1, self.features, c.groups, **types)
        self.attentions = [transformer() for _ in range(count)]

    def time_biases(self, embedding: Float[Array, "b d"]) -> tuple[Array, ...]:
        """What each residual block adds to its channels."""
        return tuple(time(nn.silu(embedding)) for time in self.times)

    def memories(self, contexts: Sequence[Context]) -> tuple[Memory | None, ...]:
        """What each transformer attends to."""
        given = iter(contexts)
        sources = [next(given) if attends else None for attends in self.config.sources] * self.attended
        return tuple(
            None if source is None else transformer.memory(*source) for transformer, source in zip(self.attentions, sources, strict=True)
        )

    def __call__(self, x: Array, block: int, biases: Sequence[Array], memories: Sequence[Memory | None], *, train: bool) -> Array:
        """Residual block number `block` and its transformers."""
        x = self.residuals[block](x, biases[block])
        if block < self.attended:
            own = slice(block * len(self.config.sources), (block + 1) * len(self.config.sources))
            for transformer, memory in zip(self.attentions[own], memories[own], strict=True):
                x = transformer(x, memory, train=train)
        return x


class UNet(nn.Module):
    """Levels on the way down, a middle, and levels on the way up that see what the way down left at each of its blocks."""

    config: UNetConfig = UNetConfig()
    dtype: jnp.dtype = jnp.float32
    param_dtype: jnp.dtype = jnp.float32

    def setup(self):
        c, types = self.config, {"dtype": self.dtype, "param_dtype": self.param_dtype}
        dense = partial(nn.Dense, 4 * c.channels[0], kernel_init=TORCH_INIT, **types)
        conv = partial(nn.Conv, kernel_size=(3, 3), padding=PADDING, **types)
        self.time_in, self.time_out = dense(), dense()
        if c.class_width is not None:
            self.class_projection = dense()
        if c.joint:
            widths = [width for width in c.contexts if width is not None]
            self.join = [nn.Dense(c.joint, kernel_init=TORCH_INIT, **types) for _ in widths]
        sizes = list(zip(c.channels, c.attended, strict=True))
        self.conv_in = conv(c.channels[0], kernel_init=TORCH_INIT)
        self.down = [Level(c, features, c.blocks, attended * c.blocks, **types) for features, attended in sizes]
        self.downsample = [conv(features, strides=2, kernel_init=TORCH_INIT) for features in c.channels[:-1]]
        self.middle = Level(c, c.channels[-1], 2, 1, **types)
        self.up = [Level(c, features, c.blocks + 1, attended * (c.blocks + 1), **types) for features, attended in sizes[::-1]]
        self.upsample = [UpsampleConv(features, **types) for features in c.channels[:0:-1]]
        self.norm_out = GroupNorm(c.groups, **types)
        self.conv_out = conv(c.latent_channels, kernel_init=nn.initializers.zeros)

    def time_features(self, timesteps: Int[Array, "b"], class_labels: Float[Array, "b k"] | None = None) -> TimeFeatures:
        """What the residual blocks add to their channels at a timestep.

        Args:
          timesteps: 0 to 999.
          class_labels: CLAP embeddings of unit length; given exactly where the config has a `class_width` (ValueError).
        """
        width = None if class_labels is None else class_labels.shape[-1]
        if width != self.config.class_width:
            raise ValueError(f"class labels of width {width}, and this U-Net takes {self.config.class_width}")
        embedding = timestep_sinusoid(timesteps, self.config.channels[0])
        embedding = self.time_out(nn.silu(self.time_in(embedding)))
        if class_labels is not None:
            embedding = jnp.concatenate([embedding, self.class_projection(class_labels)], axis=-1)
        return tuple(level.time_biases(embedding) for level in self._levels())

    def context_features(self, contexts: Sequence[Context] = ()) -> Memories:
        """Keys and values of the contexts at every transformer that attends to one.

        Args:
          contexts: (tokens, mask) for each width in `config.contexts`, in that order (ValueError). A row without a valid token attends to
            all of its tokens alike: give it one.
        """
        wanted = tuple(width for width in self.config.contexts if width is not None)
        widths = tuple(tokens.shape[-1] for tokens, _ in contexts)
        if widths != wanted:
            raise ValueError(f"contexts of widths {widths}, and this U-Net attends to {wanted}")
        if self.config.joint and contexts:
            masks = [jnp.ones(tokens.shape[:2], bool) if mask is None else mask for tokens, mask in contexts]
            joined = [dense(tokens) for dense, (tokens, _) in zip(self.join, contexts, strict=True)]
            contexts = [(jnp.concatenate(joined, axis=1), jnp.concatenate(masks, axis=1))]
        return tuple(level.memories(contexts) for level in self._levels())

    def denoise(self, latents: Float[Array, "b t f c"], time: TimeFeatures, memories: Memories, *, train: bool) -> Float[Array, "b t f c"]:
        """`__call__` with its other inputs prepared by `time_features` and `context_features`."""
        stride = self.config.stride
        if latents.shape[1] % stride or latents.shape[2] % stride:
            raise ValueError(
                f"latents of {latents.shape[1]} x {latents.shape[2]} (time x frequency), and both must be multiples of {stride}"
            )
        prepared = zip(self._levels(), time, memories, strict=True)
        x = self.conv_in(latents.astype(self.dtype))
        skips = [x]
        for i in range(len(self.down)):
            level, biases, memory = next(prepared)
            for block in range(level.blocks):
                x = level(x, block, biases, memory, train=train)
                skips.append(x)
            if i < len(self.downsample):
                x = self.downsample[i](x)
                skips.append(x)
        level, biases, memory = next(prepared)
        for block in range(level.blocks):
            x = level(x, block, biases, memory, train=train)
        for i, (level, biases, memory) in enumerate(prepared):
            for block in range(level.blocks):
                x = level(jnp.concatenate([x, skips.pop()], axis=-1), block, biases, memory, train=train)
            if i < len(self.upsample):
                x = self.upsample[i](x)
        return self.conv_out(nn.silu(self.norm_out(x))).astype(jnp.float32)

    def __call__(
        self,
        latents: Float[Array, "b t f c"],
        timesteps: Int[Array, "b"],
        class_labels: Float[Array, "b k"] | None = None,
        contexts: Sequence[Context] = (),
        *,
        train: bool,
    ) -> Float[Array, "b t f c"]:
        """The noise in noised latents, in float32.

        Args:
          latents: time and frequency are multiples of `config.stride` (ValueError).
          timesteps, class_labels: see `time_features`.
          contexts: see `context_features`.
          train: changes nothing here.
        """
        time = self.time_features(timesteps, class_labels)
        return self.denoise(latents, time, self.context_features(contexts), train=train)

    def _levels(self) -> list[Level]:
        return [*self.down, self.middle, *self.up]
