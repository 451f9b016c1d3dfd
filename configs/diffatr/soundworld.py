"""DiffATR on SoundWorld, small enough for two CPU cores.

Paper: arXiv 2409.10025. Two phases: contrastive, then hybrid (contrastive + generation loss with stop-gradient routing).

  audiojax train --config configs/diffatr/soundworld.py --workdir runs/diffatr                       # mini, the demo
  audiojax train --config configs/diffatr/soundworld.py:base --workdir runs/base                     # the paper's comparison
  audiojax train --config configs/diffatr/soundworld.py:debug --workdir runs/debug                   # a smoke test
Ablations are overrides, for instance `--config.loss.generation_weight=0.0` (discriminative only),
`--config.diffusion.steps=10`, `--config.inference.top_m=0` (all candidates), or the argument `:mini,generative`.
"""

from ml_collections import ConfigDict


def get_config(arg: str = "mini") -> ConfigDict:
    """arg: mini | base | debug, with ",generative" after it for the generation loss alone (routing off, M = all)."""
    words = arg.split(",")
    size = next((word for word in words if word != "generative"), "mini")
    if size not in ("mini", "base", "debug") or len(set(words) - {"generative"}) > 1:
        raise ValueError(f"argument '{arg}': takes mini, base or debug, and generative after a comma")
    config = ConfigDict()
    config.paper = "diffatr"
    config.seed = 20
    config.phases = ("contrastive", "hybrid")

    config.data = ConfigDict()
    config.data.source = "soundworld"  # soundworld: built once | memory: synthesised on demand | tfds: what `audiojax data pack` wrote
    config.data.dir = ""  # "" = the user's data folder
    config.data.size = "base" if size == "base" else "mini"
    config.data.domain = "studio"
    config.data.world_seed = 0
    config.data.sample_rate = 16_000  # Hz
    config.data.seconds = 3.84
    config.data.padding = "zero"  # of clips shorter than `seconds`: zero | repeat
    config.data.max_tokens = 48
    config.data.captions = 5  # of each clip
    config.data.mode = "pairs"  # every (clip, caption) is an example | random: a clip is one, with a caption drawn each time
    config.data.in_memory = True  # keep the int16 clips that were read in host memory
    config.data.threads = 2  # that decode, in this process or in each worker
    config.data.workers = 0  # loader processes; 0 = threads only. Each would keep its own copy of what `in_memory` keeps

    config.tokenizer = ConfigDict({"folder": "", "vocab_size": 1_000})  # "" = train WordPiece on the training captions

    config.init = ConfigDict({"audio": "", "text": ""})  # checkpoints that the towers start from: files, folders, hub names; "" = random

    config.model = ConfigDict()
    config.model.audio = "cnn14"  # cnn14 | resnet38
    config.model.audio_preset = "tiny"
    config.model.text_preset = "tiny"
    config.model.last_pool = (1, 1)  # of CNN14's last block: (1, 1) in PANNs, (2, 2) in Mei's copy
    config.model.audio_dropout = 0.1
    config.model.text_dropout = 0.1
    config.model.mel = "soundworld_16k"
    config.model.spec_augment = ConfigDict({"time_stripes": 2, "time_width": 24, "mel_stripes": 2, "mel_width": 6})
    config.model.joint_width = 128
    config.model.head_width = 256
    config.model.denoiser = ConfigDict({"input": "raw", "add_x": True, "qk_scale": False, "residual_w": True})
    config.model.dtype = "float32"

    config.loss = ConfigDict()
    config.loss.temperature = 0.07
    config.loss.logit_scale = 5.0  # 100 in DiffusionRet; here it leaves the loss at the noisiest level far above ln N, on validation too
    config.loss.negative_value = 0.0  # x_0 at the negatives: 0 | -1
    config.loss.contrastive_weight = 1.0
    config.loss.generation_weight = 1.0
    config.loss.stop_gradient = True  # the paper's routing: the generation loss trains the denoisers alone
    config.loss.mask_same_audio = True

    config.diffusion = ConfigDict({"schedule": "cosine", "steps": 50})

    config.inference = ConfigDict()
    config.inference.top_m = 32  # 0 = all candidates
    config.inference.noise_draws = 1
    config.inference.query_block = 16
    config.inference.alphas = (0.0, 0.01, 0.03, 0.1, 0.3, 1.0, 100.0)  # grids of the choice on validation
    config.inference.temperatures = (1.0, 10.0, 100.0)
    config.inference.fusion = ConfigDict()  # DiffusionRet's values; the end of training replaces them by the chosen ones
    config.inference.fusion.t2a = ConfigDict({"alpha": 1.0, "temperature": 1.0})
    config.inference.fusion.a2t = ConfigDict({"alpha": 1.0, "temperature": 1.0})

    config.parallel = "pmap"  # pmap | mesh
    config.mesh = (-1, 1, 1)  # devices along data, fsdp, tensor; -1 = what is left
    config.train = ConfigDict()  # of every phase
    config.train.eval_every = 500
    config.train.save_every = 250
    config.train.eval_batch_size = 50
    config.train.log_every = 25
    config.train.keep = 2  # newest checkpoints, besides the best: a damaged one falls back to the one before
    config.train.accumulate = 1
    config.train.ema_decay = 0.0
    config.train.max_bad_steps = 10

    steps = {"mini": (1_100, 500), "base": (2_000, 800), "debug": (4, 4)}[size]
    encoders = {"pattern": ".*", "name": "adam", "lr": 1e-3, "schedule": "cosine", "warmup": 100, "clip_norm": 2.0}
    denoisers = {"pattern": "^denoiser_", "name": "adamw", "lr": 1e-3, "schedule": "cosine", "warmup": 0.1, "clip_norm": 1.0}
    denoisers |= {"b1": 0.9, "b2": 0.98, "eps": 1e-6, "weight_decay": 0.2}
    config.contrastive = ConfigDict({"batch_size": 32, "trainable": ".*", "steps": steps[0]})
    config.contrastive.groups = ConfigDict({"encoders": encoders})
    config.hybrid = ConfigDict({"batch_size": 32, "trainable": ".*", "steps": steps[1]})
    config.hybrid.groups = ConfigDict({"encoders": dict(encoders, lr=1e-4), "denoisers": denoisers})

    if "generative" in words:  # one phase, encoders trained by the generation loss alone, every candidate diffused
        config.phases = ("hybrid",)
        config.loss.contrastive_weight = 0.0
        config.loss.stop_gradient = False
        config.inference.top_m = 0
        config.hybrid.steps = sum(steps)
        config.hybrid.groups.encoders.lr = encoders["lr"]
    return config
