r"""Re-AudioLDM on SoundWorld, small enough for two CPU cores. Each phase is a run of its own.

Papers: arXiv 2309.08051; 2301.12503 (AudioLDM); 2112.10752 and 2012.09841 (autoencoder); 2010.05646 (HiFi-GAN).
autoencoder: log-mels become latents of an eighth of the size each way. vocoder: log-mels become waveforms; Griffin-Lim does without.
diffusion: a U-Net of 2,062,528 parameters and 0.23 GFLOP a call takes noise off the latents; CLAP, AudioMAE, T5 and VAE are frozen.

  audiojax train --config configs/re_audioldm/soundworld.py:base,autoencoder --workdir runs/base/vae
  audiojax train --config configs/re_audioldm/soundworld.py:base,vocoder --workdir runs/base/vocoder
  audiojax train --config configs/re_audioldm/soundworld.py:base,diffusion --workdir runs/base/re_audioldm --config.init.vae=runs/base/vae
  audiojax train --config configs/re_audioldm/soundworld.py:mini,plain --workdir runs/plain                # AudioLDM: nothing is retrieved
  audiojax sweep --config configs/re_audioldm/soundworld.py:mini,diffusion --grid retrieval.count=3,1,5,10 --workdir runs/pairs \
    --backbone runs/towers/tagger --sampler dpm++ --steps 20
"""

from ml_collections import ConfigDict

SIZES = ("mini", "base", "debug")
PHASES = ("autoencoder", "vocoder", "diffusion")
FORMS = {"plain": "none", "audio": "audio", "text": "text", "joint": "both"}  # of diffusion: what of the retrieved pairs is attended to


def get_config(arg: str = "mini") -> ConfigDict:
    """arg: mini | base | debug, after a comma the phase: autoencoder | vocoder | diffusion, and of that one a form: plain (AudioLDM) |
    audio | text (one half of each pair) | joint (one attention to both halves)."""
    words = arg.split(",")
    sizes, phases, forms = ([word for word in words if word in allowed] for allowed in (SIZES, PHASES, FORMS))
    several = max(map(len, (sizes, phases, forms))) > 1 or (forms and phases not in ([], ["diffusion"]))
    if several or set(words) - {*sizes, *phases, *forms}:
        raise ValueError(
            f"argument '{arg}': takes one of {', '.join(SIZES)}, and after a comma one of {', '.join(PHASES)}, of which diffusion may be"
            f" {', '.join(FORMS)}"
        )
    size, phase, form = (sizes or ["mini"])[0], "diffusion" if forms else (phases or ["autoencoder"])[0], (forms or [""])[0]
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

    adversarial_from = {"mini": 600, "base": 1_400, "debug": 2}[size]
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

    steps = {"mini": 1_000, "base": 2_000, "debug": 4}[size]
    adam = {"name": "adam", "lr": 1e-3, "schedule": "cosine", "warmup": 0.05, "b1": 0.5, "b2": 0.9}
    config.autoencoder = ConfigDict({"batch_size": 8, "trainable": ".*", "steps": steps})
    config.autoencoder.groups = ConfigDict({"vae": {"pattern": "^(vae|loss)/", **adam}})
    config.autoencoder.groups.discriminator = ConfigDict({"pattern": "^discriminator/", **adam, "lr": 3e-4})
    adamw = {"name": "adamw", "lr": 1e-3, "schedule": "cosine", "b1": 0.8, "b2": 0.99, "weight_decay": 0.01}
    config.vocoder = ConfigDict({"batch_size": 8, "trainable": ".*", "steps": steps})
    config.vocoder.groups = ConfigDict({"vocoder": {"pattern": "^vocoder/", **adamw}})
    config.vocoder.groups.discriminators = ConfigDict({"pattern": "^discriminators/", **adamw})
    if phase == "diffusion":
        add_diffusion(config, size, form)
    return config


def add_diffusion(config: ConfigDict, size: str, form: str) -> None:
    """The sections that the phase "diffusion" has beside those of the other two."""
    config.data.mode = "pairs"  # every (clip, caption) is an example
    config.data.states = True  # run the frozen towers once and train on what they make
    config.data.states_dtype = "float16"  # that this is stored in
    config.data.statistics_examples = 512  # by which the latents' scale is measured

    config.init.update({"vae": "runs/vae", "clap": "runs/towers/clap", "audiomae": "runs/towers/audiomae", "t5": "runs/towers/t5"})
    config.init.unet = ""  # a U-Net to begin with, such as an AudioLDM folder; what it does not have starts from random weights

    config.model.contexts = FORMS.get(form, "both")  # of retrieved pairs: both | audio | text | none
    config.model.context_mode = "joint" if form == "joint" else "series"  # series: AudioMAE's tokens, then T5's | joint
    config.model.joint_width = 128  # that both are projected to
    config.model.unet = ConfigDict({"channels": 20, "multipliers": (1, 2, 3), "blocks": 1, "attended": (False, True, True)})
    config.model.unet.update({"heads": "trained", "head_width": 20, "groups": 4})
    config.model.clap_preset = "tiny"
    config.model.clap_front_end = "tiny"
    config.model.audiomae_preset = "tiny"
    config.model.pool = (4, 4)  # patches in time and frequency that become a token: 6 tokens a clip
    config.model.t5_preset = "tiny"
    config.model.t5_vocabulary = 0  # rows of its word table; 0 = tokens of CLAP's tokenizer and the sentinels
    config.model.t5_sentinels = 2
    config.model.t5_max_tokens = 0  # of a caption, for a T5 with a tokenizer of its own; 0 = it reads CLAP's tokens

    config.noise = ConfigDict({"schedule": "scaled_linear", "steps": 1_000})
    config.diffusion_loss = ConfigDict({"film": "text", "drop": 0.1, "weighting": "uniform"})  # film: text | audio embedding of CLAP
    config.diffusion_loss.evaluated = (50, 200, 350, 500, 650, 800, 950)  # noise levels that validation looks at

    config.retrieval = ConfigDict({"datastore": "train", "mode": "none" if form == "plain" else "clap", "key": "text", "count": 3})
    config.retrieval.update({"depth": 50, "draw": False, "seed": 0})  # mode: clap | random | wrong_class | oracle | none

    config.generate = ConfigDict({"vocoder": ""})  # of the finished run: a run of the phase vocoder or a checkpoint; "" = Griffin-Lim

    config.train.ema_decay = 0.9999
    config.train.ema_warmup = True
    if size == "mini":
        config.train.eval_every = config.train.save_every = 500
    steps = 4 if size == "debug" else 5_000  # about 4 a second on one CPU core; 1,000 make noise
    steps *= 2 if form == "plain" and size != "debug" else 1  # whose call costs half: equal compute
    adamw = {"pattern": ".*", "name": "adamw", "lr": 1e-3, "warmup": 0.05, "schedule": "cosine", "weight_decay": 0.01, "clip_norm": 1.0}
    config.diffusion = ConfigDict({"batch_size": 16, "trainable": "^unet/", "steps": steps})
    config.diffusion.groups = ConfigDict({"everything": adamw})
