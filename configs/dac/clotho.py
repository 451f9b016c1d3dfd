"""DAC at published size on Clotho v2.1: clips of 15 to 30 s as up to three windows of 10 s, five captions each.

Paper: arXiv 2409.09401, which evaluates on AudioCaps; whether it does on Clotho is not known, so no score is promised here. 3,839 training
clips; an epoch visits every (clip, caption) pair once.

  audiojax data pack /data/Clotho --out packed --sample-rate 16000
  audiojax train --config configs/dac/clotho.py --workdir runs/clotho --config.data.dir=packed/clotho
"""

from ml_collections import ConfigDict

from audiojax.configs.dac import audiocaps

CLIPS, CAPTIONS, WINDOWS = 3_839, 5, 3


def get_config(arg: str = "base") -> ConfigDict:
    """arg: base | ladic | rival."""
    return audiocaps.published(arg, clips=CLIPS, captions=CAPTIONS, windows=WINDOWS)
