"""The datastore that a generator retrieves from: its features are computed once by the frozen towers, and every caption's neighbours too.

Both lie in the cache folder, below states/ and neighbours/, under names that tell towers, data and settings.
"""

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from audiojax.api.data import open_split
from audiojax.api.finding.clap_search import clap_model_id
from audiojax.api.start import Start
from audiojax.api.states import stored_states
from audiojax.data.examples import MemorySource, captions_of, facts_of
from audiojax.data.layouts.records import clip_id_of
from audiojax.data.soundworld.classes import names
from audiojax.data.soundworld.scenes import Scene
from audiojax.data.sources import JoinedRecords, StoredStates
from audiojax.data.transforms import ClipTransform, StatesTransform
from audiojax.errors import UsageError
from audiojax.files import shown, write_whole
from audiojax.folders import cache_home
from audiojax.index.records import IndexRecords
from audiojax.index.store import MANIFEST
from audiojax.papers.re_audioldm.diffusion_settings import DiffusionSettings
from audiojax.papers.re_audioldm.retrieval import (
    BY_TRUTH,
    Keys,
    PairsTransform,
    Queries,
    RetrievalOptions,
    WithNeighbours,
    find_neighbours,
    make_keys,
)
from audiojax.papers.task import Encoders
from audiojax.progress import counting_bar
from audiojax.towers.clap_features import PRESETS as FRONT_ENDS

FORMAT = 3
PART = 8_192  # captions whose neighbours are one file


class Datastore:
    """What is retrieved from.

    Attributes:
      options: of the config.
      records: of its clips.
      states: what the towers made of them, random access.
      name: of the features, by which stored neighbours are told apart.
      indexed: the records are files of an index, whose ids are paths; clips of one file name count as one there.
    """

    def __init__(self, options: RetrievalOptions, records: Any, states: Any, name: str, indexed: bool = False):
        """UsageError: splits with fewer clips than are to be retrieved. Of an index with fewer, null pairs stand for the rest."""
        self.options, self.records, self.states, self.name, self.indexed = options, records, states, name, indexed
        self._keys: Keys | None = None
        if len(states) < options.count and not indexed:
            raise UsageError(
                f"config key 'retrieval.count' is {options.count}, and the datastore '{options.datastore}' holds {len(states)} clips; lower"
                " the count or name a larger datastore"
            )

    @property
    def keys(self) -> Keys:
        """Made when they are first asked for: all states are read."""
        if self._keys is None:
            ids = [facts_of(self.records, i)["id"] for i in range(len(self.records))]
            self._keys = make_keys(self.states, ids, self.options.key, self.names(ids))
        return self._keys

    @property
    def has_truth(self) -> bool:
        """Whether SoundWorld's scenes of its clips are known."""
        return all(facts_of(self.records, i).get("scene") for i in range(len(self.records)))

    def names(self, ids: Sequence[str]) -> list[str]:
        """What tells a query's own clip, of ids of the datastore as of queries."""
        return [clip_id_of(own, "audiocaps", "") for own in ids] if self.indexed else list(ids)


def open_datastore(
    config: Mapping[str, Any],
    settings: DiffusionSettings,
    encoders: Encoders,
    start: Start,
    transform: ClipTransform,
    known: Mapping[str, tuple[Any, Any]],
    *,
    progress: bool = True,
) -> Datastore | None:
    """The datastore that the config names, its features from the cache or made now; None where nothing is retrieved.

    Args:
      encoders, start, transform: as for `audiojax.api.states.stored_states`.
      known: split -> (records, states) that are open already.

    Raises:
      UsageError: a split or folder that is not there, an index of another CLAP or without captions, splits of fewer clips than
        `retrieval.count`.
    """
    options = settings.retrieval
    if not options.on:
        return None
    parts, indexed = [], (Path(options.datastore).expanduser() / MANIFEST).is_file()
    if indexed:
        records = _index_records(config, settings, start, Path(options.datastore).expanduser())
        parts.append((records, stored_states(config, encoders, start, records, transform, "index", progress=progress)))
    else:
        for split in options.datastore.split("+"):
            if split in known:
                parts.append(known[split])
                continue
            records = open_split(config["data"], split, progress=progress)
            states = stored_states(config, encoders, start, records, transform, split, progress=progress)
            parts.append((records, MemorySource(states) if config["data"]["in_memory"] else states))
    records, states = ([part[i] for part in parts] for i in (0, 1))
    joined = [items[0] if len(items) == 1 else JoinedRecords(items) for items in (records, states)]
    return Datastore(options, *joined, "+".join(_name(part) for part in states), indexed)


