"""Co-attention retrieval on SoundWorld, small enough for two CPU cores. The towers are frozen: runs of `audiojax towers`.

Paper: arXiv 2412.20914. Two phases: contrastive (the dual encoder, also the baseline), then pairs (the cascade, NT-Xent over all pairs).

  audiojax towers --only clap bert --workdir runs/towers
  audiojax train --config configs/coattention/soundworld.py --workdir runs/coattention            # mini, iterate
  audiojax train --config configs/coattention/soundworld.py:base,stack --workdir runs/stack       # base: --config.init.audio=... too
  audiojax train --config configs/coattention/soundworld.py:base,dual --workdir runs/dual         # no cascade, as many updates
Ablations are overrides, for instance `--config.model.cascade.depth=3`, `--config.model.cascade.audio_positions=none`.
"""

from ml_collections import ConfigDict

CASCADES = ("single", "stack", "iterate", "dual")


def get_config(arg: str = "mini") -> ConfigDict:
    """arg: mini | base | debug, and after a comma single | stack | iterate | dual."""
    words = arg.split(",")
    sizes, cascades = ([word for word in words if word in allowed] for allowed in (("mini", "base", "debug"), CASCADES))
    if len(sizes) > 1 or len(cascades) > 1 or set(words) - {*sizes, *cascades}:
        raise ValueError(f"argument '{arg}': takes mini, base or debug, and after a comma one of {', '.join(CASCADES)}")
    size, cascade = (sizes or ["mini"])[0], (cascades or ["iterate"])[0]
    config = ConfigDict()
    config.paper = "coattention"
    config.seed = 40
    config.phases = ("contrastive",) if cascade == "dual" else ("contrastive", "pairs")

    config.data = ConfigDict()
    config.data.source = "soundworld"  # soundworld: built once | memory: synthesised on demand | tfds: any data in the builder's schema
    config.data.dir = ""  # "" = the user's data folder
    config.data.size = "base" if size == "base" else "mini"
    config.data.domain = "studio"
    config.data.world_seed = 0
    config.data.sample_rate = 16_000  # Hz
    config.data.seconds = 3.84  # of a window
    config.data.windows = 1  # of a clip, at most; the rest of a longer one is not heard
    config.data.padding = "repeat"  # of a clip shorter than a window: zero | repeat
    config.data.max_tokens = 32
    config.data.clean_captions = True  # lower case and no punctuation, as BERT's captions were
    config.data.captions = 5  # of each clip
    config.data.extra_captions = ""  # JSON file {clip id: [captions]} of further captions for training
    config.data.mode = "pairs"  # every (clip, caption) is an example | random: a clip is one, with a caption drawn each time
    config.data.states = True  # run the frozen towers once and train on what they give
    config.data.states_dtype = "float16"  # that this is stored in
    config.data.in_memory = True  # keep what was read in host memory
    config.data.threads = 2  # that decode, in this process or in each worker
    config.data.workers = 0  # loader processes; 0 = threads only

    config.tokenizer = ConfigDict({"folder": "", "vocab_size": 1_000})  # "" = that of the text tower

    config.init = ConfigDict({"audio": "runs/towers/clap", "text": "runs/towers/bert"})  # a CLAP, and a BERT or RoBERTa

    config.model = ConfigDict()
    config.model.audio_preset = "tiny"  # of HTSAT
    config.model.front_end = "tiny"
    config.model.text_preset = "tiny"
    config.model.text_dropout = 0.1
    config.model.text_tokens = "words"  # words | sentence: the first token's state alone
    config.model.dtype = "float32"
    config.model.cascade = ConfigDict({"width": 64, "heads": 4, "hidden": 256, "depth": 2})
    config.model.cascade.dropout = 0.0  # 0.1 published; a mask for each pair is half of a step on CPUs
    config.model.cascade.cascade = "iterate" if cascade == "dual" else cascade  # single | stack | iterate | encdec
    config.model.cascade.update = "parallel"  # parallel | alternating
    config.model.cascade.unit = "guided"  # guided | affinity
    config.model.cascade.pool = "mean"  # mean | attention
    config.model.cascade.audio_positions = "sinusoidal"  # none | sinusoidal

    config.loss = ConfigDict()
    config.loss.temperature = 0.07
    config.loss.mask_same_audio = True  # another caption of a clip is no negative of it
    config.loss.block = 8  # sounds whose pairs are alive at once

    config.inference = ConfigDict()
    config.inference.top_m = 100  # candidates of a query that the cascade scores; 0 = all
    config.inference.validation_top_m = 32
    config.inference.validation_captions = 1  # of each clip, while training

    config.parallel = "pmap"  # pmap | mesh
    config.mesh = (-1, 1, 1)  # devices along data, fsdp, tensor; -1 = what is left
    config.train = ConfigDict()  # of every phase
    config.train.eval_every = 500
    config.train.save_every = 500
    config.train.eval_batch_size = 50
    config.train.log_every = 25
    config.train.keep = 2
    config.train.accumulate = 1
    config.train.ema_decay = 0.0
    config.train.max_bad_steps = 10

    steps = {"mini": (600, 500), "base": (2_000, 3_000), "debug": (4, 4)}[size]
    everything = {"pattern": ".*", "name": "adamw", "lr": 1e-3, "schedule": "cosine", "warmup": 0.1, "clip_norm": 1.0, "weight_decay": 0.01}
    config.contrastive = ConfigDict({"batch_size": 64, "trainable": "^dual/", "steps": sum(steps) if cascade == "dual" else steps[0]})
    config.contrastive.groups = ConfigDict({"everything": everything})
    config.pairs = ConfigDict({"batch_size": 16, "trainable": "^cascade/", "steps": steps[1]})
    config.pairs.groups = ConfigDict({"everything": everything})
    return config
