"""Which (text, audio) pairs of a datastore belong to a caption, and examples that carry their features. Host, NumPy.

  r(i) = <f_clap(c_t), g(i)>  with unit-norm keys g(i); the K largest, without clips that have the target's id  (arXiv 2309.08051)

Every caption of a clip is a key of its own: of "text" its embedding, of "audio" that of its sound, of "mean" their sum at length 1. A clip
counts by its best key, and the caption of that key is the text of the pair. Equal clips come in the order of their ids.
"""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from audiojax.data.examples import facts_of
from audiojax.data.transforms import StatesTransform
from audiojax.errors import UsageError
from audiojax.index.exact import ExactSearch
from audiojax.metrics.generation.likeness import NONE
from audiojax.papers.task import choice

HOW = ("clap", "random", "wrong_class", "oracle", "none")
BY_TRUTH = ("wrong_class", "oracle")  # ask which classes a clip has
KEYS = ("text", "audio", "mean")
UNUSED = ("audio_tokens", "text_tokens", "text_tokens_mask", "text_neighbours")  # leaves of a clip that only others ask for
BLOCK = 256  # captions ranked together by the controls


@dataclass(frozen=True)
class RetrievalOptions:
    """What is retrieved for a caption.

    Attributes:
      datastore: splits of the config's data joined by "+", or the folder of a sound index.
      mode: "clap"; or a control: "random" clips, "wrong_class": random ones without a class of the target, "oracle": those that share most
        of its classes, by CLAP among equals; "none".
      key: what the caption is compared with, of KEYS.
      count: K, pairs that an example has.
      depth: neighbours that are found once and stored.
      draw: in training K of the stored ones at random; otherwise the first.
      seed: of the controls.
    """

    datastore: str = "train"
    mode: str = "clap"
    key: str = "text"
    count: int = 3
    depth: int = 50
    draw: bool = False
    seed: int = 0

    @property
    def on(self) -> bool:
        """Whether anything is retrieved."""
        return self.mode != "none"

    @property
    def pairs(self) -> int:
        """Of an example; the single null pair where nothing is retrieved."""
        return self.count if self.on else 1

    def check(self) -> None:
        """UsageError for values that make no retrieval."""
        choice("retrieval.mode", self.mode, HOW)
        choice("retrieval.key", self.key, KEYS)
        if not 1 <= self.count <= self.depth:
            raise UsageError(f"config key 'retrieval.count' is {self.count}; it takes 1 to retrieval.depth, which is {self.depth}")
        if self.on and not self.datastore:
            raise UsageError("config key 'retrieval.datastore' is empty; it takes splits of the data, or the folder of a sound index")


@dataclass(frozen=True, eq=False)
class Keys:
    """A datastore as retrieval sees it: a row for each caption of each clip, clips in the order of their ids.

    Attributes:
      vectors: unit vectors.
      starts: first row of each clip, and the end.
      clips: number of each of these clips in the datastore.
      ids: of each of them, sorted.
      names: by which a query's own clip is told among them: their ids, or what is alike where ids are made in two ways.
    """

    vectors: Float[np.ndarray, "m d"]
    starts: Int[np.ndarray, "n+1"]
    clips: Int[np.ndarray, " n"]
    ids: np.ndarray
    names: np.ndarray

    @property
    def of_row(self) -> Int[np.ndarray, " m"]:
        """Place of each row's clip."""
        return np.repeat(np.arange(len(self.clips)), np.diff(self.starts))


class Queries(NamedTuple):
    """Captions that ask.

    Attributes:
      vectors: their embeddings.
      ids: of the clips that they belong to, which are left out; as `Keys.names`, and "" for a caption of no clip.
      numbers: of each caption in its clip.
      classes: of these clips, where a control asks for them.
      draws: by which chance tells the captions apart, beside their numbers; None = the ids.
    """

    vectors: Float[np.ndarray, "q d"]
    ids: np.ndarray
    numbers: Int[np.ndarray, " q"]
    classes: Bool[np.ndarray, "q c"] | None = None
    draws: np.ndarray | None = None


