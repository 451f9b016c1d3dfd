"""What `audiojax.data.check` found, as tables to read and as records for files."""

from collections.abc import Iterable
from typing import Any

from audiojax.data.check import LENGTHS, Report
from audiojax.data.layouts.clips import Fault
from audiojax.files import shown
from audiojax.report.sections import Card, Table

NAMED = 3  # items shown of each kind of fault


def check_sections(report: Report) -> list[Card | Table]:
    """The folder, its splits, the lengths of its clips, and each kind of fault and warning with the first few."""
    items = {key.replace("_", " "): value for key, value in check_summary(report).items() if key != "splits"}
    columns = ("split", "found", "expected", "captions", "hours", "shortest s", "median s", "longest s")
    splits = [(split.split, split.found, split.expected, split.captions, *_lengths(split.seconds)) for split in report.splits]
    sections = [Card(shown(report.dataset.folder), items), Table("Splits", columns, splits)]
    if report.decoded:
        bins = (*(f"< {end} s" for end in LENGTHS), f"{LENGTHS[-1]} s up")
        sections.append(Table("Lengths", ("split", *bins), [(split.split, *split.histogram()) for split in report.splits]))
    for title, faults in (("Left out", report.faults), ("To look at", report.warnings)):
        if faults:
            sections.append(Table(title, ("kind", "count", "such as"), kinds_of(faults)))
    return sections


def check_summary(report: Report) -> dict[str, Any]:
    """The report's numbers without its faults."""
    dataset = report.dataset
    hours = report.seconds / 3600 if report.decoded else None
    numbers = {"data_set": " ".join(filter(None, (dataset.name, dataset.version))), "layout": dataset.layout}
    numbers |= {"usable_clips": len(report.clips), "hours": hours, "list_hash": report.list_hash}
    names = ("hours", "shortest_seconds", "median_seconds", "longest_seconds")
    return numbers | {
        "splits": [
            {"split": split.split, "found": split.found, "expected": split.expected, "captions": split.captions}
            | dict(zip(names, _lengths(split.seconds), strict=True))
            for split in report.splits
        ]
    }


def check_rows(report: Report) -> list[dict[str, str]]:
    """Every fault and warning as a flat record."""
    levels = {"left out": report.faults, "warning": report.warnings}
    return [
        {"level": level, "kind": fault.kind, "where": shown(fault.where), "detail": shown(fault.detail)}
        for level, faults in levels.items()
        for fault in faults
    ]


def kinds_of(faults: Iterable[Fault]) -> list[tuple[str, int, str]]:
    """(kind, count, the first few) of each kind, the most frequent first."""
    kinds: dict[str, list[Fault]] = {}
    for fault in faults:
        kinds.setdefault(fault.kind, []).append(fault)
    rows = []
    for kind, found in sorted(kinds.items(), key=lambda item: -len(item[1])):
        named = [shown(fault.where) + (f": {shown(fault.detail)}" if fault.detail else "") for fault in found[:NAMED]]
        rows.append((kind, len(found), "\n".join(named)))
    return rows


def _lengths(seconds: tuple[float, ...]) -> tuple[float | None, ...]:
    """Hours, and shortest, median and longest in seconds, of sorted seconds; None where nothing was decoded."""
    if not seconds:
        return (None,) * 4
    return (sum(seconds) / 3600, seconds[0], seconds[len(seconds) // 2], seconds[-1])
