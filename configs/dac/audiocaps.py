"""DAC at published size on AudioCaps: BEATs iter3+ and bert-base-uncased frozen, a denoiser of 12 layers, N = 32.

Paper: arXiv 2409.09401; its tables could not be read, so no score is promised here. Sizes, schedule and optimiser are LaDiC's where DAC's
are not known (wangyuchi369/LaDiC), the moving average is DAC-RLD's. 49,274 training clips with one caption each, 60 epochs.

  audiojax data pack /data/AudioCaps --out packed --sample-rate 16000
  audiojax train --config configs/dac/audiocaps.py --workdir runs/audiocaps --config.data.dir=packed/audiocaps
  audiojax train --config configs/dac/audiocaps.py:ladic ...   # the ancestor's width of 1536
  audiojax train --config configs/dac/audiocaps.py:rival ...   # word by word, as many updates
"""

from ml_collections import ConfigDict

from audiojax.configs.dac import soundworld

CLIPS, CAPTIONS = 49_274, 1
MODELS = ("base", "ladic", "rival")


def get_config(arg: str = "base") -> ConfigDict:
    """arg: base | ladic | rival."""
    return published(arg, clips=CLIPS, captions=CAPTIONS, windows=1)


def published(arg: str, *, clips: int, captions: int, windows: int) -> ConfigDict:
    """The config for a data set of so many clips: 60 epochs of (clip, caption) pairs, batch 64."""
    if arg not in MODELS:
        raise ValueError(f"argument '{arg}': takes one of {', '.join(MODELS)}")
    config = soundworld.get_config("base,rival" if arg == "rival" else "base")
    config.data.source = "tfds"
    config.data.seconds = 10.0
    config.data.windows = windows
    config.data.max_tokens = 32
    config.data.captions = captions  # of each training clip
    config.data.statistics_examples = 20_000
    config.data.in_memory = False
    config.data.workers = 8
    config.init.audio = "BEATs_iter3_plus_AS2M_finetuned_on_AS2M_cpt1.pt"
    config.init.text = "google-bert/bert-base-uncased"

    config.model.audio_preset = "base"
    config.model.text_preset = "base"
    config.model.filler = 1_012  # "."
    config.model.begin = 101
    config.model.end = 102
    config.model.denoiser_preset = "ladic" if arg == "ladic" else "base"
    config.model.decoder_preset = "base"
    config.model.dropout = 0.1
    config.model.dtype = "bfloat16"
    config.noise.beta_start, config.noise.beta_end = 1e-4, 0.02
    config.inference.ending = "."

    batch = 64
    epoch = clips * captions // batch
    everything = {"pattern": ".*", "name": "adamw", "lr": 5e-5, "schedule": "linear", "warmup": 0.1, "clip_norm": 1.0, "weight_decay": 0.01}
    config.head.update({"batch_size": batch, "steps": 2 * epoch})
    config.diffusion.update({"batch_size": batch, "steps": 60 * epoch})
    config.autoregressive.update({"batch_size": batch, "steps": 60 * epoch})
    for phase in (config.head, config.diffusion, config.autoregressive):
        phase.groups = ConfigDict({"everything": everything})
    config.head.groups.everything.lr = 1e-3
    config.train.eval_every = epoch
    config.train.save_every = max(1, epoch // 4)
    config.train.log_every = 50
    config.train.ema_decay = 0.9999
    return config
