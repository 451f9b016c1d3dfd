"""Diffusion-Link on SoundWorld, small enough for two CPU cores. CLAP and LLaMA are frozen: runs of `audiojax towers`.

Paper: arXiv 2510.11330. Phase link trains the bridge on pairs of CLAP embeddings, which are stored once; phase decoder teaches a LLaMA to
caption through it, from texts alone (zero-shot) or from sounds.

  audiojax towers --only clap llama --workdir runs/towers
  audiojax train --config configs/diffusion_link/soundworld.py --workdir runs/link                    # mini, diffusion
  audiojax train --config configs/diffusion_link/soundworld.py:base --workdir runs/link --config.init.clap=runs/base/clap
  audiojax train --config configs/diffusion_link/soundworld.py:mini,decoder --workdir runs/captions      # both phases, zero-shot
  audiojax train --config configs/diffusion_link/soundworld.py:mini,decoder --workdir runs/supervised --config.caption.learn_from=audio \
    --config.init.start=runs/link --config.phases="('decoder',)"                                         # another decoder on a link
  audiojax sweep --config configs/diffusion_link/soundworld.py --grid argument=diffusion,none,ridge --workdir runs/rivals
  audiojax sweep --config configs/diffusion_link/soundworld.py --grid bridge.start=100,25,50,200,400 --workdir runs/depth
"""

from ml_collections import ConfigDict

SIZES = ("mini", "base", "debug")
TRAINED = ("diffusion", "text_only", "one_step")
FITTED = ("none", "mean_shift", "ridge", "memory")


