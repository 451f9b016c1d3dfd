"""A system that describes, on a split: how well its captions agree with people's and with the truth, how varied and how fast they are.

Beside it stand those who do not listen, the caption of another clip and the most typical training caption, and people themselves: one
reference of a clip scored against the others.
"""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from audiojax.api.data import open_split
from audiojax.api.describing.caption_measures import AGREEMENT, DIVERSITY, MEASURES, MODELLED, TRUTH, Counts, Measure, count, values
from audiojax.api.describing.caption_models import CaptionModel, Said, measure_all
from audiojax.api.describing.captioning import Captioner, Described, Row, describe_rows, row_seed, sound_digest
from audiojax.api.evaluation import Evaluation, Tested, metric_card, save_arrays, training_curves
from audiojax.audio.io import resample
from audiojax.data.examples import captions_of
from audiojax.data.soundworld.scenes import Scene
from audiojax.data.transforms import to_float
from audiojax.errors import UsageError
from audiojax.files import write_whole
from audiojax.metrics.captions.scores import diversity_scores
from audiojax.metrics.captions.typical import most_typical
from audiojax.progress import counting_bar
from audiojax.report.html import write_report
from audiojax.report.sections import Card, Metric, MetricTable, Note, Section, Sound, Table, Wording, Wordings
from audiojax.report.tables import write_file

COUNTS = "counts.npz"
SEED = 0  # of what is drawn; candidates of a clip have numbers
HEARD = 12  # clips of the report, spread over the split
TRAINING_CLIPS = 2_000  # whose captions the most typical one is chosen from
MODEL, OTHERS, TYPICAL, PEOPLE = "model", "other clips", "typical caption", "people"
STATED = {"attributes": "attributes", "order": "pairs in order"}  # measures of what a caption need not say
CHARTS = (
    ("Training loss", ("train/loss",), True),
    ("Validation, terms of the loss", ("val/loss/mse", "val/loss/l2", "val/loss/valid", "val/loss/cross_entropy"), True),
    ("Validation, share of words", ("val/round_trip/words", "val/loss/words_right"), False),
    ("Validation, CIDEr-D of token ids", ("val/captions/cider_d",), False),
)


@dataclass(frozen=True, eq=False)
class Clips:
    """What a split holds beside its sounds: ids, references and, for SoundWorld alone, the truth."""

    ids: Sequence[str]
    references: Sequence[Sequence[str]]
    scenes: Sequence[Scene] | None


