"""DiffATR at published size on Clotho v2: clips of 15 to 30 s, five captions each, batches of 24.

Paper: arXiv 2409.10025; its tables could not be read, so no score is promised here. 3,839 training clips; an epoch visits every
(clip, caption) pair once.

  audiojax data pack ~/data/clotho --out packed                       # the folder as it was downloaded -> packed/clotho
  audiojax train --config configs/diffatr/clotho.py --workdir runs/clotho --config.data.dir=packed/clotho
"""

from ml_collections import ConfigDict

from audiojax.configs.diffatr import audiocaps, soundworld

CLIPS, CAPTIONS, BATCH = 3_839, 5, 24


def get_config(arg: str = "cnn14") -> ConfigDict:
    """arg: cnn14 | resnet38."""
    if arg not in ("cnn14", "resnet38"):
        raise ValueError(f"argument '{arg}': takes cnn14 or resnet38")
    config = soundworld.get_config("base")
    audiocaps.published(config, arg, clips=CLIPS, captions=CAPTIONS, batch=BATCH, seconds=30.0)
    return config
