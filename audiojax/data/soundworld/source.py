"""SoundWorld in memory: the same records as the stored build, synthesised on demand. Random access, picklable, numpy only."""

import operator

from audiojax.data.soundworld import classes, draw, grammar, lexicon, render, scenes
from audiojax.data.soundworld.scenes import Scene
from audiojax.errors import UsageError

DATASTORE = ("train", "unseen")


class SceneSource:
    """Records of one split; `source[i]` is a pure function of the arguments and i.

    A record: {"audio": int16 [n] mono, "sample_rate": Hz, "id": "domain-split-index", "captions": five texts, "scene": JSON truth}.
    Split `datastore` is `train` followed by `unseen` and keeps their ids.

    Args:
      split: pretrain | train | val | test | unseen | datastore | probe_order | probe_count | probe_binding.
      size: mini | base | large | a multiple of base as text, "0.02".
      domain: studio | field.
      seed: of the world. sample_rate: Hz. seconds: length of a clip, at least 3.84.
    Raises: UsageError for an unknown split, size or domain, too short clips or an impossible rate.
    """

    def __init__(
        self,
        split: str,
        size: str = "mini",
        domain: str = "studio",
        seed: int = 0,
        sample_rate: int = 16_000,
        seconds: float = draw.SECONDS,
    ):
        if domain not in lexicon.DOMAINS:
            raise UsageError(f"SoundWorld domain {domain!r}: use {' or '.join(lexicon.DOMAINS)}")
        if split not in scenes.SPLITS and split != "datastore":
            raise UsageError(f"SoundWorld split {split!r}: use one of {', '.join((*scenes.SPLITS, 'datastore'))}")
        if not draw.SECONDS <= seconds <= 60 or not 8_000 <= sample_rate <= 96_000:
            raise UsageError(f"SoundWorld clips of {seconds} s at {sample_rate} Hz: use 3.84 to 60 s and 8000 to 96000 Hz")
        self.split, self.domain, self.seed, self.sample_rate, self.seconds = split, domain, seed, sample_rate, seconds
        sizes = scenes.split_sizes(size)
        self._parts = [(part, scenes.anchors(part, sizes[part], seed)) for part in (DATASTORE if split == "datastore" else (split,))]

    def __len__(self) -> int:
        return sum(len(anchors) for _, anchors in self._parts)

    def __repr__(self) -> str:  # Grain checkpoints compare this text
        return f"SceneSource({self.split}, {self.domain}, {len(self)} clips, seed {self.seed}, {self.sample_rate} Hz, {self.seconds} s)"

    def identity(self) -> str:
        """What decides every record."""
        return repr(self)

    def scene(self, index: int) -> Scene:
        """Truth of one clip, without its sound (about 0.2 ms)."""
        index = operator.index(index)
        if not 0 <= index < len(self):
            raise IndexError(f"{self!r} has no clip {index}")
        for part, anchors in self._parts:
            if index < len(anchors):
                anchor = classes.CLASSES[anchors[index]].name if anchors[index] >= 0 else ""
                return draw.draw(part, index, self.seed, self.seconds, anchor)
            index -= len(anchors)
        raise AssertionError

    def facts(self, index: int) -> dict:
        """What the record of one clip says: "id", its five "captions" and "scene", without its sound."""
        scene = self.scene(index)
        return {
            "id": f"{self.domain}-{scene.split}-{scene.index:06d}",
            "captions": grammar.captions(scene, self.domain),
            "scene": scene.to_json(),
        }

    def span(self, start: int, stop: int) -> list[dict]:
        """Records start .. stop - 1, as far as the source goes; what a worker process makes at a time."""
        return [self[index] for index in range(start, min(stop, len(self)))]

    def __getitem__(self, index: int) -> dict:
        sound = render.render(self.scene(index), self.domain, self.sample_rate)
        return {"audio": sound, "sample_rate": self.sample_rate, **self.facts(index)}
