"""Measures how much memory opening a public checkpoint takes, against the size of its weights.

    python -m tests.soak.load_memory

Writes a BERT-large of random weights as safetensors and as a torch checkpoint into a temporary folder, 2.7 GB, and loads each with
`load_tower` in a process of its own: the peak of its resident memory, less what it had after its imports, over the bytes of the weights.
The weights themselves are 1.0 of it.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np

FILES = {"safetensors": "model.safetensors", "bin": "pytorch_model.bin"}
LIMIT = 1.3


def write(folder: Path, form: str) -> int:
    """Writes config.json and weights, and returns the bytes of the tensors."""
    import jax
    from safetensors.numpy import save_file

    from audiojax.encoders.bert import PRESETS, BertEncoder
    from audiojax.pretrained import bert
    from audiojax.pretrained.rules import export
    from tests.pretrained.torch_layout import pickled, tensor

    config = replace(PRESETS["large"], pooler=True)
    shapes = jax.eval_shape(lambda: BertEncoder(config).init(jax.random.key(0), *bert.one_token(config), train=False))
    rng = np.random.default_rng(0)
    state = export(jax.tree.map(lambda leaf: rng.standard_normal(leaf.shape, np.float32), shapes), bert.family(config))
    facts = {
        "model_type": "bert",
        "vocab_size": config.vocab_size,
        "hidden_size": config.width,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "intermediate_size": config.hidden,
        "max_position_embeddings": config.max_positions,
        "type_vocab_size": config.segments,
    }
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(facts))
    if form == "safetensors":
        save_file(state, folder / FILES[form])
    else:
        program, storages = pickled({name: tensor(value) for name, value in state.items()})
        with zipfile.ZipFile(folder / FILES[form], "w") as archive:
            archive.writestr("archive/data.pkl", program)
            for key, storage in enumerate(storages):
                archive.writestr(f"archive/data/{key}", storage.values.tobytes())
            archive.writestr("archive/version", b"3\n")
    return sum(value.nbytes for value in state.values())


def load(folder: Path) -> int:
    """Bytes that loading adds to the resident memory of this process, at its peak."""
    import jax

    from audiojax.pretrained.load import load_tower

    jax.block_until_ready(jax.numpy.zeros(8) + 1)  # a backend and its compiler
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    before = pages * os.sysconf("SC_PAGE_SIZE")
    tower = load_tower(folder)
    jax.block_until_ready(tower.params)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before


def measure(form: str, root: Path) -> float:
    """The ratio of one format; files are written, and loaded, by processes of their own."""
    folder = root / form
    size, added = (_child(step, form, folder) for step in ("write", "load"))
    return added / size


def _child(step: str, form: str, folder: Path) -> int:
    command = [sys.executable, "-m", "tests.soak.load_memory", "--step", step, "--form", form, "--folder", str(folder)]
    return int(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--step", choices=("write", "load"), help=argparse.SUPPRESS)
    parser.add_argument("--form", choices=FILES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        print(write(arguments.folder, arguments.form) if arguments.step == "write" else load(arguments.folder))
        return 0
    worst = 0.0
    with tempfile.TemporaryDirectory(prefix="load_memory_") as root:
        for form in FILES:
            ratio = measure(form, Path(root))
            worst = max(worst, ratio)
            print(f"{form}: peak memory {ratio:.2f} times the weights", flush=True)
    return 0 if worst <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
