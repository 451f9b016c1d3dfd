"""Re-AudioLDM on SoundWorld, small enough for two CPU cores. Each phase is a run of its own.

Papers: arXiv 2309.08051; 2301.12503 (AudioLDM); 2112.10752 and 2012.09841 (autoencoder); 2010.05646 (HiFi-GAN).
autoencoder: log-mels become latents of an eighth of the size each way. vocoder: log-mels become waveforms; Griffin-Lim does without.

  audiojax train --config configs/re_audioldm/soundworld.py:base,autoencoder --workdir runs/base/vae
  audiojax train --config configs/re_audioldm/soundworld.py:base,vocoder --workdir runs/base/vocoder
"""

from ml_collections import ConfigDict

SIZES = ("mini", "base", "debug")
PHASES = ("autoencoder", "vocoder")


def get_config(arg: str = "mini") -> ConfigDict:
    """arg: mini | base | debug, and after a comma the phase: autoencoder | vocoder."""
    words = arg.split(",")
    sizes, phases = ([word for word in words if word in allowed] for allowed in (SIZES, PHASES))
    if len(sizes) > 1 or len(phases) > 1 or set(words) - {*sizes, *phases}:
        raise ValueError(f"argument '{arg}': takes one of {', '.join(SIZES)}, and after a comma one of {', '.join(PHASES)}")
    size, phase = (sizes or ["mini"])[0], (phases or ["autoencoder"])[0]
    config = ConfigDict()
    config.paper = "re_audioldm"
    config.seed = 70
    config.phases = (phase,)

    config.data = ConfigDict()
    config.data.source = "soundworld"  # soundworld: built once | memory: synthesised on demand | tfds: any data in the builder's schema
    config.data.dir = ""  # "" = the user's data folder
    config.data.size = "base" if size == "base" else "mini"
    config.data.domain = "studio"
    config.data.world_seed = 0
    config.data.sample_rate = 16_000  # Hz
    config.data.seconds = 3.84
    config.data.padding = "zero"  # of clips shorter than `seconds`: zero | repeat
    config.data.max_tokens = 32
    config.data.captions = 5  # of each clip
    config.data.mode = "random"  # every clip is an example
    config.data.in_memory = size != "base"  # keep the int16 clips that were read in host memory
    config.data.threads = 2  # that decode, in this process or in each worker
    config.data.workers = 0  # loader processes; 0 = threads only

    config.tokenizer = ConfigDict({"folder": "", "vocab_size": 1_000})  # "" = train WordPiece on the training captions

    config.init = ConfigDict({"vae": ""})  # an autoencoder to go on from, public or a run; "" = random weights
    config.init.start = ""  # a finished run of the same phase to go on from

    config.model = ConfigDict()
    config.model.vae_preset = "soundworld"
    config.model.vocoder_preset = "soundworld"  # its bins and its hop are those of the log-mel
    config.model.patch_preset = "tiny"  # discriminator of spectrograms
    config.model.waveform_preset = "tiny"  # discriminators of waveforms
    config.model.dtype = "float32"

    config.stretch = ConfigDict({"autoencoder": 20_480, "vocoder": 8_192})  # samples that a step hears of each clip

    adversarial_from = {"mini": 600, "base": 2_000, "debug": 2}[size]
    config.loss = ConfigDict()
    config.loss.autoencoder = ConfigDict({"kl": 30.0, "adversarial": 0.5, "start": adversarial_from})
    config.loss.vocoder = ConfigDict({"mel": 45.0, "features": 2.0})

    config.parallel = "pmap"  # pmap | mesh
    config.mesh = (-1, 1, 1)  # devices along data, fsdp, tensor; -1 = what is left
    config.train = ConfigDict()  # of every phase
    config.train.eval_every = {"mini": 250, "base": 1_000, "debug": 4}[size]
    config.train.save_every = {"mini": 250, "base": 500, "debug": 4}[size]
    config.train.eval_batch_size = 50
    config.train.log_every = 25
    config.train.keep = 2
    config.train.accumulate = 1
    config.train.ema_decay = 0.0
    config.train.max_bad_steps = 10

    steps = {"mini": 1_000, "base": 3_000, "debug": 4}[size]
    adam = {"name": "adam", "lr": 1e-3, "schedule": "cosine", "warmup": 0.05, "b1": 0.5, "b2": 0.9}
    config.autoencoder = ConfigDict({"batch_size": 16, "trainable": ".*", "steps": steps})
    config.autoencoder.groups = ConfigDict({"vae": {"pattern": "^(vae|loss)/", **adam}})
    config.autoencoder.groups.discriminator = ConfigDict({"pattern": "^discriminator/", **adam, "lr": 3e-4})
    adamw = {"name": "adamw", "lr": 1e-3, "schedule": "cosine", "b1": 0.8, "b2": 0.99, "weight_decay": 0.01}
    config.vocoder = ConfigDict({"batch_size": 16, "trainable": ".*", "steps": steps})
    config.vocoder.groups = ConfigDict({"vocoder": {"pattern": "^vocoder/", **adamw}})
    config.vocoder.groups.discriminators = ConfigDict({"pattern": "^discriminators/", **adamw})
    return config