def make_keys(records: Sequence[Mapping[str, Any]], ids: Sequence[str], key: str, names: Sequence[str] | None = None) -> Keys:
    """The keys of stored states: of each clip "text_embedding" [captions, d] and, for another key than "text", "audio_embedding" [d].

    Args:
      ids: of the clips.
      names: see `Keys.names`; None = the ids.

    Raises:
      UsageError: no clip, an id that two clips have, or a clip without captions.
    """
    if not len(records):
        raise UsageError("config key 'retrieval.datastore': the datastore is empty; name splits or an index that hold clips")
    vectors = []
    for number in range(len(records)):
        record = records[number]
        texts = np.asarray(record["text_embedding"], np.float32)
        if not len(texts):
            raise UsageError(f"config key 'retrieval.datastore': clip '{ids[number]}' has no caption, and a pair needs one")
        if key == "text":
            vectors.append(_unit(texts))
        else:
            audio = _unit(np.asarray(record["audio_embedding"], np.float32))[None]
            vectors.append(_unit(_unit(texts) + audio) if key == "mean" else np.repeat(audio, len(texts), axis=0))
    order = np.argsort(np.array(ids), kind="stable")
    found = np.array(ids)[order]
    if len(twice := found[1:][found[1:] == found[:-1]]):
        raise UsageError(f"config key 'retrieval.datastore': two clips have the id '{twice[0]}'; ids tell which clip a caption is of")
    starts = np.concatenate([[0], np.cumsum([len(vectors[i]) for i in order])])
    names = np.array(ids if names is None else names)[order]
    return Keys(np.concatenate([vectors[i] for i in order]), starts, order, found, names)


def find_neighbours(
    options: RetrievalOptions, keys: Keys, queries: Queries, classes: Bool[np.ndarray, "n c"] | None = None
) -> Int[np.ndarray, "q depth 2"]:
    """(clip, caption) of the best `options.depth` pairs of each query, best first; NONE where there are no more.

    Args:
      classes: of the datastore's clips, in its own order, where a control asks for them.

    Raises:
      UsageError: embeddings of another width than the keys: they come from another CLAP.
    """
    if queries.vectors.shape[1] != keys.vectors.shape[1]:
        raise UsageError(
            f"captions are embedded in {queries.vectors.shape[1]} dimensions and the datastore in {keys.vectors.shape[1]}: they come from"
            " different CLAPs; make the datastore with that of init.clap"
        )
    if options.mode == "clap":
        return _by_clap(options.depth, keys, queries)
    blocks = (slice(start, start + BLOCK) for start in range(0, len(queries.vectors), BLOCK))
    ordered = None if classes is None else classes[keys.clips]
    found = [_by_control(options, keys, Queries(*(None if x is None else x[block] for x in queries)), ordered) for block in blocks]
    return np.concatenate(found) if found else np.zeros((0, options.depth, 2), np.int32)


def _by_clap(depth: int, keys: Keys, queries: Queries) -> Int[np.ndarray, "q depth 2"]:
    """By cosine; more than `depth` are asked for, since each query's own clip may be among them, as often as a name is there."""
    of_row, (names, counts) = keys.of_row, np.unique(keys.names, return_counts=True)
    alike = int(counts[np.isin(names, queries.ids)].max(initial=0))
    best = ExactSearch(lambda: iter([keys.vectors]), of_row).search(queries.vectors, depth + alike)
    own = keys.names[of_row[best.rows]] == queries.ids[:, None]
    order = np.argsort(own, axis=1, kind="stable")
    rows, own = (np.take_along_axis(x, order, axis=1) for x in (best.rows, own))
    return _pairs(depth, keys, rows, ~own)


def _by_control(options: RetrievalOptions, keys: Keys, queries: Queries, classes: Bool[np.ndarray, "n c"] | None) -> np.ndarray:
    """By shared classes and by chance; every caption draws from a generator of its own."""
    own = keys.names[None] == queries.ids[:, None]
    shared = np.zeros(own.shape) if classes is None else overlap(queries.classes, classes)
    if options.mode == "oracle":
        cosine = queries.vectors @ keys.vectors.T
        best = np.maximum.reduceat(cosine, keys.starts[:-1], axis=1)
        at_best = np.where(cosine == best[:, keys.of_row], np.arange(cosine.shape[1]), cosine.shape[1])
        rows, refused = np.minimum.reduceat(at_best, keys.starts[:-1], axis=1), own
        order = np.lexsort((-best, -shared, refused))
    else:
        draws = queries.ids if queries.draws is None else queries.draws
        generators = [_generator(options.seed, name, number) for name, number in zip(draws, queries.numbers, strict=True)]
        counts = np.diff(keys.starts)
        rows = np.stack([keys.starts[:-1] + generator.integers(counts) for generator in generators])
        refused = own | (shared > 0) if options.mode == "wrong_class" else own
        order = np.lexsort((np.stack([generator.random(len(counts)) for generator in generators]), refused))
    rows, refused = (np.take_along_axis(x, order[:, : options.depth], axis=1) for x in (rows, refused))
    return _pairs(options.depth, keys, rows, ~refused)


def overlap(a: Bool[np.ndarray, "q c"], b: Bool[np.ndarray, "n c"]) -> Float[np.ndarray, "q n"]:
    """Classes that two clips share over those that either has; 0 where neither has any."""
    common = a.astype(np.float64) @ b.T.astype(np.float64)
    either = a.sum(1)[:, None] + b.sum(1)[None] - common
    return common / np.maximum(either, 1)


