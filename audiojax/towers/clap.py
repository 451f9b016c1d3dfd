"""CLAP as a callable tower: sounds and texts of any length become unit vectors of one space.

    clap = load_tower("clap-htsat-unfused")
    clap.embed_audio(waveform, 44_100) @ clap.embed_text(["a dog barks"]).T   # cosines

The vector of a clip or text depends on nothing but itself: work goes through programs of one batch size, the last batch filled up, so that
neighbours change no bit of it, and nothing is drawn at random unless asked for.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from audiojax.audio.spectral import MelConfig, log_mel
from audiojax.errors import UsageError
from audiojax.text.tokenizer import Tokenizer
from audiojax.towers.base import Tower, infer
from audiojax.towers.clap_features import ClapFrontEnd, long_clip, random_window, windows
from audiojax.towers.text import checked_tokens
from audiojax.towers.waveforms import Waveforms, clips_at
from audiojax.typing import Array

NO_TOKENIZER = "this CLAP came without a tokenizer: dataclasses.replace(tower, tokenizer=Tokenizer.load(FOLDER)) adds one"


@dataclass(frozen=True, eq=False)
class ClapTextTower(Tower):
    """The text half of CLAP, as AudioLDM folders hold it.

    Attributes:
      tokenizer: lies in another folder of a pipeline; `dataclasses.replace` adds it.
      clean: applied to a text before the tokenizer, as in the tower's training.
      max_tokens: at which texts are cut; 0 = the positions of the encoder.
    """

    tokenizer: Tokenizer | None = None
    clean: Callable[[str], str] = str
    max_tokens: int = 0

    def __call__(self, input_ids: Int[Array, "b l"], attention_mask: Bool[Array, "b l"]) -> Float[Array, "b d"]:
        """Projected embeddings, not yet at length 1 (`text_embeds` of transformers' ClapTextModelWithProjection).

        Raises:
          UsageError: ids that are out of range, or shapes that differ.
        """
        return infer(self.module, self.params, *checked_tokens(input_ids, attention_mask, self.config.text.vocab_size)).embedding

    def embed_text(self, texts: Sequence[str]) -> Float[np.ndarray, "b d"]:
        """One unit vector in float32 for each text, each by itself: neighbours change no bit of it. "" is AudioLDM's unconditional text.

        Texts are cut at `max_tokens`, or at the positions of the encoder, which are 512 as in transformers.

        Raises:
          UsageError: the tower has no tokenizer, or what is given is no list of texts.
        """
        longest = min(self.max_tokens or self.config.text.max_length, self.config.text.max_length)
        found = [np.asarray(self(ids[None], mask[None]))[0] for ids, mask in token_rows(self, texts, longest)]
        return unit_rows(found, self.config.projection)


@dataclass(frozen=True, eq=False)
class ClapTower(Tower):
    """Both halves of CLAP with their front ends.

    Attributes:
      front_end: how waveforms become log-mels.
      tokenizer: None where the checkpoint came without one; `dataclasses.replace` adds one.
      batch: windows, or texts, that go through the tower at once.
      max_tokens: at which texts are cut: 77 as in the authors' package, 512 as in transformers.
      clean: applied to a text before the tokenizer, as in the tower's training.
    """

    front_end: ClapFrontEnd
    tokenizer: Tokenizer | None
    batch: int = 8
    max_tokens: int = 77
    clean: Callable[[str], str] = str

    @property
    def mel(self) -> MelConfig:
        """Spectrogram convention of the audio half."""
        return self.front_end.mel

    def embed_audio(
        self,
        waveform: Waveforms,
        sample_rate: int,
        *,
        crops: Literal["fixed", "random"] = "fixed",
        seed: int | None = None,
        quantise: bool = False,
    ) -> Float[np.ndarray, "b d"]:
        """One unit vector in float32 for each clip, of any length.

        A clip that is longer than the model's is heard as a whole. An unfused tower hears windows side by side, whose unit vectors are
        averaged; a fused tower the shrunk log-mel with three crops, one in the middle of each third.

        Args:
          waveform: one clip [n], a batch [b, n], or a list of clips; mono, in [-1, 1].
          sample_rate: of all clips, Hz; another than the tower's is resampled.
          crops: "random" draws one window of a long clip, or the three crops of it, as the reference implementations do.
          seed: of that draw, which every clip makes for itself.
          quantise: whether waveforms are cut to 16 bits first, as the authors' package does.

        Raises:
          UsageError: clips that cannot be used (see `clips_at`), or crops without a seed or a seed without crops.
        """
        if crops not in ("fixed", "random") or (crops == "random") != (seed is not None):
            raise UsageError(f"crops {crops!r} with seed {seed!r}: 'fixed' takes no seed, and 'random' needs one")
        front_end = self.front_end
        mel = replace(front_end.mel, int16_round_trip=True) if quantise else front_end.mel
        sums: dict[int, np.ndarray] = {}

        def add(clip, vector):
            sums[clip] = sums.get(clip, 0.0) + vector.astype(np.float64)

        short = Batches(partial(window_features, self.module, mel, self.params), self.batch, add)
        long = Batches(partial(long_features, self.module, mel, self.params), self.batch, add)
        for i, clip in enumerate(clips_at(waveform, sample_rate, mel.sample_rate)):
            random = None if seed is None else np.random.default_rng(seed)
            if len(clip) > front_end.samples and front_end.fusion:
                long.put(i, long_clip(clip, front_end, random))
            elif random is not None:
                short.put(i, (random_window(clip, front_end.samples, random),))
            else:
                for window in windows(clip, front_end.samples):
                    short.put(i, (window,))
        short.finish()
        long.finish()
        return unit_rows([sums[i] for i in range(len(sums))], self.config.projection)

    def embed_text(self, texts: Sequence[str]) -> Float[np.ndarray, "b d"]:
        """One unit vector in float32 for each text; "" is allowed, the unconditional text of AudioLDM.

        Raises:
          UsageError: the tower has no tokenizer, or what is given is no list of texts.
        """
        found: dict[int, np.ndarray] = {}
        by_length: dict[int, Batches] = {}
        call = partial(text_features, self.module, self.params)
        for i, row in enumerate(token_rows(self, texts, min(self.max_tokens, self.config.text.max_length))):
            by_length.setdefault(len(row[0]), Batches(call, self.batch, found.__setitem__)).put(i, row)
        for batches in by_length.values():
            batches.finish()
        return unit_rows([found[i] for i in range(len(found))], self.config.projection)

    def audio_features(
        self, input_features: Float[Array, "b views frames mels"], is_longer: Bool[Array, "b"] | None = None
    ) -> Float[Array, "b d"]:
        """Unit vectors in float32 of log-mels as ClapFeatureExtractor makes them.

        They are `get_audio_features(...)` of transformers 4, and its `pooler_output` in transformers 5.

        Args:
          input_features: one view a clip, or four where the tower is fused.
          is_longer: [b] or [b, 1], whether the three crops of a clip are looked at; None = of none.
        """
        longer = None if is_longer is None else np.asarray(is_longer, bool).reshape(-1)
        return infer(self.module, self.params, jnp.asarray(input_features, jnp.float32), longer, method="encode_audio").features

    def text_features(self, input_ids: Int[Array, "b l"], attention_mask: Bool[Array, "b l"]) -> Float[Array, "b d"]:
        """Unit vectors in float32 of token ids: get_text_features, as in `audio_features`.

        Raises:
          UsageError: ids that are out of range, or shapes that differ.
        """
        tokens = checked_tokens(input_ids, attention_mask, self.config.text.vocab_size)
        return infer(self.module, self.params, *tokens, method="encode_text").features


def token_rows(
    tower: ClapTextTower | ClapTower, texts: Sequence[str], longest: int
) -> Iterator[tuple[Int[np.ndarray, " l"], Bool[np.ndarray, " l"]]]:
    """(ids, mask) of each text, cut at `longest` and padded to a length that follows from it alone: few lengths, few programs.

    Raises:
      UsageError: the tower has no tokenizer; or one text, whose letters would be taken for texts.
    """
    if tower.tokenizer is None:
        raise UsageError(NO_TOKENIZER)
    if isinstance(texts, str):
        raise UsageError("a list of texts is needed, not one text")
    padding = tower.tokenizer.pad_id if tower.config.text.padding_id is None else tower.config.text.padding_id
    for row in tower.tokenizer.rows([tower.clean(text) for text in texts], longest, allow_empty=True):
        ids = np.full(min(longest, 1 << max(len(row) - 1, 15).bit_length()), padding, np.int32)
        ids[: len(row)] = row
        yield ids, np.arange(len(ids)) < len(row)


class Batches:
    """Rows that are gathered into batches of one size and sent through a compiled function.

    The last batch is filled up with copies of its last row. A batch's results are fetched after the next has been sent off, so that the
    device works while the host prepares, and no more than two batches are held.
    """

    def __init__(self, call: Callable[..., Array], size: int, take: Callable[[Any, np.ndarray], None]):
        """`call` maps stacked rows to one vector a row; `take` receives (owner, vector) in the order of `put`."""
        self.call, self.size, self.take = call, size, take
        self.rows: list[tuple[Any, tuple]] = []
        self.sent: tuple[list[Any], Array] | None = None

    def put(self, owner: Any, row: tuple) -> None:
        """Adds a row, a tuple of arrays."""
        self.rows.append((owner, row))
        if len(self.rows) == self.size:
            self._send()

    def finish(self) -> None:
        """Sends and fetches what is left."""
        if self.rows:
            self._send()
        self._fetch()

    def _send(self) -> None:
        owners, rows = zip(*self.rows, strict=True)
        full = rows + rows[-1:] * (self.size - len(rows))
        out = self.call(*(np.stack(column) for column in zip(*full, strict=True)))
        self._fetch()
        self.rows, self.sent = [], (owners, out)

    def _fetch(self) -> None:
        if self.sent is not None:
            owners, out = self.sent
            for owner, vector in zip(owners, np.asarray(out)[: len(owners)], strict=True):
                self.take(owner, vector)
            self.sent = None


@partial(jax.jit, static_argnums=(0, 1))
def window_features(module: nn.Module, mel: MelConfig, params: Mapping[str, Any], waveform: Float[Array, "b n"]) -> Float[Array, "b d"]:
    """Unit vectors of windows; a fused tower sees each as a clip that is not longer."""
    view = log_mel(waveform, mel)[:, None]
    views = jnp.repeat(view, 4, axis=1) if module.config.audio.fusion else view
    return module.apply(params, views, train=False, method="encode_audio").features


@partial(jax.jit, static_argnums=(0, 1))
def long_features(
    module: nn.Module,
    mel: MelConfig,
    params: Mapping[str, Any],
    frames: Float[Array, "b 5 frames n"],
    fraction: Float[Array, "b frames"],
    is_longer: Bool[Array, "b"],
) -> Float[Array, "b d"]:
    """Unit vectors of a fused tower from the frames of `long_clip`."""
    b, groups, count, n = frames.shape
    apart = replace(mel, padding="snip", hop=n)  # the frames lie end to end
    before, after, *crops = jnp.moveaxis(log_mel(frames.reshape(-1, count * n), apart).reshape(b, groups, count, -1), 1, 0)
    shrunk = before + fraction[..., None] * (after - before)
    views = jnp.stack([shrunk, *crops], axis=1)
    return module.apply(params, views, is_longer, train=False, method="encode_audio").features


@partial(jax.jit, static_argnums=0)
def text_features(module: nn.Module, params: Mapping[str, Any], ids: Int[Array, "b l"], mask: Bool[Array, "b l"]) -> Float[Array, "b d"]:
    """Unit vectors of token ids."""
    return module.apply(params, ids, mask, train=False, method="encode_text").features


def unit_rows(rows: Sequence[Float[np.ndarray, " d"]], width: int) -> Float[np.ndarray, "b d"]:
    """The rows at length 1, in float32; zeros stay zeros."""
    stacked = np.asarray(rows, np.float64).reshape(-1, width)
    norm = np.linalg.norm(stacked, axis=1, keepdims=True)
    return (stacked / np.maximum(norm, 1e-12)).astype(np.float32)
