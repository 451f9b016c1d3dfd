"""What `audiojax.data.recordings` packed and left out, as tables to read."""

from collections.abc import Mapping
from os import PathLike
from typing import Any

from audiojax.data.layouts.clips import Fault
from audiojax.files import shown
from audiojax.report.data_check import kinds_of
from audiojax.report.sections import Card, Table


def packing_sections(report: Mapping[str, Any], path: str | PathLike) -> list[Card | Table]:
    """What the set is, its splits, and why clips were left out; `path` is where the report lies."""
    title = " ".join(filter(None, (report["name"], report["version"])))
    items = {"layout": report["layout"], "sample rate": f"{report['sample_rate']} Hz", "list hash": report["list_hash"]}
    items["longest"] = "as they are" if report["max_seconds"] is None else f"{report['max_seconds']:g} s"
    splits = [(split, counts["listed"], counts["packed"]) for split, counts in report["splits"].items()]
    sections: list[Card | Table] = [Card(f"{title} from {report['folder']}", items), Table("Splits", ("split", "listed", "packed"), splits)]
    faults = [Fault(entry["reason"], entry["sound"], entry["detail"]) for entry in report["left_out"]]
    faults += [Fault(**fault) for fault in report["faults"]]
    if faults:
        note = f"All are named in {shown(path)}; once they are repaired, remove its folder and pack again."
        sections.append(Table("Left out", ("kind", "count", "such as"), kinds_of(faults), note))
    return sections
