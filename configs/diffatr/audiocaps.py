"""DiffATR at published size on AudioCaps: CNN14 at 32 kHz, BERT-base, D = 1024.

Paper: arXiv 2409.10025; its tables could not be read, so no score is promised here. Defaults are those of the baseline family
(XinhaoMei/audio-text_retrieval code) for phase 1 and of DiffusionRet's code for phase 2. 49,274 training clips with one caption each.

  audiojax data pack ~/data/audiocaps --out packed                       # the folder as it was downloaded -> packed/audiocaps
  audiojax train --config configs/diffatr/audiocaps.py --workdir runs/audiocaps --config.data.dir=packed/audiocaps
  audiojax train --config configs/diffatr/audiocaps.py --workdir runs/audiocaps --config.data.dir=packed/audiocaps \
      --config.init.audio=Cnn14_mAP=0.431.pth --config.init.text=google-bert/bert-base-uncased     # as the paper's family does
  audiojax train --config configs/diffatr/audiocaps.py:resnet38 ... --config.parallel=mesh --config.mesh="(1,8,1)"
"""

from ml_collections import ConfigDict

from audiojax.configs.diffatr import soundworld

CLIPS, CAPTIONS, BATCH = 49_274, 1, 32


def get_config(arg: str = "cnn14") -> ConfigDict:
    """arg: cnn14 | resnet38."""
    if arg not in ("cnn14", "resnet38"):
        raise ValueError(f"argument '{arg}': takes cnn14 or resnet38")
    config = soundworld.get_config("base")
    published(config, arg, clips=CLIPS, captions=CAPTIONS, batch=BATCH, seconds=10.0)
    return config


def published(config: ConfigDict, audio: str, *, clips: int, captions: int, batch: int, seconds: float) -> None:
    """Sets sizes, lengths and optimisers to the published ones: 50 epochs of phase 1, 10 of phase 2."""
    config.data.source = "tfds"
    config.data.sample_rate = 32_000
    config.data.seconds = seconds
    config.data.captions = captions  # of each training clip
    config.data.in_memory = False
    config.data.workers = 8  # processes: threads alone wait for each other at 32 kHz. Each prepares up to four batches
    config.data.threads = 2  # in each of them
    config.tokenizer.vocab_size = 30_522

    config.model.audio = audio
    config.model.audio_preset = "published_32k"
    config.model.text_preset = "base"
    config.model.audio_dropout = 0.2
    config.model.text_dropout = 0.2
    config.model.mel = "panns_32k"
    config.model.spec_augment = ConfigDict({"time_stripes": 2, "time_width": 64, "mel_stripes": 2, "mel_width": 8})
    config.model.joint_width = 1_024
    config.model.head_width = 2_048
    config.model.dtype = "bfloat16"
    config.loss.logit_scale = 100.0
    config.loss.mask_same_audio = False

    epoch = clips * captions // batch
    encoders = {"pattern": ".*", "name": "adam", "lr": 5e-5, "schedule": "step", "step_every": 20 * epoch, "clip_norm": 2.0}
    config.contrastive = ConfigDict({"batch_size": batch, "trainable": ".*", "steps": 50 * epoch})
    config.contrastive.groups = ConfigDict({"encoders": encoders})
    config.hybrid.batch_size = batch
    config.hybrid.steps = 10 * epoch
    config.hybrid.groups.denoisers.lr = 1e-4
    config.hybrid.groups.encoders = ConfigDict(dict(encoders, lr=5e-6, schedule="constant"))
    config.train.eval_every = epoch
    config.train.save_every = max(1, epoch // 4)
    config.train.log_every = 50