def evaluate_captioner(
    captioner: Captioner,
    tested: Tested,
    options: Mapping[str, Any],
    *,
    models: Sequence[CaptionModel] = (),
    candidates: int = 1,
    batch_size: int | None = None,
    further: Sequence[Section] = (),
    progress: bool = True,
) -> Evaluation:
    """Captions of all clips, scored, as captions.csv, counts.npz, scores.json and report.html in the folder of `tested`.

    Args:
      options: all options of the captioner.
      models: measures that need a model, opened. They also measure another clip's caption, which is chance, and one reference against
        the others.
      candidates: captions of each clip; the first one is scored, all count for diversity.
      further: tables and pictures of what the captions are made from.
    """
    clips = read_clips(tested.source)
    said, speed = describe_split(captioner, tested.source, options, candidates, batch_size, progress)
    texts = [own[0].text for own in said]
    silent = {OTHERS: of_others(clips.references), TYPICAL: typical_of(tested, len(texts))}
    authors = {MODEL: texts, **{name: captions for name, captions in silent.items() if captions}}
    counts = {name: count(captions, clips.references, clips.scenes) for name, captions in authors.items()}
    fewer = leave_one_out(authors, clips)
    if models:
        for name in (MODEL, OTHERS) if OTHERS in authors else (MODEL,):
            counts[name] |= modelled(models, tested.source, Said(clips.ids, authors[name], clips.references), progress)
        if fewer:
            fewer[PEOPLE] |= modelled(models, tested.source, Said(clips.ids, *one_against_others(clips.references)), progress)
    diversity = {MODEL: diversity_scores([[one.text for one in own] for own in said])}
    diversity |= {PEOPLE: diversity_scores([own[:candidates] for own in clips.references])}
    scores = values(counts[MODEL]) | diversity[MODEL]
    limits = {
        "floor": {name: values(counts[name]) for name in silent if name in counts},
        "fewer references": {name: values(one) for name, one in fewer.items()},
    }
    card = metric_card(captioner, tested, protocol(clips), clips.ids) | {"options": _words(options), "seed of the captions": SEED}
    card |= {name: made for model in models for name, made in model.card.items()}
    tables: list[Section] = [
        *score_tables(counts, fewer),
        *author_tables(fewer),
        diversity_table(diversity, candidates),
        Table("Speed", ("", "value"), list(speed.items()), SPEED),
    ]
    sections = [*tables, *(one for one in further if isinstance(one, Table)), Card("Metric card", card)]
    report = write_report(
        tested.folder / "report.html",
        title=f"{captioner.card['task'].split('/')[0].upper()} on {tested.place}",
        subtitle=f"{len(texts)} clips; trained on {tested.trained_name}, tested on {tested.tested_name}",
        sections=[*tables, *further, examples(tested.source, said), *training_curves(tested.workdir, CHARTS), sections[-1], READING],
    )
    save_arrays(tested.folder / COUNTS, counts[MODEL])
    write_captions_csv(tested.folder / "captions.csv", clips, said)
    facts = {"scores": scores, **limits, "diversity of people": diversity[PEOPLE], "speed": speed, "card": card}
    path = write_whole(tested.folder / "scores.json", json.dumps(facts, indent=2, ensure_ascii=False) + "\n")
    return Evaluation(scores, sections, report, path, counts=counts[MODEL])


