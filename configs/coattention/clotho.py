"""Co-attention retrieval at published size on Clotho v2.1: clips of 15 to 30 s as up to three windows of 10 s, five captions each.

Paper: arXiv 2412.20914; its tables could not be read, so no score is promised here. 3,839 training clips; an epoch visits every
(clip, caption) pair once.

  audiojax data pack /data/Clotho --out packed --sample-rate 48000
  audiojax train --config configs/coattention/clotho.py --workdir runs/clotho --config.data.dir=packed/clotho
"""

from ml_collections import ConfigDict

from audiojax.configs.coattention import audiocaps, soundworld

CLIPS, CAPTIONS, WINDOWS = 3_839, 5, 3


def get_config(arg: str = "iterate") -> ConfigDict:
    """arg: single | stack | iterate | dual."""
    if arg not in soundworld.CASCADES:
        raise ValueError(f"argument '{arg}': takes one of {', '.join(soundworld.CASCADES)}")
    config = soundworld.get_config(f"base,{arg}")
    audiocaps.published(config, arg, clips=CLIPS, captions=CAPTIONS, windows=WINDOWS)
    return config