def get_config(arg: str = "mini") -> ConfigDict:
    """arg: mini | base | debug, and after commas the form of the bridge: diffusion | text_only | one_step | none | mean_shift | ridge |
    memory; and decoder for both phases."""
    words = arg.split(",")
    sizes, forms = ([word for word in words if word in allowed] for allowed in (SIZES, TRAINED + FITTED))
    if len(sizes) > 1 or len(forms) > 1 or set(words) - {*sizes, *forms, "decoder"}:
        raise ValueError(f"argument '{arg}': takes {', '.join(SIZES)}, after a comma one of {', '.join(TRAINED + FITTED)}, and decoder")
    size, form = (sizes or ["mini"])[0], (forms or ["diffusion"])[0]
    config = ConfigDict()
    config.paper = "diffusion_link"
    config.seed = 60
    config.phases = ("link", "decoder") if "decoder" in words else ("link",)

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
    config.data.clean_captions = True  # lower case and no punctuation, as CLAP's captions were
    config.data.captions = 5  # of each clip
    config.data.extra_captions = ""  # JSON file {clip id: [captions]} of further captions for training
    config.data.mode = "pairs"  # every (clip, caption) is an example | random: a clip is one, with a caption drawn each time
    config.data.states = True  # run CLAP once and train on its embeddings
    config.data.states_dtype = "float32"  # that these are stored in
    config.data.statistics_examples = {"mini": 3_000, "base": 30_000, "debug": 100}[size]  # pairs that a closed form is fitted on: all
    config.data.in_memory = True  # keep what was read in host memory
    config.data.threads = 2  # that decode, in this process or in each worker
    config.data.workers = 0  # loader processes; 0 = threads only

    config.tokenizer = ConfigDict({"folder": "", "vocab_size": 1_000})  # "" = that of CLAP

    config.init = ConfigDict({"clap": "runs/towers/clap", "llama": "runs/towers/llama"})  # the LLaMA of the decoder alone
    config.init.start = ""  # a finished run to go on from, in place of what it holds

    config.model = ConfigDict()
    config.model.clap_preset = "tiny"
    config.model.front_end = "tiny"
    config.model.network = ConfigDict({"width": 32 if size == "debug" else 256, "blocks": 3, "frequencies": 256})
    config.model.llama_preset = "soundworld"
    config.model.llama_vocabulary = 0  # rows of its word table; 0 = tokens of CLAP's tokenizer
    config.model.llama_dtype = "float32"  # of its weights and of what is computed with them
    config.model.llama_stored = "run"  # run: a finished run holds it | folder: it is read from where it was, and its hash is compared
    config.model.remat = False  # compute its layers again for the gradient: less memory, more time
    config.model.scan = False  # one compiled layer for all of them in training: compiles faster, takes the bytes of their weights once more
    config.model.end = 3  # [SEP], with which its sentences end
    config.model.prefix = ConfigDict({"tokens": 4, "hidden": 256})  # that a clip becomes; and of the head that makes them
    adapted = ("query", "key", "value", "out", "gate", "up", "down")  # all maps: a LLaMA this small has little to spare
    config.model.lora = ConfigDict({"rank": 32, "alpha": 64.0, "dropout": 0.0, "targets": adapted})
    config.model.dtype = "float32"

    config.noise = ConfigDict({"schedule": "cosine", "steps": 1_000})  # T

    config.bridge = ConfigDict({"form": form})
    config.bridge.scale = 22.6  # kappa at d = 512, which grows as sqrt(d): coordinates of unit variance; Diffusion Bridge: 5
    config.bridge.centre = "per_modality" if form == "text_only" else "none"  # none | per_modality
    config.bridge.start = 100  # s*, of T; 0 = the raw embedding
    config.bridge.steps = 5  # of DDIM
    config.bridge.temperature = 0.01  # of memory
    config.bridge.memory = 100 if size == "debug" else 2_000  # texts that it keeps

    config.loss = ConfigDict()
    config.loss.topology = 0.0 if form == "text_only" else 1.0  # weight
    config.loss.time_weight = "min_snr"  # uniform | snr | min_snr; the paper does not say, and this one keeps more sounds apart

    config.caption = ConfigDict()
    config.caption.learn_from = "text"  # text: the caption's own embedding (zero-shot) | audio: that of its sound through the bridge
    config.caption.text_path = "link"  # of texts: link (through the bridge) | raw | gaussian
    config.caption.variance = 0.016  # of gaussian, in each coordinate
    config.caption.prompt = ""  # between prefix and caption; this LLaMA knows captions alone
    config.caption.max_tokens = 32  # of prompt and caption in training, special tokens among them
    config.caption.max_new_tokens = 30  # that are written, the end among them

    config.inference = ConfigDict({"num_beams": 4, "length_penalty": 1.0, "temperature": 0.0, "top_p": 1.0})

    config.parallel = "pmap"  # pmap | mesh
    config.mesh = (-1, 1, 1)  # devices along data, fsdp, tensor; -1 = what is left
    config.train = ConfigDict()  # of every phase
    config.train.eval_every = 500
    config.train.save_every = 500
    config.train.eval_batch_size = 50
    config.train.log_every = 25
    config.train.keep = 2
    config.train.accumulate = 1
    config.train.ema_decay = 0.995  # at every step; the average or the raw weights go on, whichever validates better
    config.train.max_bad_steps = 10

    steps = {"mini": 2_000, "base": 3_000, "debug": 4}[size]
    everything = {"pattern": ".*", "name": "adam", "lr": 1e-3, "schedule": "cosine", "warmup": 0.05, "clip_norm": 1.0, "b2": 0.99}
    config.link = ConfigDict({"batch_size": 128, "trainable": "^bridge/", "steps": steps if form in TRAINED else 0})
    config.link.groups = ConfigDict({"everything": everything})
    count = {"mini": 800, "base": 2_500, "debug": 4}[size]
    adamw = {"pattern": ".*", "name": "adamw", "lr": 2e-3, "schedule": "linear", "warmup": 0.05, "clip_norm": 1.0}
    config.decoder = ConfigDict({"batch_size": 32, "trainable": "^(adapter|head)/", "steps": count})
    config.decoder.groups = ConfigDict({"everything": adamw})
    return config