def load_counts(folder: Path) -> dict[str, np.ndarray] | None:
    """What an earlier evaluation saved in its folder, or None."""
    if not (folder / COUNTS).is_file():
        return None
    with np.load(folder / COUNTS, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def read_clips(source: Any) -> Clips:
    """Ids, references and scenes of all records, one by one: a split's waveforms need not fit in memory."""
    ids, references, scenes = [], [], []
    for record in map(source.__getitem__, range(len(source))):
        ids.append(record["id"])
        references.append(list(record["captions"]))
        scenes.append(Scene.parse(record["scene"]))
    return Clips(ids, references, scenes if all(scenes) else None)


def describe_split(
    captioner: Captioner, source: Any, options: Mapping[str, Any], candidates: int, batch_size: int | None, progress: bool
) -> tuple[list[list[Described]], dict[str, Any]]:
    """(captions of every clip, how fast the first ones came)."""
    reading = 0.0

    def rows(clips: Sequence[int], chosen: Sequence[int]) -> Iterator[Row]:
        nonlocal reading
        for clip in clips:
            begun = time.perf_counter()
            record = source[clip]
            sound = resample(to_float(record["audio"]), record["sample_rate"], captioner.sample_rate)
            digest = sound_digest(sound[: captioner.samples])
            reading += time.perf_counter() - begun
            for candidate in chosen:
                yield Row((clip, candidate), sound, row_seed(digest, SEED, candidate))

    size = captioner.batch_rows(batch_size)
    begun = time.perf_counter()
    list(describe_rows(captioner, rows(range(len(source))[:size], [0]), options, batch_size))
    first, reading = time.perf_counter() - begun - reading, 0.0
    found: list[list[Described]] = [[] for _ in range(len(source))]
    with counting_bar("captions", progress) as bar:
        task = bar.add_task("describing", total=candidates * len(source))
        begun = time.perf_counter()
        for row, said in describe_rows(captioner, rows(range(len(source)), [0]), options, batch_size):
            found[row.key[0]].append(said)
            bar.advance(task)
        seconds = time.perf_counter() - begun - reading
        for row, said in describe_rows(captioner, rows(range(len(source)), range(1, candidates)), options, batch_size):
            found[row.key[0]].append(said)
            bar.advance(task)
    speed = {
        "clips a second (APS)": len(source) / seconds,
        "tokens a second (TPS)": sum(own[0].tokens for own in found) / seconds,
        "seconds": seconds,
        "first batch, with compiling, seconds": first,
        "batch size": captioner.batch_rows(batch_size, len(source)),
        "device": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
    }
    return found, speed


def of_others(references: Sequence[Sequence[str]]) -> list[str]:
    """For every clip the first caption of another one, drawn so that each is taken once; [] where there is one clip alone."""
    if len(references) < 2:
        return []
    order = np.random.default_rng(SEED).permutation(len(references))
    texts = [""] * len(references)
    for clip, other in zip(order, np.roll(order, 1), strict=True):
        texts[clip] = references[other][0]
    return texts


def typical_of(tested: Tested, clips: int) -> list[str]:
    """The most typical training caption, for every clip; [] where the training data are not at hand."""
    try:
        source = open_split(tested.trained_on, "train", progress=False)
    except UsageError:
        return []
    chosen = np.unique(np.linspace(0, len(source) - 1, min(TRAINING_CLIPS, len(source))).astype(int))
    return [most_typical([text for i in chosen for text in captions_of(source, int(i))])] * clips


def leave_one_out(authors: Mapping[str, Sequence[str]], clips: Clips) -> dict[str, dict[str, np.ndarray]]:
    """Counts of everybody against all references but one a clip, which is what people say; {} where a clip has one reference alone."""
    if min(map(len, clips.references)) < 2:
        return {}
    people, others = one_against_others(clips.references)
    return {name: count(texts, others, clips.scenes) for name, texts in {**authors, PEOPLE: people}.items()}


def one_against_others(references: Sequence[Sequence[str]]) -> tuple[list[str], list[list[str]]]:
    """(one reference of each clip, the others); which one it is goes round from clip to clip."""
    out = [i % len(own) for i, own in enumerate(references)]
    people = [own[k] for own, k in zip(references, out, strict=True)]
    return people, [[text for i, text in enumerate(own) if i != k] for own, k in zip(references, out, strict=True)]


def modelled(models: Sequence[CaptionModel], source: Any, said: Said, progress: bool) -> dict[str, np.ndarray]:
    """Measure -> [1, clips], by models that read the captions and may hear the clips of the split."""

    def sounds() -> Iterator[tuple[np.ndarray, int]]:
        for record in map(source.__getitem__, range(len(source))):
            yield to_float(record["audio"]), record["sample_rate"]

    return {name: found[None] for name, found in measure_all(models, replace(said, sounds=sounds), progress).items()}


def protocol(clips: Clips) -> str:
    """How captions are scored, for the metric card."""
    sizes = sorted({len(own) for own in clips.references})
    many = str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
    said = f"first caption of a clip against all {many} references; chance is the caption of another clip, scored the same way"
    if sizes[0] < 2:
        return said
    return said + "; the ceiling is one reference, which goes round from clip to clip, against the others"


def score_tables(counts: Mapping[str, Counts], fewer: Mapping[str, Counts]) -> list[MetricTable]:
    """The model's numbers with intervals, beside those of another clip's caption and of people."""
    tables = []
    for title, measures in (("Agreement with people", AGREEMENT | MODELLED), ("Agreement with the scene", TRUTH)):
        own = {name: one for name, one in counts[MODEL].items() if name in measures}
        metrics = []
        for name, one in own.items():
            measure, found = measures[name], measures[name].interval(one)
            bounds = {"chance": value_of(measure, counts.get(OTHERS), name), "ceiling": value_of(measure, fewer.get(PEOPLE), name)}
            metrics.append(Metric(measure.title, found.estimate, found.low, found.high, **bounds, percent=measure.percent))
        stated = [f"{own[name][1].sum():.0f} {what}" for name, what in STATED.items() if name in own]
        if metrics:
            tables.append(MetricTable(title, metrics, f"Stated of sounds that are named rightly: {', '.join(stated)}." if stated else ""))
    return tables


def value_of(measure: Measure, counts: Counts | None, name: str) -> float | None:
    """The number of one measure, None where it was not counted."""
    return None if counts is None or name not in counts else measure.value(counts[name])


def author_tables(fewer: Mapping[str, Counts]) -> list[Table]:
    """Everybody against the same references, and how far the model is from people."""
    if not fewer:
        return []
    rows = []
    for name in ("cider_d", "bleu_4", "rouge_l", *TRUTH):
        if name in fewer[MODEL] and name in fewer[PEOPLE]:
            measure = MEASURES[name]
            gap = measure.difference(fewer[MODEL][name], fewer[PEOPLE][name])
            rows.append((measure.title, *(value_of(measure, counts, name) for counts in fewer.values()), str(gap)))
    note = "All against the same references: those of a clip without the one that people say here. Brackets are 95 % intervals over clips."
    return [Table("Beside people", ("", *fewer, f"{MODEL} minus {PEOPLE}"), rows, note)] if rows else []


def diversity_table(diversity: Mapping[str, Mapping[str, float]], candidates: int) -> Table:
    """How varied captions are, beside as many of each clip by people."""
    names = [name for name in DIVERSITY if name in diversity[MODEL]]
    rows = [(DIVERSITY[name], *(one.get(name) for one in diversity.values())) for name in names]
    note = f"Captions of each clip: {candidates}; for people their first ones."
    return Table("Diversity", ("", *diversity), rows, note)


def examples(source: Any, said: Sequence[Sequence[Described]]) -> Wordings:
    """Some clips with sound, what the model says and what people say."""
    clips = []
    for i in np.unique(np.linspace(0, len(source) - 1, min(HEARD, len(source))).astype(int)):
        record = source[int(i)]
        texts = {MODEL: [one.text for one in said[i]], PEOPLE: list(record["captions"])}
        clips.append(Wording(Sound(record["audio"], record["sample_rate"], record["id"]), texts))
    return Wordings("What it says", clips, "Clips of the split, spread evenly; not picked by hand.")


def write_captions_csv(path: Path, clips: Clips, said: Sequence[Sequence[Described]]) -> Path:
    """A row a caption, with the references of its clip."""
    widest = max(map(len, clips.references))
    rows = [
        {"id": name, "candidate": number, "caption": one.text, "confidence": round(one.confidence, 4)}
        | {f"reference_{k + 1}": own[k] if k < len(own) else "" for k in range(widest)}
        for name, own, captions in zip(clips.ids, clips.references, said, strict=True)
        for number, one in enumerate(captions)
    ]
    return write_file(path, rows)


def _words(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in options.items())


SPEED = (
    "The wall clock from sounds in memory to texts over the whole split, hearing included, one caption a clip; reading the records and the"
    " first batch, which compiles, are apart. Tokens are those of the captions, without filler."
)
READING = Note(
    "How to read this",
    (
        "CIDEr-D, from 0 to 10, weighs shared word groups by how rare they are; BLEU-n is the share of word groups up to n words that a"
        " reference has, ROUGE-L goes by the longest common sequence. Chance is what the caption of another clip gets: words that fit the"
        " data, not the sound. The ceiling is what one reference gets against the others; a model can pass it, since it is scored against"
        " all references and says what most of them say. 'Beside people' scores everybody against the same ones.",
        "Where the data are SoundWorld's, captions are also held against the truth: event F1 by the sounds that are named, and of what"
        " is stated of sounds that are named rightly, their attributes and their order in time, the share that is true. A caption outside"
        " the grammar of the data states nothing. Intervals are 95 % bootstrap intervals over clips.",
    ),
)
