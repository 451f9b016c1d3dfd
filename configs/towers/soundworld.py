"""The towers that SoundWorld's papers start from, small enough for two CPU cores; `audiojax towers` trains all seven.

  audiojax train --config configs/towers/soundworld.py:clap --workdir runs/towers/clap
  audiojax train --config configs/towers/soundworld.py:tagger,base --workdir runs/towers/tagger
Towers: clap (arXiv 2211.06687), audiomae (2207.06405), beats (2212.09058), bert (1810.04805), t5 (1910.10683), llama (2302.13971), and the
tagger (CNN14, 1912.10211), which only evaluation uses. They learn from the split `pretrain`; text and sound alone from both domains, pairs
from one. CLAP's audio half and BEATs learn first, or only, which classes sound when; then the former is locked, and texts come to it.
"""

from ml_collections import ConfigDict

PHASES = {  # of each tower: batch size, learning rate, steps at mini and at base
    "clap": {"detection": (16, 1e-3, 500, 2_000), "contrastive": (128, 1e-3, 120, 1_500)},
    "audiomae": {"reconstruction": (32, 2e-3, 80, 1_500)},
    "beats": {"detection": (16, 1e-3, 150, 2_500)},
    "bert": {"masked_lm": (64, 2e-3, 180, 2_500)},
    "t5": {"span_corruption": (32, 2e-3, 200, 2_500)},
    "tagger": {"tagging": (32, 3e-3, 130, 2_000)},
    "llama": {"causal_lm": (32, 2e-3, 300, 2_500)},
}
TEXT = ("bert", "t5", "llama")


def get_config(arg: str = "clap") -> ConfigDict:
    """arg: the tower, then after commas mini | base | debug, and field for a CLAP of the other domain."""
    words = arg.split(",")
    towers, sizes = ([word for word in words if word in allowed] for allowed in (PHASES, ("mini", "base", "debug")))
    if len(towers) != 1 or len(sizes) > 1 or set(words) - {*towers, *sizes, "field"}:
        raise ValueError(f"argument '{arg}': takes one of {', '.join(PHASES)}, then mini, base or debug, and field, with commas between")
    tower, size = towers[0], (sizes or ["mini"])[0]
    config = ConfigDict()
    config.paper = "towers"
    config.seed = 30 + list(PHASES).index(tower)
    config.phases = tuple(PHASES[tower])

    config.data = ConfigDict()
    config.data.source = "soundworld"  # soundworld: built once | memory: synthesised on demand
    config.data.dir = ""  # "" = the user's data folder
    config.data.size = "base" if size == "base" else "mini"
    config.data.domain = "studio+field"
    config.data.train_split = "pretrain"
    config.data.world_seed = 0
    config.data.sample_rate = 16_000  # Hz
    config.data.seconds = 3.84
    config.data.padding = "zero"  # of clips shorter than `seconds`: zero | repeat
    config.data.max_tokens = 32
    config.data.captions = 5  # of each clip
    config.data.mode = "pairs" if tower in ("clap", *TEXT) else "random"  # pairs: every (clip, caption) | random: every clip
    config.data.labels = tower in ("clap", "beats", "tagger")  # which classes sound when
    config.data.audio = tower not in TEXT  # False: captions alone are read
    config.data.in_memory = size != "base" or tower in TEXT  # keep what was read in host memory: 2 GB of int16 clips at base
    config.data.threads = 2  # that decode, in this process or in each worker
    config.data.workers = 0  # loader processes; 0 = threads only
    if tower == "clap":
        config.data.domain = "field" if "field" in words else "studio"
        config.data.padding = "repeat"

    config.tokenizer = ConfigDict({"folder": "", "vocab_size": 1_000})  # "" = train WordPiece on the training captions
    config.tokenizer.domain = "studio+field"  # whose captions these are: the same for all towers, so that they share one tokenizer

    config.model = ConfigDict({"tower": tower, "dtype": "float32"})
    config.model.preset = "soundworld" if tower == "llama" else "tiny"
    if tower == "audiomae":
        config.model.masked = 0.8  # share of the patches
        config.model.decoder = ConfigDict({"width": 64, "layers": 2, "heads": 4})
    elif tower != "llama":
        config.model.dropout = 0.1 if size == "base" else 0.0  # the few epochs of mini need none
    if tower in ("clap", "beats", "tagger"):
        config.model.spec_augment = ConfigDict({"time_stripes": 2, "time_width": 24, "mel_stripes": 2, "mel_width": 6})
    if tower == "clap":
        config.model.front_end = "tiny"
    if tower == "tagger":
        config.model.mel = "soundworld_16k"

    config.parallel = "pmap"  # pmap | mesh
    config.mesh = (-1, 1, 1)  # devices along data, fsdp, tensor; -1 = what is left
    config.train = ConfigDict()
    config.train.eval_every = {"mini": 100, "base": 1_000, "debug": 4}[size]
    config.train.save_every = {"mini": 100, "base": 500, "debug": 4}[size]
    config.train.eval_batch_size = 50
    config.train.log_every = 25
    config.train.keep = 2
    config.train.accumulate = 1
    config.train.ema_decay = 0.0
    config.train.max_bad_steps = 10

    for phase, (batch_size, rate, mini, base) in PHASES[tower].items():
        steps = {"mini": mini, "base": base, "debug": 4}[size]
        everything = {"pattern": ".*", "name": "adamw", "lr": rate, "schedule": "cosine", "warmup": 0.1, "clip_norm": 2.0}
        everything |= {"b2": 0.98, "weight_decay": 0.01}
        config[phase] = ConfigDict({"batch_size": batch_size, "trainable": ".*", "steps": steps})
        config[phase].groups = ConfigDict({"everything": everything})
    if tower == "clap":
        config.detection.trainable = "^(audio/encoder|head)/"
        config.contrastive.trainable = "^(text/|audio/projection/|logit_scale)"  # LiT, arXiv 2111.07991: what hears stays as it is
    return config
