"""`audiojax doctor`: what is installed, which devices there are, what is missing and how to get it. Never crashes."""

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from argparse import ArgumentParser, Namespace
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

from audiojax.cli.environment import is_writable
from audiojax.folders import cache_home

EXAMPLES = """
audiojax doctor
audiojax doctor --json            # the same for a program
"""

EXTRAS = {
    "test": "to run the tests",
    "parity": "to compare with PyTorch and faiss",
    "eval": "to score captions with METEOR and SPICE, which also need Java",
    "cuda": "to use NVIDIA GPUs",
    "tpu": "to use TPUs",
    "m4a": "to read m4a and aac files",
    "beam": "to pack data sets on Apache Beam",
    "mteb": "to measure finders in MTEB",
    "page": "to make, describe and find sounds in a browser",
    "viewer": "to look at TensorBoard logs",
}
PROBE = """
import importlib, json, sys
broken = {}
for name in ("jax", "flax", "optax", "orbax.checkpoint", "grain", "librosa", "soundfile", "tokenizers"):
    try:
        importlib.import_module(name)
    except BaseException as error:
        broken[name] = f"{type(error).__name__}: {error}".splitlines()[0]
try:
    import jax
    devices = [f"{device.device_kind} ({device.platform})" for device in jax.devices()]
except BaseException as error:
    devices, broken["devices"] = [], f"{type(error).__name__}: {error}".splitlines()[0]
print("\\n" + json.dumps({"broken": broken, "devices": devices}))
"""


@dataclass(frozen=True)
class Finding:
    """One line of the report. `level`: ok | note (could be better) | bad (audiojax will not work)."""

    topic: str
    level: str
    text: str
    fix: str = ""


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def run(args: Namespace) -> int:
    """Prints the findings; exit code 1 when one of them is bad."""
    findings = examine()
    if args.json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        _print(findings)
    return int(any(finding.level == "bad" for finding in findings))


def examine() -> list[Finding]:
    """All findings, most basic first. A check that fails itself becomes a finding."""
    findings: list[Finding] = []
    for check in (check_python, check_packages, check_imports, check_extras, check_machine, check_folders):
        try:
            findings += check()
        except Exception as error:
            findings.append(
                Finding(check.__name__.removeprefix("check_"), "note", f"could not be checked: {type(error).__name__}: {error}")
            )
    return findings


def check_python() -> list[Finding]:
    supported = (3, 11) <= sys.version_info[:2] <= (3, 13)
    fix = "" if supported else "make the environment again with Python 3.11, 3.12 or 3.13: bash launch/demo.sh looks for one"
    return [Finding("python", "ok" if supported else "bad", f"{platform.python_version()} at {sys.executable}", fix)]


def requirements(extra: str = "") -> list[tuple[str, str]]:
    """(package, lowest version or "") of the runtime, or of one extra, as the installed audiojax declares them."""
    found = []
    for line in metadata.requires("audiojax") or []:
        spec, _, marker = line.partition(";")
        wanted = re.search(r"extra\s*==\s*['\"]([\w-]+)", marker)
        if (wanted.group(1) if wanted else "") == extra:
            name, floor = re.match(r"\s*([\w.-]+)(?:\[[\w,-]*\])?\s*(?:>=\s*([\w.]+))?", spec).groups()
            found.append((name, floor or ""))
    return found


def check_packages() -> list[Finding]:
    findings = []
    for name, floor in requirements():
        try:
            have = metadata.version(name)
        except metadata.PackageNotFoundError:
            findings.append(
                Finding(name, "bad", f"missing, {floor or 'any version'} or newer is needed", f'pip install "{name}>={floor or 0}"')
            )
            continue
        old = _numbers(have) < _numbers(floor)
        text = f"{have}" + (f", older than {floor}" if old else "")
        findings.append(Finding(name, "bad" if old else "ok", text, f'pip install -U "{name}>={floor}"' if old else ""))
    return findings


