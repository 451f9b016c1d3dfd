"""Diffusion-Link at published size on AudioCaps: LAION-CLAP frozen, d = 512, a bridge of 20.2 M parameters; and LLaMA-2-7B behind it.

Paper: arXiv 2510.11330; its tables could not be read, so no score is promised here. The steps, s*, the moving average and T are the
paper's; optimiser and clipping are Diffusion Bridge's ("mongeoroo/diffusion-bridge"), batch and length choices of this project.
The decoder's prompt, rank and rate are DRCap's ("SLAM-LLM code"), its 8 accumulated batches of 4 one batch of 32. Weights of the LLaMA are
bfloat16, split over all devices, and stay in their folder: a run names it with its hash. A step takes 2.4 GiB a chip on 16 of TPU v5e and
5.6 GiB on 8 of v6e (the README says how that was found), so that the batch may grow.

  audiojax data pack /data/AudioCaps --out packed --sample-rate 48000
  audiojax train --config configs/diffusion_link/audiocaps.py --workdir runs/audiocaps --config.data.dir=packed/audiocaps
  audiojax train --config configs/diffusion_link/audiocaps.py:ridge ...    # a rival
  audiojax train --config configs/diffusion_link/audiocaps.py:decoder --config.init.llama=/models/Llama-2-7b-hf ...   # both phases
"""

from ml_collections import ConfigDict

from audiojax.configs.diffusion_link import soundworld

CLIPS, CAPTIONS = 49_274, 1


def get_config(arg: str = "diffusion") -> ConfigDict:
    """arg: diffusion | text_only | one_step | none | mean_shift | ridge | memory, and after a comma decoder for both phases."""
    words = arg.split(",")
    forms = [word for word in words if word in soundworld.TRAINED + soundworld.FITTED]
    if len(forms) > 1 or set(words) - {*forms, "decoder"}:
        raise ValueError(f"argument '{arg}': takes one of {', '.join(soundworld.TRAINED + soundworld.FITTED)}, and decoder")
    config = soundworld.get_config(f"base,{arg}")
    config.data.source = "tfds"
    config.data.sample_rate = 48_000
    config.data.seconds = 10.0
    config.data.max_tokens = 77
    config.data.clean_captions = False
    config.data.captions = CAPTIONS  # of each training clip
    config.data.statistics_examples = CLIPS
    config.data.in_memory = False
    config.data.workers = 8
    config.init.clap = "laion/clap-htsat-unfused"

    config.model.clap_preset = "htsat-unfused"
    config.model.front_end = "rand_trunc"
    config.model.network.width = 1_024
    config.bridge.scale = 5.0
    config.loss.time_weight = "uniform"

    everything = {"pattern": ".*", "name": "adam", "lr": 8e-5, "b2": 0.99, "clip_norm": 1.0}
    config.link.update({"batch_size": 256, "steps": 100_000 if config.bridge.form in soundworld.TRAINED else 0})
    config.link.groups = ConfigDict({"everything": everything})

    config.init.llama = "meta-llama/Llama-2-7b-hf"
    config.model.llama_preset = "llama-2-7b"
    config.model.llama_vocabulary = 32_000
    config.model.llama_dtype = "bfloat16"
    config.model.llama_stored = "folder"
    config.model.remat = True
    config.model.scan = True
    config.model.end = 2  # </s>
    config.model.prefix.update({"tokens": 10, "hidden": 2_048})
    config.model.lora.update({"rank": 8, "alpha": 32.0, "dropout": 0.05, "targets": ("query", "value")})
    config.caption.prompt = "Describe the audio you hear."
    config.caption.max_tokens = 64
    adamw = {"pattern": ".*", "name": "adamw", "lr": 1e-5, "schedule": "linear", "warmup": 125, "clip_norm": 1.0}
    config.decoder.update({"batch_size": 32, "steps": 5_000})
    config.decoder.groups = ConfigDict({"everything": adamw})
    if "decoder" in words:
        config.parallel = "mesh"
        config.mesh = (1, -1, 2)
    config.train.eval_every = 5_000
    config.train.save_every = 5_000
    config.train.log_every = 100
    return config
