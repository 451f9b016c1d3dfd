"""One record and one caption -> one example, on the host: length policy and tokens. Everything random comes from the generator given.

No jax here: worker processes import this file.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float, Int16

from audiojax.audio import io, lengths
from audiojax.errors import UsageError


@dataclass(frozen=True)
class ClipTransform:
    """Turns records into examples.

    Attributes:
      tokenizer: has `.encode(list[str], max_length) -> (ids int32 [n, l], mask bool [n, l])`.
      sample_rate: Hz of the waveforms that the model takes; other rates are resampled.
      seconds: length of every waveform; a tuple of lengths (buckets) gives each batch the smallest one that holds its longest clip.
      padding: of shorter clips: "zero" | "repeat" | "repeat_cut", see `audiojax.audio.lengths.fit`.
      max_tokens: of a caption.
      clean: applied to a caption before the tokenizer, `clean_caption` for the BERT systems.
      labels: record -> float32 [steps, classes], which classes sound when; None = examples without labels.
      windows: 0 = a clip is one waveform [n], longer ones cropped. Otherwise "waveform" is [windows, n], a longer clip lies in several
        windows side by side, the last of which ends with it (what is beyond that many is left out), and "windows" says which it fills.
      second: tokenizer of a second text tower that does not share the first one's; examples then have text_second_ids and text_second_mask.
      second_tokens: of a caption, for that tower.
    """

    tokenizer: Any
    sample_rate: int
    seconds: float | tuple[float, ...]
    padding: str = "zero"
    max_tokens: int = 48
    clean: Callable[[str], str] = str
    labels: Callable[[Mapping[str, Any]], Float[np.ndarray, "steps classes"]] | None = None
    windows: int = 0
    second: Any = None
    second_tokens: int = 0
    draws: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.padding not in ("zero", "repeat", "repeat_cut"):
            raise UsageError(f"data.padding='{self.padding}': takes zero, repeat or repeat_cut")
        if min(self.lengths) < 1:
            raise UsageError(f"data.seconds={self.seconds} at {self.sample_rate} Hz is less than a sample")
        if self.windows and not self.fixed_length:
            raise UsageError(f"data.windows={self.windows}: windows have one length, and data.seconds names several")

    @property
    def lengths(self) -> tuple[int, ...]:
        """Waveform lengths in samples, ascending."""
        seconds = self.seconds if isinstance(self.seconds, (tuple, list)) else (self.seconds,)
        return tuple(sorted(round(s * self.sample_rate) for s in seconds))

    @property
    def fixed_length(self) -> bool:
        """Whether every batch has the same waveform length."""
        return len(self.lengths) == 1

    def __call__(
        self, record: Mapping[str, Any], clip_index: int, caption: int | None, rng: np.random.Generator | None = None
    ) -> dict[str, np.ndarray]:
        """The example of a record; of one without "audio", the text alone.

        Args:
          caption: number of the caption; None draws one with `rng`; -1 takes all, and text leaves get a leading axis.
          rng: crops start anywhere; None = at the start of the clip.
        """
        captions = record["captions"]
        if caption is None:
            caption = int(rng.integers(len(captions))) if rng is not None else 0
        chosen = list(captions) if caption == -1 else [captions[caption]]
        words = self.words(chosen)
        if caption != -1:
            words = {name: x[0] for name, x in words.items()}
        text = {**words, "clip_index": np.int32(clip_index)}
        if "audio" not in record:
            return text
        if len(record["audio"]) == 0:
            raise UsageError(f"clip '{record['id']}' has no samples: check the data set")
        waveform = io.resample(to_float(record["audio"]), record["sample_rate"], self.sample_rate)
        if self.labels is not None and len(waveform) > self.lengths[-1]:
            raise UsageError(f"clip '{record['id']}' is longer than data.seconds: its labels tell what sounds when, and it would be cut")
        labels = {} if self.labels is None else {"labels": self.labels(record)}
        return labels | self.sound(waveform, rng) | text

    def words(self, captions: Sequence[str], *, blank: bool = False) -> dict[str, np.ndarray]:
        """The text leaves of captions, a row each: text_ids int32 and text_mask bool [n, l], and those of a second tokenizer.

        Args:
          blank: whether a caption may be empty.
        """
        cleaned, allowed = [self.clean(text) for text in captions], {"allow_empty": True} if blank else {}
        ids, mask = self.tokenizer.encode(cleaned, self.max_tokens, **allowed)
        found = {"text_ids": np.asarray(ids, np.int32), "text_mask": np.asarray(mask, bool)}
        if self.second is not None:
            ids, mask = self.second.encode(cleaned, self.second_tokens, **allowed)
            found |= {"text_second_ids": np.asarray(ids, np.int32), "text_second_mask": np.asarray(mask, bool)}
        return found

    def collate(self, examples: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
        """A batch: every key stacked, waveforms brought to the longest one's length."""
        fitted = "waveform" in examples[0] and not self.windows
        batch = {name: np.stack([example[name] for example in examples]) for name in examples[0] if not fitted or name != "waveform"}
        if fitted:
            length = max(len(example["waveform"]) for example in examples)
            batch["waveform"] = np.stack([self._fit(example["waveform"], length, None) for example in examples])
        return batch

    def sound(self, waveform: Float[np.ndarray, " n"], rng: np.random.Generator | None = None) -> dict[str, np.ndarray]:
        """The sound of an example alone: "waveform", and "windows" where it lies in several."""
        if not self.windows:
            length = next((n for n in self.lengths if n >= len(waveform)), self.lengths[-1])
            return {"waveform": self._fit(waveform, length, rng)}
        samples = self.lengths[0]
        found = list(islice(lengths.slide([waveform], samples, samples, short=self.padding), self.windows))
        sound = np.zeros((self.windows, samples), np.float32)
        for i, (_, window) in enumerate(found):
            sound[i] = window
        return {"waveform": sound, "windows": np.arange(self.windows) < len(found)}

    def _fit(self, waveform: Float[np.ndarray, " n"], length: int, rng: np.random.Generator | None) -> Float[np.ndarray, " length"]:
        return lengths.fit(waveform, length, short=self.padding, at="start" if rng is None else "random", rng=rng)


