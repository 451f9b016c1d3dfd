"""The mesh of several processes: rows of a global batch lie in process order, however a pod is wired."""

import random
from dataclasses import dataclass
from typing import ClassVar

import jax
import numpy as np
import pytest

from audiojax.errors import UsageError
from audiojax.trainer.layout import make_layout


@dataclass(frozen=True)
class Chip:
    """A described device, as TPU topologies describe theirs."""

    id: int
    process_index: int
    coords: tuple[int, int, int]
    device_kind: str
    platform: str = "tpu"
    core_on_chip: int = 0
    client: ClassVar[None] = None


def v5e_16():
    """4 x 4 chips; a process has a square of four, and numbers run over whole lines of the pod."""
    return [Chip(4 * y + x, 2 * (y // 2) + x // 2, (x, y, 0), "TPU v5 lite") for y in range(4) for x in range(4)]


def v4_16():
    """2 x 2 x 2 chips; a process has a layer of four."""
    return [Chip(4 * z + 2 * y + x, z, (x, y, z), "TPU v4") for z in range(2) for y in range(2) for x in range(2)]


PODS = {"v5e-16": (v5e_16(), 4), "v4-16": (v4_16(), 2)}
CASES = [
    *(("v5e-16", sizes) for sizes in [(16, 1, 1), (4, 4, 1), (1, 16, 1), (1, 4, 4), (2, 4, 2), (4, 1, 4), (8, 1, 2)]),
    *(("v4-16", sizes) for sizes in [(8, 1, 1), (2, 4, 1), (1, 2, 4), (2, 2, 2)]),
]


@pytest.mark.parametrize(("pod", "sizes"), CASES)
def test_each_process_holds_its_block_of_rows(pod, sizes):
    chips, processes = PODS[pod]
    random.Random(0).shuffle(chips := list(chips))
    layout = make_layout("mesh", sizes, chips)
    assert layout.mesh.devices.shape == sizes
    assert layout.mesh.axis_names == ("data", "fsdp", "tensor")
    rows = 32
    held = [set() for _ in range(processes)]
    for chip, (where, _) in layout.batch_sharding.devices_indices_map((rows, 3)).items():
        held[chip.process_index] |= set(range(*where.indices(rows)))
    blocks = np.arange(rows).reshape(processes, -1)  # as data, padding and "valid" assume
    assert [sorted(process) for process in held] == blocks.tolist()


def test_jax_own_mesh_mixes_the_processes_of_a_pod():
    """What the order above is for; if this fails, JAX has changed and `make_layout` may use its mesh."""
    mesh = jax.make_mesh((16, 1, 1), ("data", "fsdp", "tensor"), devices=v5e_16())
    owners = [chip.process_index for chip in mesh.devices.flat]
    assert owners != sorted(owners)


@pytest.mark.parametrize(("pod", "sizes"), [("v5e-16", (1, 2, 8)), ("v4-16", (1, 1, 8))])
def test_tensor_axis_over_processes_is_refused(pod, sizes):
    with pytest.raises(UsageError, match="spans processes of 4 devices; use a divisor of 4"):
        make_layout("mesh", sizes, PODS[pod][0])