def _pairs(depth: int, keys: Keys, rows: Int[np.ndarray, "q k"], kept: Bool[np.ndarray, "q k"]) -> Int[np.ndarray, "q depth 2"]:
    place = keys.of_row[rows]
    pairs = np.stack([keys.clips[place], rows - keys.starts[place]], axis=-1)
    pairs = np.where(kept[..., None], pairs, NONE)[:, :depth].astype(np.int32)
    return np.pad(pairs, ((0, 0), (0, depth - pairs.shape[1]), (0, 0)), constant_values=NONE)


def _generator(seed: int, name: str, number: int) -> np.random.Generator:
    return np.random.default_rng([seed, zlib.crc32(str(name).encode()), int(number)])


def _unit(x: Float[np.ndarray, "*b d"]) -> Float[np.ndarray, "*b d"]:
    return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12)


class WithNeighbours:
    """Stored states of a split whose records have "text_neighbours" [captions, depth, 2] as well."""

    def __init__(self, source: Any, counts: Sequence[int], rows: Int[np.ndarray, "q depth 2"]):
        """`counts` are the captions of each clip, whose rows lie one after the other."""
        self.source, self.rows = source, rows
        self.starts = np.concatenate([[0], np.cumsum(counts)])
        if self.starts[-1] != len(rows):
            raise ValueError(f"{len(rows)} rows of neighbours for {self.starts[-1]} captions")

    def __len__(self) -> int:
        return len(self.source)

    def __repr__(self) -> str:  # Grain checkpoints compare this text
        return f"WithNeighbours({self.source!r}, {self.rows.shape})"

    def facts(self, index: int) -> Mapping[str, Any]:
        """What the record of one clip says."""
        return facts_of(self.source, index)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {**self.source[index], "text_neighbours": self.rows[self.starts[index] : self.starts[index + 1]]}


@dataclass(frozen=True)
class PairsTransform:
    """Turns records of states into examples with the features of K retrieved pairs; a clip with all its captions has those of its first.

    Examples have "retrieved_valid" [k], False for the pairs that are missing, and for the contexts that the U-Net attends to
    "retrieved_audio" [k, n, d], "retrieved_text" [k, l, d] and "retrieved_text_mask" [k, l]: zeros and False where a pair is missing.

    Attributes:
      inner: makes the rest of the example.
      options: how many pairs, and which.
      datastore: stored states of its clips, random access; None where nothing is retrieved.
      audio: tokens of a clip and their width, (0, 0) = sounds are no context.
      text: the same of a caption.
    """

    inner: StatesTransform
    options: RetrievalOptions
    datastore: Any
    audio: tuple[int, int]
    text: tuple[int, int]
    fixed_length: ClassVar[bool] = True

    @property
    def draws(self) -> bool:
        """Whether the pairs of an example are drawn anew each time."""
        return self.options.draw

    def __call__(
        self, record: Mapping[str, Any], clip_index: int, caption: int | None, rng: np.random.Generator | None = None
    ) -> dict[str, np.ndarray]:
        """The example of a record; arguments as for `StatesTransform`."""
        example = self.inner(record, clip_index, caption, rng)
        pairs = np.zeros((0, 2), np.int32)
        if self.options.on:
            pairs = example["text_neighbours"][0] if caption == -1 else example["text_neighbours"]
        kept = {name: x for name, x in example.items() if name not in UNUSED}
        return kept | self.features(self._chosen(pairs, rng))

    def features(self, pairs: Int[np.ndarray, "j 2"]) -> dict[str, np.ndarray]:
        """The leaves of up to K (clip, caption) pairs of the datastore."""
        count = self.options.pairs
        found = {"retrieved_valid": np.zeros(count, bool)}
        if self.audio[0]:
            found["retrieved_audio"] = np.zeros((count, *self.audio), np.float32)
        if self.text[0]:
            found["retrieved_text"] = np.zeros((count, *self.text), np.float32)
            found["retrieved_text_mask"] = np.zeros((count, self.text[0]), bool)
        for place, (clip, caption) in enumerate(pairs[:count]):
            if clip == NONE:
                continue
            record = self.datastore[int(clip)]
            found["retrieved_valid"][place] = True
            if self.audio[0]:
                found["retrieved_audio"][place] = record["audio_tokens"]
            if self.text[0]:
                found["retrieved_text"][place] = record["text_tokens"][caption]
                found["retrieved_text_mask"][place] = record["text_tokens_mask"][caption]
        return found

    def collate(self, examples: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
        """A batch: every key stacked."""
        return self.inner.collate(examples)

    def _chosen(self, pairs: Int[np.ndarray, "j 2"], rng: np.random.Generator | None) -> Int[np.ndarray, "k 2"]:
        there = pairs[pairs[:, 0] != NONE]
        if not self.options.draw or rng is None or len(there) <= self.options.count:
            return there[: self.options.count]
        return there[np.sort(rng.choice(len(there), self.options.count, replace=False))]
