"""How a process finds the others; and real processes that agree with one."""

import jax
import pytest

from audiojax import api
from audiojax.errors import UsageError
from audiojax.trainer.distributed import NAMES, explicit_settings, found_cluster, initialize, local_device_ids, require_one_process

ALL = {"AUDIOJAX_COORDINATOR": "host:1", "AUDIOJAX_NUM_PROCESSES": "4", "AUDIOJAX_PROCESS_ID": "3"}


def test_alone_is_one_process():
    assert explicit_settings(None, None, None, {}) is None
    assert initialize() == 1
    assert initialize("host:1", 1, 0) == 1


def test_environment_and_arguments():
    assert explicit_settings(None, None, None, ALL) == ("host:1", 4, 3)
    assert explicit_settings("other:2", None, 0, ALL) == ("other:2", 4, 0)
    job = {name: ALL[name] for name in list(ALL)[:2]} | {"JOB_COMPLETION_INDEX": "2"}
    assert explicit_settings(None, None, None, job) == ("host:1", 4, 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"AUDIOJAX_PROCESS_ID": None}, "AUDIOJAX_PROCESS_ID .* is missing"),
        ({"AUDIOJAX_NUM_PROCESSES": "many"}, "whole numbers"),
        ({"AUDIOJAX_PROCESS_ID": "4"}, "from 0 to 3"),
        ({"AUDIOJAX_COORDINATOR": "host"}, "no port"),
    ],
)
def test_contradictions_are_named(change, message):
    environment = {name: value for name, value in (ALL | change).items() if value is not None}
    with pytest.raises(UsageError, match=message):
        explicit_settings(None, None, None, environment)


@pytest.mark.parametrize(
    ("environment", "found"),
    [
        ({}, False),
        ({"SLURM_NTASKS": "8", "SLURM_PROCID": "0"}, False),  # the batch script itself, outside srun
        ({"SLURM_STEP_NUM_TASKS": "8", "SLURM_NTASKS": "8"}, True),
        ({"TPU_WORKER_HOSTNAMES": "localhost"}, False),
        ({"TPU_WORKER_HOSTNAMES": "a,b,c,d"}, True),
        ({"TPU_WORKER_HOSTNAMES": "a,b", "TPU_SKIP_MDS_QUERY": "1"}, False),
        ({"MEGASCALE_COORDINATOR_ADDRESS": "a:1"}, True),
    ],
)
def test_clusters(environment, found):
    assert found_cluster(environment) is found


SLURM = {"SLURM_STEP_NUM_TASKS": "8", "SLURM_STEP_NUM_NODES": "8"}


@pytest.mark.parametrize(
    ("environment", "explicit", "expected"),
    [
        (SLURM, False, []),  # launch/slurm.sbatch: one task per node drives all its GPUs
        (SLURM | {"SLURM_STEP_NUM_NODES": "2"}, False, None),  # JAX gives each task a GPU
        (SLURM | {"OMPI_COMM_WORLD_SIZE": "64"}, False, None),
        (SLURM | {"JAX_LOCAL_DEVICE_IDS": "2,3"}, False, None),
        ({"AUDIOJAX_DISTRIBUTED": "auto"}, False, None),
        ({}, True, []),
        (SLURM | {"SLURM_STEP_NUM_NODES": "2"}, True, []),
        ({"JAX_LOCAL_DEVICE_IDS": "2,3"}, True, None),
    ],
)
def test_the_devices_of_one_process(environment, explicit, expected):
    assert local_device_ids(environment, explicit) == expected


@pytest.mark.parametrize(("variables", "arguments"), [(SLURM, ()), (ALL, ("host:1", 4, 3))])
def test_a_process_of_a_slurm_step_takes_all_devices_of_its_node(monkeypatch, variables, arguments):
    calls = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda *words, **named: calls.append((words, named)))
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    initialize()
    assert calls == [(arguments, {"local_device_ids": []})]


@pytest.mark.parametrize(
    "call",
    [lambda folder: api.evaluate(folder), lambda folder: api.demo(folder), lambda folder: api.sweep("diffatr/soundworld", [], [0], folder)],
)
def test_what_writes_its_own_files_refuses_to_run_several_times(monkeypatch, tmp_path, call):
    for name, value in zip(NAMES, ("127.0.0.1:1", "2", "1"), strict=True):
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match="runs as one process"):
        call(tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_single_named_process_is_one(monkeypatch):
    for name, value in zip(NAMES, ("127.0.0.1:1", "1", "0"), strict=True):
        monkeypatch.setenv(name, value)
    require_one_process("evaluate")