@dataclass(frozen=True)
class StatesTransform:
    """Turns records of tower states into examples: "audio_..." leaves as they are, and of "text_..." leaves the row of one caption.

    Attributes:
      sentences: captions -> "sentence_..." leaves, a row a caption, for a language model with a tokenizer of its own.
    """

    sentences: Callable[[Sequence[str]], Mapping[str, np.ndarray]] | None = None
    fixed_length: ClassVar[bool] = True
    draws: ClassVar[bool] = False  # but for the number of a caption

    def __call__(
        self, record: Mapping[str, Any], clip_index: int, caption: int | None, rng: np.random.Generator | None = None
    ) -> dict[str, np.ndarray]:
        """The example of a record; arguments as for `ClipTransform`."""
        if caption is None:
            caption = int(rng.integers(len(record["captions"]))) if rng is not None else 0
        example = {name: x for name, x in record.items() if name.startswith("audio_")}
        example |= {name: x if caption == -1 else x[caption] for name, x in record.items() if name.startswith("text_")}
        if self.sentences is not None:
            captions = record["captions"]
            rows = self.sentences(captions if caption == -1 else [captions[caption]])
            example |= {name: x if caption == -1 else x[0] for name, x in rows.items()}
        return example | {"clip_index": np.int32(clip_index)}

    def collate(self, examples: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
        """A batch: every key stacked."""
        return stack_examples(examples)


def stack_examples(examples: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Every key stacked along a new first axis."""
    return {name: np.stack([example[name] for example in examples]) for name in examples[0]}


def to_float(audio: Int16[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """int16 samples as float32 in [-1, 1)."""
    return np.asarray(audio).astype(np.float32) / np.float32(32768)


def to_int16(samples: Float[np.ndarray, " n"]) -> Int16[np.ndarray, " n"]:
    """Samples in [-1, 1) as int16, rounded; what lies beyond is clipped. Undoes `to_float` exactly."""
    scaled = samples * np.float32(32768)
    np.rint(scaled, out=scaled)
    np.clip(scaled, -32768, 32767, out=scaled)
    return scaled.astype(np.int16)
