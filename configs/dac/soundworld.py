"""DAC on SoundWorld, small enough for two CPU cores. The towers are frozen: runs of `audiojax towers`.

Paper: arXiv 2409.09401. Two phases: head (the token head learns to read clean latents), then diffusion. The rival is one phase.

  audiojax towers --only beats bert --workdir runs/towers
  audiojax train --config configs/dac/soundworld.py --workdir runs/dac                 # mini
  audiojax train --config configs/dac/soundworld.py:base --workdir runs/dac_base       # base: --config.init.audio=... too
  audiojax train --config configs/dac/soundworld.py:base,rival --workdir runs/rival    # word by word, in about the same time
A run that goes on from another one, which had weaker captions for instance: --config.init.start=runs/weak --config.phases="('diffusion',)".
"""

from ml_collections import ConfigDict

SIZES = ("mini", "base", "debug")


def get_config(arg: str = "mini") -> ConfigDict:
    """arg: mini | base | debug, and after a comma rival."""
    words = arg.split(",")
    sizes = [word for word in words if word in SIZES]
    if len(sizes) > 1 or set(words) - {*sizes, "rival"}:
        raise ValueError(f"argument '{arg}': takes one of {', '.join(SIZES)}, and after a comma rival")
    size, rival = (sizes or ["mini"])[0], "rival" in words
    config = ConfigDict()
    config.paper = "dac"
    config.seed = 50
    config.phases = ("autoregressive",) if rival else ("head", "diffusion")

    config.data = ConfigDict()
    config.data.source = "soundworld"  # soundworld: built once | memory: synthesised on demand | tfds: any data in the builder's schema
    config.data.dir = ""  # "" = the user's data folder
    config.data.size = "base" if size == "base" else "mini"
    config.data.domain = "studio"
    config.data.world_seed = 0
    config.data.sample_rate = 16_000  # Hz
    config.data.seconds = 3.84  # of a window
    config.data.windows = 1  # of a clip, at most; the rest of a longer one is not heard
    config.data.padding = "zero"  # of a clip shorter than a window: zero | repeat
    config.data.max_tokens = 28  # N: positions of a caption, special tokens among them; 1 % of the captions are longer
    config.data.clean_captions = True  # lower case and no punctuation, as BERT's captions were
    config.data.captions = 5  # of each clip
    config.data.extra_captions = ""  # JSON file {clip id: [captions]} of further captions for training
    config.data.mode = "pairs"  # every (clip, caption) is an example | random: a clip is one, with a caption drawn each time
    config.data.states = True  # run BEATs once and train on its tokens
    config.data.states_dtype = "float16"  # that these are stored in
    config.data.statistics_examples = 2_000  # captions whose words give mean and deviation of the latent channels
    config.data.in_memory = True  # keep what was read in host memory
    config.data.threads = 2  # that decode, in this process or in each worker
    config.data.workers = 0  # loader processes; 0 = threads only

    config.tokenizer = ConfigDict({"folder": "", "vocab_size": 1_000})  # "" = that of the text tower

    config.init = ConfigDict({"audio": "runs/towers/beats", "text": "runs/towers/bert"})  # a BEATs and a BERT
    config.init.start = ""  # a finished run to go on from, in place of the two

    config.model = ConfigDict()
    config.model.audio_preset = "tiny"
    config.model.text_preset = "tiny"
    config.model.lower_layers = 0  # of BERT, below the latents; 0 = half of them
    config.model.filler = 3  # token where a caption has no word: [SEP], the one that BERT has seen after the last word
    config.model.begin = 2  # [CLS], with which the rival begins
    config.model.end = 3  # [SEP], with which it ends
    config.model.denoiser_preset = "soundworld"
    config.model.decoder_preset = "soundworld"  # of the rival
    config.model.dropout = 0.0  # of both; 0.1 published, and a run of SoundWorld is no more than a few epochs
    config.model.projection = ConfigDict({"form": "linear"})  # linear | transformer
    config.model.dtype = "float32"

    config.noise = ConfigDict()
    config.noise.schedule = "linear"
    config.noise.beta_start = config.noise.beta_end = 7e-3  # of the linear one; published: 1e-4 and 0.02, half of whose levels hide no word
    config.noise.steps = 1_000  # T
    config.noise.prediction = "x0"  # of the denoiser: x0 | eps

    config.loss = ConfigDict()
    config.loss.error = "mse"  # mse | l2: the length of the error at each position, as LaDiC has it
    config.loss.cross_entropy = 0.2
    config.loss.valid = 1.0
    config.loss.dilation = 1.0  # F, of the noise in training; LaDiC: 4
    config.loss.self_condition = 0.5
    config.loss.drop_audio = 0.1
    config.loss.label_smoothing = 0.1  # of the rival

    config.inference = ConfigDict()
    config.inference.diffusion = ConfigDict({"sampler": "renoise", "steps": 34, "guidance": 1.0, "eta": 0.0, "time_offset": 5})
    config.inference.autoregressive = ConfigDict({"num_beams": 3, "length_penalty": 1.0, "temperature": 0.0, "top_p": 1.0})
    config.inference.validation_steps = 8  # of diffusion; the rival is greedy
    config.inference.ending = ""  # after the last word

    config.parallel = "pmap"  # pmap | mesh
    config.mesh = (-1, 1, 1)  # devices along data, fsdp, tensor; -1 = what is left
    config.train = ConfigDict()  # of every phase
    config.train.eval_every = 1_000
    config.train.save_every = 500
    config.train.eval_batch_size = 50
    config.train.log_every = 25
    config.train.keep = 2
    config.train.accumulate = 1
    config.train.ema_decay = 0.99
    config.train.max_bad_steps = 10

    steps = {"mini": (1_000, 1_000, 2_000), "base": (1_500, 4_500, 5_000), "debug": (4, 4, 8)}[size]
    everything = {"pattern": ".*", "name": "adamw", "lr": 1e-3, "schedule": "cosine", "warmup": 0.1, "clip_norm": 1.0, "weight_decay": 0.01}
    for phase, trainable, count in (
        ("head", "^head/", steps[0]),
        ("diffusion", "^(head|diffuser)/", steps[1]),
        ("autoregressive", "^autoregressive/", steps[2]),
    ):
        config[phase] = ConfigDict({"batch_size": 32, "trainable": trainable, "steps": count})
        config[phase].groups = ConfigDict({"everything": everything})
    config.head.groups.everything.lr = 3e-3
    return config