def with_neighbours(datastore: Datastore, records: Any, states: Any, *, progress: bool = True) -> WithNeighbours:
    """The states of a split with the neighbours of every caption, from the cache or found now; parts that a stopped call has found stay.

    Args:
      records: of the split, for the controls that ask which classes its clips have.
      states: of the split.

    Raises:
      UsageError: the cache folder cannot be written, or a control needs SoundWorld's truth and the data have none.
    """
    options = datastore.options
    counts = [len(captions_of(states, i)) for i in range(len(states))]
    facts = {"format": FORMAT, "datastore": datastore.name, "queries": _name(states), "captions": counts, "part": PART}
    facts |= {name: getattr(options, name) for name in ("mode", "key", "depth")}
    facts |= {} if options.mode == "clap" else {"seed": options.seed}
    digest = hashlib.blake2b(json.dumps(facts, sort_keys=True).encode(), digest_size=12).hexdigest()
    folder, ends = cache_home() / "neighbours" / digest, np.cumsum(counts)
    paths = [folder / f"{first:09d}.npy" for first in range(0, int(ends[-1]), PART)]
    with counting_bar("captions", progress and not all(path.is_file() for path in paths)) as bar:
        task = bar.add_task("neighbours", total=int(ends[-1]))
        for path in paths:
            if not path.is_file():
                first = int(path.stem)
                rows = _neighbours_of(datastore, records, states, ends, first, min(first + PART, int(ends[-1])))
                buffer = io.BytesIO()
                np.save(buffer, rows)
                write_whole(path, buffer.getvalue())
            bar.update(task, completed=min(int(path.stem) + PART, int(ends[-1])))
    return WithNeighbours(states, counts, np.concatenate([np.load(path, allow_pickle=False) for path in paths]))


def pairs_transform(settings: DiffusionSettings, inner: StatesTransform, datastore: Datastore | None) -> PairsTransform:
    """What makes examples of the states of a split, with the features of retrieved pairs."""
    states = None if datastore is None else datastore.states
    return PairsTransform(inner, settings.retrieval, states, settings.audio_tokens, settings.text_tokens)


def _neighbours_of(
    datastore: Datastore, records: Any, states: Any, ends: Int[np.ndarray, " n"], first: int, last: int
) -> Int[np.ndarray, "q depth 2"]:
    """Of captions first to last of a split, counted through all its clips."""
    clips = range(int(np.searchsorted(ends, first, side="right")), int(np.searchsorted(ends, last - 1, side="right")) + 1)
    vectors, ids, numbers = [], [], []
    for clip in clips:
        record = states[clip]
        vectors.append(np.asarray(record["text_embedding"], np.float32))
        ids += [facts_of(records, clip)["id"]] * len(vectors[-1])
        numbers += range(len(vectors[-1]))
    begin = int(ends[clips[0]]) - len(vectors[0])
    taken = slice(first - begin, last - begin)
    truth = datastore.options.mode in BY_TRUTH
    asked = Queries(np.concatenate(vectors)[taken], np.array(datastore.names(ids))[taken], np.array(numbers)[taken])
    if truth:
        own = classes_of(records, clips)
        asked = asked._replace(classes=np.repeat(own, [len(x) for x in vectors], axis=0)[taken])
    theirs = classes_of(datastore.records, range(len(datastore.records))) if truth else None
    return find_neighbours(datastore.options, datastore.keys, asked, theirs)


def classes_of(records: Any, clips: Sequence[int]) -> Bool[np.ndarray, "n c"]:
    """Which of SoundWorld's classes sound in some clips.

    Raises:
      UsageError: a clip without SoundWorld's truth.
    """
    places = {name: number for number, name in enumerate(names())}
    found = np.zeros((len(clips), len(places)), bool)
    for row, clip in enumerate(clips):
        record = facts_of(records, clip)
        scene = Scene.parse(record["scene"])
        if scene is None:
            raise UsageError(f"config key 'retrieval.mode' asks which classes clips have, and '{record['id']}' has no SoundWorld scene")
        found[row, [places[event.name] for event in scene.events]] = True
    return found


def _index_records(config: Mapping[str, Any], settings: DiffusionSettings, start: Start, folder: Path) -> IndexRecords:
    """The sounds of an index, which must have been made with the CLAP that the run starts from."""
    records = IndexRecords(folder, config["data"]["sample_rate"])
    if "clap" in start.card:
        ours = clap_model_id(start.card["clap"]["digest"], FRONT_ENDS[config["model"]["clap_front_end"]], settings.clap_text.dtype)
        if records.settings.model_id != ours:
            raise UsageError(
                f"{shown(folder)}: this index was made with {records.settings.model} ({records.settings.model_id[:12]}), and the run starts"
                f" from {start.card['clap']['source']} ({ours[:12]}); make it with that CLAP"
            )
    return records


def _name(states: Any) -> str:
    """The folder of stored states, whose name tells towers and data, and the split."""
    inner = states.source if isinstance(states, MemorySource) else states
    if isinstance(inner, JoinedRecords):
        return "+".join(map(_name, inner.sources))
    if isinstance(inner, StoredStates):
        return f"{inner.folder.name}/{inner.split}"
    return inner.identity()
