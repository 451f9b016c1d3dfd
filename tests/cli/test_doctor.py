"""doctor finds what is wrong, says what to do, and survives whatever is broken."""

import json
import os
import subprocess
import sys
from importlib import metadata

import pytest

from audiojax.cli import doctor
from audiojax.cli.doctor import Finding


@pytest.fixture
def no_probe(monkeypatch):
    monkeypatch.setattr(doctor, "check_imports", lambda: [Finding("devices", "ok", "1 x cpu")])


def by_topic(findings):
    return {finding.topic: finding for finding in findings}


def test_real_imports_and_devices_are_found():
    findings = by_topic(doctor.check_imports())
    assert findings["devices"].level == "ok"
    assert "(cpu)" in findings["devices"].text


def test_requirements_are_those_of_setup_py():
    assert ("jax", "0.10.2") in doctor.requirements()
    assert ("ml-collections", "1.1.0") in doctor.requirements()
    assert ("av", "14") in doctor.requirements("m4a")
    assert not {"torch", "pytest"} & {name for name, _ in doctor.requirements()}
    assert {"torch", "diffusers", "faiss-cpu", "lexicalrichness"} == {name for name, _ in doctor.requirements("parity")}
    assert set(doctor.EXTRAS) == set(metadata.metadata("audiojax").get_all("Provides-Extra"))


def test_old_and_missing_packages_are_bad_and_have_a_remedy(monkeypatch):
    def version(name):
        if name == "librosa":
            raise metadata.PackageNotFoundError(name)
        return {"jax": "0.9.1", "flax": "0.12.10"}.get(name, "99.0.dev1+local2")

    monkeypatch.setattr(metadata, "version", version)
    findings = by_topic(doctor.check_packages())
    assert findings["jax"] == Finding("jax", "bad", "0.9.1, older than 0.10.2", 'pip install -U "jax>=0.10.2"')
    assert findings["librosa"].level == "bad"
    assert findings["librosa"].fix == 'pip install "librosa>=0.11.0"'
    assert findings["flax"].level == "ok"  # 0.12.10 is newer than 0.12.8
    assert findings["numpy"].level == "ok"


def test_a_broken_jax_is_a_finding(monkeypatch, tmp_path):
    (tmp_path / "jax.py").write_text("raise RuntimeError('libjax is damaged')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    findings = by_topic(doctor.check_imports())
    assert findings["jax"].level == "bad"
    assert "libjax is damaged" in findings["jax"].text


def test_an_import_that_kills_the_process_is_a_finding(monkeypatch, tmp_path):
    (tmp_path / "jax.py").write_text("import os; os.abort()")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (finding,) = doctor.check_imports()
    assert (finding.topic, finding.level) == ("devices", "bad")
    assert "ended the process (code -6)" in finding.text


@pytest.mark.parametrize("name", ["accel0", "vfio/0"])
def test_both_kinds_of_tpu_driver_are_seen(tmp_path, name):
    (tmp_path / "vfio").mkdir()
    (tmp_path / "vfio" / "vfio").touch()  # the control device, there without any chip
    assert doctor.find_tpu(tmp_path) is None
    (tmp_path / name).touch()
    assert doctor.find_tpu(tmp_path) == tmp_path / name


def test_a_check_that_fails_is_a_finding(monkeypatch, no_probe):
    def check_machine():
        raise RuntimeError("no /proc here")

    monkeypatch.setattr(doctor, "check_machine", check_machine)
    finding = by_topic(doctor.examine())["machine"]
    assert finding.level == "note"
    assert "no /proc here" in finding.text


def test_a_cache_that_cannot_be_written_is_noted(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("AUDIOJAX_CACHE", str(tmp_path / "file" / "cache"))
    finding = by_topic(doctor.check_folders())["cache"]
    assert finding.level == "note"
    assert "AUDIOJAX_CACHE" in finding.fix


def test_the_table_is_short_and_ends_with_a_verdict(audiojax, no_probe, monkeypatch):
    code, out, _ = audiojax("doctor")
    assert code == 0
    assert out.rstrip().endswith("audiojax can run here.")
    assert sum("jax 0." in line for line in out.splitlines()) == 1
    monkeypatch.setattr(doctor, "check_imports", lambda: [Finding("devices", "bad", "none at all", "buy one")])
    code, out, _ = audiojax("doctor")
    assert code == 1
    assert "→ buy one" in out
    assert out.rstrip().endswith("Not working: devices.")


def test_json_holds_the_same(audiojax, no_probe):
    code, out, _ = audiojax("doctor", "--json")
    assert code == 0
    assert {"topic": "devices", "level": "ok", "text": "1 x cpu", "fix": ""} in json.loads(out)


def test_doctor_runs_where_nothing_can_be_imported(tmp_path):
    for name in ("jax", "rich", "absl", "numpy", "platformdirs"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('not here')")
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-m", "audiojax.cli", "doctor"], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "not here" in done.stdout
