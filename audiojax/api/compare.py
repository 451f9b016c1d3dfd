"""The settings of a sweep beside each other: what each scores, and how far it is from the first one, on the same queries or clips."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from audiojax.api.bridging.evaluate import TITLES as GAPS
from audiojax.api.describing.caption_measures import MEASURES, Counts
from audiojax.api.finding.retrieval import TITLES
from audiojax.metrics.bootstrap import Interval, difference_interval, mean_interval
from audiojax.metrics.retrieval import Ranks
from audiojax.report.sections import Table

SCORES = {"cosine": "_cosine", "re-ranked": ""}  # suffix of the names in `Evaluation.ranks`
RANKED = ("R@1", "R@5", "R@10", "mAP@10")
PROBED = "probe/"  # beginning of the names of minimal pairs there
DESCRIBED = ("cider_d", "bleu_4", "rouge_l", "event_f1", "attributes", "order", "parses")


def compare_ranks(
    names: Sequence[str], domains: Sequence[str], ranks: Mapping[tuple[str, str], Sequence[Mapping[str, Ranks]]]
) -> tuple[list[Table], list[dict[str, Any]]]:
    """A table per domain and direction: the cosine of each setting, its whole ranking, the difference, and both against the first setting;
    and one of the minimal pairs, where those were asked for.

    Args:
      ranks: (setting, domain) -> per seed, what `Evaluation.ranks` holds.
    """
    tables, rows = [], []
    for domain, direction in itertools.product(domains, TITLES):
        lines = []
        for name, (kind, suffix), measure in itertools.product(names, SCORES.items(), RANKED):
            values, clips = _values(ranks[name, domain], direction + suffix, measure)
            first, _ = _values(ranks[names[0], domain], direction + suffix, measure)
            plain, _ = _values(ranks[name, domain], direction + "_cosine", measure)
            cells = {
                "value": mean_interval(values, clips),
                "against first": None if name == names[0] else difference_interval(values, first, clips),
                "against cosine": None if kind == "cosine" else difference_interval(values, plain, clips),
            }
            lines.append((name, kind, measure, *(_percent(cell) for cell in cells.values())))
            row = {"domain": domain, "direction": direction, "setting": name, "scores": kind, "measure": measure}
            rows.append(row | _parts(cells))
        columns = ("setting", "scores", "measure", "value", f"minus {names[0]}" if len(names) > 1 else "", "minus cosine")
        tables.append(Table(f"{TITLES[direction]}, tested on {domain}", columns, lines))
    for domain in domains:
        lines = []
        every = [one for name in names for one in ranks[name, domain]]  # some may have been probed in an earlier call alone
        probes = [key for key in every[0] if key.startswith(PROBED) and all(key in one for one in every)]
        for key, name in itertools.product(probes, names):
            values, pairs = _values(ranks[name, domain], key, "R@1")
            first, _ = _values(ranks[names[0], domain], key, "R@1")
            against = None if name == names[0] else difference_interval(values, first, pairs)
            cells = {"value": mean_interval(values, pairs), "against first": against}
            kind = key.removeprefix(PROBED)
            lines.append((kind, name, *map(_percent, cells.values())))
            rows.append({"domain": domain, "direction": "probe", "setting": name, "scores": "re-ranked", "measure": kind} | _parts(cells))
        if lines:
            columns = ("minimal pairs", "setting", "right", f"minus {names[0]}" if len(names) > 1 else "")
            tables.append(Table(f"Minimal pairs, tested on {domain}", columns, lines))
    return tables, rows


def compare_counts(
    names: Sequence[str], domains: Sequence[str], counts: Mapping[tuple[str, str], Sequence[Counts]]
) -> tuple[list[Table], list[dict[str, Any]]]:
    """A table per domain: every measure of captions for each setting, and its difference from the first setting.

    Args:
      counts: (setting, domain) -> per seed, what `Evaluation.counts` holds.
    """
    tables, rows = [], []
    for domain in domains:
        lines = []
        for measure, name in itertools.product(DESCRIBED, names):
            found, first = (_stacked(counts[setting, domain], measure) for setting in (name, names[0]))
            if found is None:
                continue
            of = MEASURES[measure]
            compared = name != names[0] and first is not None
            cells = {"value": of.interval(found), "against first": of.difference(found, first) if compared else None}
            write = _percent if of.percent else _plain
            lines.append((of.title, name, *map(write, cells.values())))
            rows.append({"domain": domain, "setting": name, "measure": measure} | _parts(cells))
        columns = ("measure", "setting", "value", f"minus {names[0]}" if len(names) > 1 else "")
        tables.append(Table(f"Captions, tested on {domain}", columns, lines))
    return tables, rows


def compare_gaps(
    names: Sequence[str],
    domains: Sequence[str],
    gaps: Mapping[tuple[str, str], Sequence[Mapping[str, np.ndarray]]],
    titles: Mapping[str, str] | None = GAPS,
    title: str = "Sounds and texts",
) -> tuple[list[Table], list[dict[str, Any]]]:
    """A table per domain: every measure for each setting, and its difference from the first setting.

    Args:
      gaps: (setting, domain) -> per seed, what `Evaluation.gaps` holds; NaN for a clip without a value, which then counts in no seed and
        in no difference. A measure of a whole split has no interval.
      titles: measure -> what it is called; None = all that the first setting has, by their own names.
      title: of the tables.
    """
    tables, rows = [], []
    for domain in domains:
        lines, shown_as = [], titles or {measure: measure for measure in gaps[names[0], domain][0]}
        for measure, name in itertools.product(shown_as, names):
            if any(measure not in one for setting in (name, names[0]) for one in gaps[setting, domain]):
                continue
            found, first = (np.stack([one[measure] for one in gaps[setting, domain]]) for setting in (name, names[0]))
            shown, numbers = _gap_cells(found, None if name == names[0] else first)
            lines.append((shown_as[measure], name, *shown))
            rows.append({"domain": domain, "setting": name, "measure": measure} | numbers)
        columns = ("measure", "setting", "value", f"minus {names[0]}" if len(names) > 1 else "")
        tables.append(Table(f"{title}, tested on {domain}", columns, lines))
    return tables, rows


def _gap_cells(found: np.ndarray, first: np.ndarray | None) -> tuple[list[str], dict[str, Any]]:
    """(cells, numbers for a file) of a measure and its difference from the first setting: [seeds, clips], or [seeds] of whole splits."""
    if found.ndim > 1:
        there = np.isfinite(found).all(axis=0)
        both = there if first is None else there & np.isfinite(first).all(axis=0)
        cells = {
            "value": mean_interval(found[:, there]) if there.any() else None,
            "against first": difference_interval(found[:, both], first[:, both]) if first is not None and both.any() else None,
        }
        return [_plain(cell) for cell in cells.values()], _parts(cells)
    values = {"value": found.mean(), "against first": None if first is None else found.mean() - first.mean()}
    numbers = {f"{column} estimate": "" if value is None else float(value) for column, value in values.items()}
    return ["" if value is None else f"{value:.3f}" for value in values.values()], numbers


def _stacked(found: Sequence[Counts], measure: str) -> np.ndarray | None:
    """[k, seeds, clips], None where a seed has not counted it."""
    if any(measure not in one for one in found):
        return None
    return np.stack([one[measure] for one in found], axis=1)


def _parts(cells: Mapping[str, Interval | None]) -> dict[str, Any]:
    """Estimate and bounds of each cell, for a file."""
    return {
        f"{column} {part}": "" if cell is None else getattr(cell, part)
        for column, cell in cells.items()
        for part in ("estimate", "low", "high")
    }


def _plain(interval: Interval | None) -> str:
    return "" if interval is None else str(interval)


def _values(found: Sequence[Mapping[str, Ranks]], key: str, measure: str) -> tuple[np.ndarray, np.ndarray]:
    """([seeds, queries] values, clip of each query)."""
    at = measure.removeprefix("R@")
    per_seed = [one[key].hits(int(at)) if at != measure else one[key].average_precision for one in found]
    return np.stack(per_seed), found[0][key].clip


def _percent(interval: Interval | None) -> str:
    if interval is None:
        return ""
    return f"{100 * interval.estimate:.1f} [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"
