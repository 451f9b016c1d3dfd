"""Co-attention retrieval at published size on AudioCaps: CLAP's HTSAT and RoBERTa-base, both fine-tuned, D = 512.

Paper: arXiv 2412.20914; its tables could not be read, so no score is promised here. The unit is MCAN's small network; learning rates,
batch and epochs are choices of this project. 49,274 training clips with one caption each.

  audiojax data pack /data/AudioCaps --out packed --sample-rate 48000
  audiojax train --config configs/coattention/audiocaps.py --workdir runs/audiocaps --config.data.dir=packed/audiocaps
  audiojax train --config configs/coattention/audiocaps.py:stack ... --config.parallel=mesh --config.mesh="(1,8,1)"
"""

from ml_collections import ConfigDict

from audiojax.configs.coattention import soundworld

CLIPS, CAPTIONS = 49_274, 1


def get_config(arg: str = "iterate") -> ConfigDict:
    """arg: single | stack | iterate | dual."""
    if arg not in soundworld.CASCADES:
        raise ValueError(f"argument '{arg}': takes one of {', '.join(soundworld.CASCADES)}")
    config = soundworld.get_config(f"base,{arg}")
    published(config, arg, clips=CLIPS, captions=CAPTIONS, windows=1)
    return config


def published(config: ConfigDict, cascade: str, *, clips: int, captions: int, windows: int) -> None:
    """Sets sizes, lengths and optimisers: 20 epochs of each phase, 40 of the dual encoder alone."""
    config.data.source = "tfds"
    config.data.sample_rate = 48_000
    config.data.seconds = 10.0
    config.data.windows = windows
    config.data.max_tokens = 64
    config.data.clean_captions = False
    config.data.captions = captions  # of each training clip
    config.data.states = False
    config.data.in_memory = False
    config.data.workers = 8
    config.init.audio = "laion/clap-htsat-unfused"
    config.init.text = "FacebookAI/roberta-base"

    config.model.audio_preset = "htsat-tiny"
    config.model.front_end = "rand_trunc"
    config.model.text_preset = "roberta-base"
    config.model.dtype = "bfloat16"
    config.model.cascade.update({"width": 512, "heads": 8, "hidden": 2_048, "dropout": 0.1})
    config.loss.mask_same_audio = False
    config.inference.top_m = 0

    batch = 32
    epoch = clips * captions // batch
    towers = {
        "pattern": "^towers/",
        "name": "adamw",
        "lr": 1e-5,
        "schedule": "cosine",
        "warmup": epoch,
        "clip_norm": 1.0,
        "weight_decay": 0.01,
    }
    heads = dict(towers, pattern=".*", lr=1e-4)
    config.contrastive.update({"batch_size": batch, "trainable": ".*", "steps": (40 if cascade == "dual" else 20) * epoch})
    config.pairs.update({"batch_size": batch, "trainable": "^(cascade|towers)/", "steps": 20 * epoch})
    for phase in (config.contrastive, config.pairs):
        phase.groups = ConfigDict({"towers": towers, "heads": heads})
    config.train.eval_every = epoch
    config.train.save_every = max(1, epoch // 4)
    config.train.log_every = 50
