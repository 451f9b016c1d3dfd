"""A system that makes sounds, on a split: a sound for the first caption of each clip, measured against the clip itself.

Beside it stands the round trip: the clips through autoencoder and vocoder, which no sound that is made of latents surpasses.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path, PurePath
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np

from audiojax.api.bridging.evaluate import GAPS, load_gaps
from audiojax.api.evaluation import Evaluation, Tested, metric_card, save_arrays, training_curves
from audiojax.api.making.generating import Order, write_sounds
from audiojax.api.making.listening import side_by_side
from audiojax.api.making.maker import MAKE_BATCH, Maker
from audiojax.api.making.retrieval_measures import retrieval_metrics
from audiojax.api.making.retriever import Retriever
from audiojax.api.making.score_audio import BUCKETS, READING, TITLE, ScoredSounds, score_audio
from audiojax.api.making.sound_backbone import Backbone
from audiojax.api.making.sound_sets import Heard, SoundSet, clip_set, file_set
from audiojax.api.making.wishes import Wish, make_plan
from audiojax.api.opening import open_tower
from audiojax.audio.io import resample
from audiojax.audio.spectral import log_mel
from audiojax.errors import UsageError
from audiojax.files import write_whole
from audiojax.index.store import MANIFEST
from audiojax.papers.re_audioldm.hearing import levelled
from audiojax.papers.re_audioldm.retrieval import BY_TRUTH
from audiojax.report.html import write_report
from audiojax.report.sections import Card, MetricTable, Section
from audiojax.trainer.export import Exported

OPTIONS = ("sampler", "steps", "guidance", "candidates")
RETRIEVAL = ("datastore", "count", "mode")
SOUNDS, SCORES, TEST = "sounds", "scores.json", "test"  # folder, file and its entry that says what measured
RETRIEVED = "What was retrieved, and whether it is copied"
ROUND_TRIP = "Real clips through autoencoder and vocoder"
PROTOCOL = "the first caption of each clip, seed 0; of the length of a clip"
CHARTS = (
    ("Training loss", ("train/loss",), True),
    ("Validation, error of the noise", ("val/error", "val_ema/error"), False),
    ("Validation, share of the noise that is explained", ("val/explained", "val_ema/explained"), False),
)


@dataclass(frozen=True)
class SoundTest:
    """How a system that makes sounds is measured; UsageError for values that make no sense, before anything is trained or made.

    Attributes:
      backbone: whose embeddings and tags are compared: CNN14 weights, or a run of the tagger of `audiojax towers`.
      clap: model of the CLAP score; None = it is not measured.
      clips: at most so many, spread evenly over the split; None = all.
      options: how sounds are made, where it is not the maker's default: sampler, steps, guidance, candidates.
      batch_size: sounds made at a time.
      ranker: a CLAP that picks among candidates.
      retrieval: what is retrieved, where it is not what the run was trained with: datastore, count, mode.
    """

    backbone: str
    clap: str | None = None
    clips: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    batch_size: int | None = None
    ranker: str | None = None
    retrieval: Mapping[str, Any] = field(default_factory=dict)

    @property
    def chosen(self) -> dict[str, Any]:
        """What is not the default, as the name of an evaluation has it."""
        retrieved = {name: PurePath(str(value)).name for name, value in self.retrieval.items()}
        return dict(self.options) | ({"clips": self.clips} if self.clips else {}) | retrieved

    @cached_property
    def identity(self) -> dict[str, str]:
        """Hashes of the networks that measure, and of the index that is retrieved from."""
        names = {"backbone": self.backbone, "clap": self.clap, "ranker": self.ranker}
        hashes = {role: open_tower(name, False).digest for role, name in names.items() if name is not None}
        index = Path(self.retrieval.get("datastore", "")).expanduser() / MANIFEST
        return hashes | ({"index": hashlib.blake2b(index.read_bytes(), digest_size=16).hexdigest()} if index.is_file() else {})

    def __post_init__(self) -> None:
        for given, known in ((self.options, OPTIONS), (self.retrieval, RETRIEVAL)):
            if odd := sorted(set(given) - set(known)):
                raise UsageError(f"{odd[0]}: a system that makes sounds does not take it; it takes {', '.join(known)}")
        make_plan(**self.options)


def evaluate_maker(maker: Maker, model: Exported, tested: Tested, test: SoundTest, *, progress: bool = True) -> Evaluation:
    """Sounds for the clips of the split, scored, as sounds/, gaps.npz, scores.json and report.html in the folder of `tested`.

    A second call makes the sounds that are missing alone.

    Args:
      model: the run that the maker was opened from.

    Raises:
      UsageError: as `write_sounds` and `score_audio`.
    """
    source, count = tested.source, len(tested.source)
    places = np.unique(np.linspace(0, count - 1, min(test.clips or count, count)).round().astype(int)).tolist()
    real = clip_set(f"{tested.place} of {tested.tested_name}", source, places)
    names = {own: f"{i:06d}" for own, i in zip(real.ids, places, strict=True)}  # an id need not be a file name
    network = Backbone(test.backbone, progress=progress)
    plan = maker.plan(**test.options)
    maker, retriever = _with_truth(maker, real)
    orders = [Order(names[own], Wish(real.captions[own], clip=own)) for own in real.ids]
    written, _ = write_sounds(maker, orders, tested.folder / SOUNDS, plan, batch_size=test.batch_size, progress=progress)
    made = file_set(TITLE, {own: one.path for own, one in zip(real.ids, written, strict=True)})
    back = SoundSet(ROUND_TRIP, real.ids, partial(round_trip, maker, real))
    found, ceiling = (score_audio(one, real, network, clap=test.clap, progress=progress) for one in (made, back))

    sampling = f"{plan.sampling.sampler}, {plan.sampling.steps} steps, guidance {plan.guidance:g}, {plan.candidates} candidates"
    facts = SimpleNamespace(config=model.config, card=model.card, parameters=sum(x.size for x in jax.tree.leaves(model.params)))
    card = metric_card(facts, tested, PROTOCOL, real.ids) | {"sounds": sampling, "vocoder": type(maker.networks.vocoder).__name__}
    card |= {name: said for name, said in found.card.items() if name not in card}
    retrieved, values = [], {}
    if retriever.datastore is not None and real.labels and retriever.datastore.has_truth:
        texts = maker.networks.text.embed_text([order.wish.prompt for order in orders])
        pairs = retriever.neighbours([order.wish for order in orders], texts)
        given = dict(zip(real.ids, pairs[..., 0], strict=True))
        rows, values = retrieval_metrics(retriever.datastore, retriever.classes, given, found.compared, network, progress=progress)
        retrieved = [MetricTable(RETRIEVED, rows)]
    tables: list[Section] = [*_tables(found), *retrieved, MetricTable(ROUND_TRIP, [row for one in _tables(ceiling) for row in one.metrics])]
    sections = [*tables, Card("Metric card", card)]
    sets = {"made": found.compared.made, "real": found.compared.real, "round trip": ceiling.compared.made}
    listened = side_by_side(sets, found.ids, real.captions, real.labels)
    report = write_report(
        tested.folder / "report.html",
        title=f"Re-AudioLDM on {tested.place}",
        subtitle=f"{len(real.ids)} clips; trained on {tested.trained_name}, tested on {tested.tested_name}",
        sections=[*tables, listened, *training_curves(tested.workdir, CHARTS), sections[-1], READING],
    )
    scores = found.scores | {row.name: row.value for table in retrieved for row in table.metrics}
    scores |= {f"round trip/{name}": value for name, value in ceiling.scores.items()}
    kept = {name: np.float64(value) for name, value in found.scores.items()}
    kept |= {name: np.asarray(numbers) for name, numbers in (found.per_clip | found.groups | values).items()}
    save_arrays(tested.folder / GAPS, kept)
    path = write_whole(tested.folder / SCORES, json.dumps({"scores": scores, "card": card, TEST: test.identity}, indent=2) + "\n")
    return Evaluation(scores, sections, report, path, gaps=kept)


def load_sounds(folder: Path, test: SoundTest) -> dict[str, np.ndarray] | None:
    """What an earlier evaluation in this folder saved, None where there was none, other networks measured or another index was searched."""
    try:
        measured = json.loads((folder / SCORES).read_text(encoding="utf-8"))[TEST]
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return load_gaps(folder) if measured == test.identity else None


def round_trip(maker: Maker, real: SoundSet, ids: Sequence[str]) -> Iterator[Heard]:
    """Real clips as the autoencoder and the vocoder give them back; the devices share a batch."""
    rate, vae, layout = maker.sample_rate, maker.networks.vae, maker.networks.layout
    together = -(-MAKE_BATCH // layout.devices) * layout.devices
    to_mel = jax.jit(lambda rows: log_mel(levelled(rows), maker.geometry.mel), out_shardings=layout.batch_sharding)
    for first in range(0, len(ids), together):
        clips = [resample(samples, own_rate, rate) for samples, own_rate in real.read(ids[first : first + together])]
        longest = max(map(len, clips))
        whole = -(-longest // (maker.geometry.latent * maker.geometry.unit)) * maker.geometry.latent * maker.geometry.unit
        rows = np.zeros((together, whole), np.float32)  # one shape
        for row, clip in zip(rows, clips, strict=False):
            row[: len(clip)] = clip
        waveforms = np.asarray(maker.networks.vocoder(vae.decode(vae.encode(to_mel(rows)))))
        for waveform, clip in zip(waveforms, clips, strict=False):
            yield waveform[: len(clip)], rate


def _with_truth(maker: Maker, real: SoundSet) -> tuple[Maker, Retriever]:
    """The maker whose controls know which classes sound in the clips. UsageError where one asks and the data do not tell."""
    retriever = maker.networks.retrieval
    if retriever.options.mode in BY_TRUTH and not real.labels:
        raise UsageError(f"retrieval.mode '{retriever.options.mode}' asks which classes clips have, and {real.name} do not tell")
    retriever = replace(retriever, truth={own: labels > 0 for own, labels in real.labels.items()})
    return Maker(replace(maker.networks, retrieval=retriever), maker.source, maker.seconds), retriever


def _tables(scored: ScoredSounds) -> list[MetricTable]:
    return [section for section in scored.sections if isinstance(section, MetricTable) and section.title in (TITLE, BUCKETS)]
