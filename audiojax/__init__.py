"""audiojax: audio-language diffusion in JAX. It finds, describes and makes sound.

    finder = audiojax.load("runs/diffatr")
    finder.index("sounds/")
    finder.search("rain on a roof", k=5)
    captioner = audiojax.load("runs/dac")
    captioner.caption(["a.wav", "b.flac"])
    maker = audiojax.load("cvssp/audioldm-s-full-v2")
    maker.generate("rain on a roof", seconds=10, seed=0)[0].save("rain.wav")

`import audiojax` touches no device, no network and no flag; the work behind these names is imported on first use.
"""

from importlib import import_module
from importlib.metadata import version as _version
from typing import Any

__version__ = _version("audiojax")

_API = (
    "Index",
    "bridge_files",
    "demo",
    "evaluate",
    "export",
    "load",
    "load_bridge",
    "load_captioner",
    "load_finder",
    "load_maker",
    "load_pretrained",
    "load_reranker",
    "sweep",
    "train",
    "train_towers",
    "write_captions",
)

__all__ = ["__version__", *_API]


def __getattr__(name: str) -> Any:
    if name in _API:
        return getattr(import_module("audiojax.api"), name)
    raise AttributeError(f"module 'audiojax' has no attribute {name!r}")