def check_imports() -> list[Finding]:
    """Imports the main packages and asks for devices in a child process: one that crashes or hangs is a finding too."""
    try:
        done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, timeout=120)
    except subprocess.TimeoutExpired:
        return [Finding("devices", "bad", "importing jax did not end within 2 minutes", "is another process holding the accelerator?")]
    try:
        answer = json.loads(done.stdout.strip().splitlines()[-1])
    except (IndexError, ValueError):
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return [
            Finding(
                "devices",
                "bad",
                f"importing jax ended the process (code {done.returncode}): {last}",
                "pip install --force-reinstall jax jaxlib",
            )
        ]
    findings = [Finding(name, "bad", error, "bash launch/demo.sh -h tells how to set up again") for name, error in answer["broken"].items()]
    devices = answer["devices"]
    if devices:
        counted = ", ".join(f"{devices.count(kind)} x {kind}" for kind in dict.fromkeys(devices))
        findings.append(Finding("devices", "ok", counted))
        if all("(cpu)" in kind for kind in devices) and os.environ.get("JAX_PLATFORMS", "") != "cpu":
            if shutil.which("nvidia-smi"):
                findings.append(Finding("gpu", "note", "there is an NVIDIA driver, but jax sees only CPUs", 'pip install -e ".[cuda]"'))
            chip = find_tpu()
            if chip:
                findings.append(Finding("tpu", "note", f"{chip} may be a TPU, but jax sees only CPUs", 'pip install -e ".[tpu]"'))
    return findings


def find_tpu(devices: Path = Path("/dev")) -> Path | None:
    """What looks like the first TPU chip: the drivers up to v4 make accel0, the later ones a numbered VFIO group."""
    return next((path for pattern in ("accel[0-9]*", "vfio/[0-9]*") for path in sorted(devices.glob(pattern))), None)


def check_extras() -> list[Finding]:
    findings = []
    for extra, purpose in EXTRAS.items():
        missing = [name for name, _ in requirements(extra) if not _installed(name)]
        if extra in ("cuda", "tpu"):
            plugin = {"cuda": ("jax-cuda13-plugin", "jax-cuda12-plugin"), "tpu": ("libtpu",)}[extra]
            missing = [] if any(map(_installed, plugin)) else [plugin[0]]
        if missing:
            findings.append(
                Finding(f"[{extra}]", "note", f"not installed ({', '.join(missing)}): needed {purpose}", f'pip install -e ".[{extra}]"')
            )
        else:
            findings.append(Finding(f"[{extra}]", "ok", f"installed: {purpose}"))
    return findings


def check_machine() -> list[Finding]:
    memory = _memory_gib()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    low = memory is not None and memory < 4
    text = f"{memory:.1f} GiB" if memory is not None else "unknown"
    return [
        Finding("system", "ok", f"{platform.system()} {platform.machine()}, {cores} cores"),
        Finding("memory", "note" if low else "ok", text, "training the base SoundWorld needs about 4 GiB" if low else ""),
    ]


def check_folders() -> list[Finding]:
    cache = cache_home()
    fine = is_writable(cache)
    findings = [
        Finding("cache", "ok" if fine else "note", str(cache), "" if fine else "not writable: set AUDIOJAX_CACHE to a folder that is"),
    ]
    for topic, folder in (("disk here", Path.cwd()), ("disk of the cache", cache)):
        while not folder.exists():
            folder = folder.parent
        free = shutil.disk_usage(folder).free / 2**30
        findings.append(Finding(topic, "note" if free < 2 else "ok", f"{free:.1f} GiB free", "2 GiB are advised" if free < 2 else ""))
    return findings


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", re.split(r"[+a-zA-Z]", version)[0]))


def _memory_gib() -> float | None:
    """The machine's memory, or the container's limit where that is lower."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return None
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text().strip() if limit.is_file() else "max"
    return min(total, int(text) if text.isdigit() else total) / 2**30


def _print(findings: list[Finding]) -> None:
    """A rich table, or plain lines where rich itself is what is missing."""
    try:
        from rich import box
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text
    except ImportError:
        for finding in findings:
            print(f"{finding.level:<5} {finding.topic:<22} {finding.text}" + (f"  -> {finding.fix}" if finding.fix else ""))
        return
    styles = {"ok": "green", "note": "yellow", "bad": "bold red"}
    table = Table(box=box.SIMPLE, show_header=False)
    for finding in _summarised(findings):
        text = Text(finding.text)
        if finding.fix:
            text.append(f"\n→ {finding.fix}", style="bold")
        table.add_row(Text(finding.level, style=styles[finding.level]), Text(finding.topic, no_wrap=True), text)
    console = Console()
    console.print(table)
    bad = [finding.topic for finding in findings if finding.level == "bad"]
    console.print(Text(f"Not working: {', '.join(bad)}." if bad else "audiojax can run here.", style="bold"))


def _summarised(findings: list[Finding]) -> list[Finding]:
    """The findings with all packages that are in order on one line, in the place of the first."""
    names = {name for name, _ in requirements()}
    fine = [f for f in findings if f.topic in names and f.level == "ok"]
    line = Finding("packages", "ok", ", ".join(f"{f.topic} {f.text}" for f in fine))
    return [line if fine and f is fine[0] else f for f in findings if f not in fine[1:]]
