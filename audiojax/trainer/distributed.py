"""Several processes as one run: finds the others, or finds that there are none.

In this order: explicit arguments or the variables AUDIOJAX_COORDINATOR, AUDIOJAX_NUM_PROCESSES and AUDIOJAX_PROCESS_ID (what
launch/local.sh sets; in an indexed Kubernetes job the index comes from JOB_COMPLETION_INDEX); a SLURM step of several tasks; a TPU pod,
on GKE too; AUDIOJAX_DISTRIBUTED=auto, which launch/tpu_pod.sh sets because Cloud TPU VMs know their pod only from a metadata server.
Otherwise the process is alone.
"""

import os
from collections.abc import Mapping

import jax
import orbax.checkpoint as ocp

from audiojax.errors import AudiojaxError, UsageError

NAMES = ("AUDIOJAX_COORDINATOR", "AUDIOJAX_NUM_PROCESSES", "AUDIOJAX_PROCESS_ID")


def initialize(coordinator: str | None = None, num_processes: int | None = None, process_id: int | None = None) -> int:
    """Joins the other processes, if any; call it before the first use of a device.

    Args:
      coordinator: "host:port" of process 0.
      num_processes: how many there are.
      process_id: which one this is, from 0.

    Returns:
      the number of processes.

    Raises:
      UsageError: some but not all of the three are known, or they contradict each other.
    """
    if jax.distributed.is_initialized():
        return jax.process_count()
    explicit = explicit_settings(coordinator, num_processes, process_id, os.environ)
    if explicit is not None:
        host, count, index = explicit
        if count > 1:
            jax.distributed.initialize(host, count, index, local_device_ids=local_device_ids(os.environ, explicit=True))
    elif found_cluster(os.environ):
        jax.distributed.initialize(local_device_ids=local_device_ids(os.environ, explicit=False))
    return jax.process_count()


def shutdown() -> None:
    """Leaves the others in good order; nothing to do for a process that is alone."""
    if jax.distributed.is_initialized():
        jax.distributed.shutdown()


def wait_for_all(name: str, seconds: float) -> None:
    """Returns when every process has called this with the same name; a process that is alone goes on at once.

    It asks the coordinator, not the devices: a run's first collective gives up after half a minute on CPU, whoever is still at work.
    A process that dies meanwhile ends the wait of the others.

    Raises:
      AudiojaxError: not all came within `seconds`.
    """
    try:
        ocp.multihost.get_barrier_sync_fn()(key=f"audiojax: {name}", timeout_ms=round(1_000 * seconds))
    except jax.errors.JaxRuntimeError as error:
        raise AudiojaxError(f"waited {seconds:g} s for all processes to reach '{name}': {str(error).splitlines()[0]}") from None


def require_one_process(what: str) -> None:
    """Stops what is not made for several processes before they write over each other's files.

    Raises:
      UsageError: the environment says that this process is one of several.
    """
    explicit = explicit_settings(None, None, None, os.environ)
    several = explicit[1] > 1 if explicit else found_cluster(os.environ)
    if several or (jax.distributed.is_initialized() and jax.process_count() > 1):
        raise UsageError(f"{what} runs as one process, and this is one of several: start it alone, on one machine")


def explicit_settings(
    coordinator: str | None, num_processes: int | None, process_id: int | None, environment: Mapping[str, str]
) -> tuple[str, int, int] | None:
    """(coordinator, number, index) from arguments, else from the environment; None if neither says anything."""
    given = [coordinator, num_processes, process_id]
    values = [environment.get(name) if value is None else value for name, value in zip(NAMES, given, strict=True)]
    if all(value is None for value in values):
        return None
    if values[2] is None:
        values[2] = environment.get("JOB_COMPLETION_INDEX")
    if any(value is None for value in values):
        missing = NAMES[values.index(None)]
        raise UsageError(f"several processes need coordinator, number and index; {missing} (or its argument) is missing")
    try:
        host, count, index = str(values[0]), int(values[1]), int(values[2])
    except ValueError:
        raise UsageError(f"{NAMES[1]} and {NAMES[2]} are whole numbers, not '{values[1]}' and '{values[2]}'") from None
    if not 0 <= index < count:
        raise UsageError(f"process {index} of {count}: the index runs from 0 to {count - 1}")
    if ":" not in host:
        raise UsageError(f"coordinator '{host}' has no port: write host:port")
    return host, count, index


def found_cluster(environment: Mapping[str, str]) -> bool:
    """Whether the environment is one of several processes that `jax.distributed` can find by itself."""
    if environment.get("AUDIOJAX_DISTRIBUTED") == "auto" or int(environment.get("SLURM_STEP_NUM_TASKS", "1")) > 1:
        return True
    if environment.get("TPU_SKIP_MDS_QUERY"):  # compiling for a described pod, not running on one
        return False
    return len(environment.get("TPU_WORKER_HOSTNAMES", "").split(",")) > 1 or bool(environment.get("MEGASCALE_COORDINATOR_ADDRESS"))


def local_device_ids(environment: Mapping[str, str], explicit: bool) -> list[int] | None:
    """What `jax.distributed.initialize` is told of this process's own devices: [] for all that it sees, None for what JAX finds out.

    In a SLURM step JAX gives each process the one GPU that has its number on the node. That is right where a node has a task per GPU, wrong
    where it has one task for all of them, and where the processes were named explicitly (launch/local.sh in a shell of srun).
    """
    if environment.get("JAX_LOCAL_DEVICE_IDS"):  # JAX reads it itself
        return None
    if explicit:
        return []
    by_mpirun = "OMPI_COMM_WORLD_SIZE" in environment  # the tasks of its SLURM step are one daemon per node
    tasks, nodes = environment.get("SLURM_STEP_NUM_TASKS"), environment.get("SLURM_STEP_NUM_NODES")
    return [] if tasks is not None and tasks == nodes and not by_mpirun else None
