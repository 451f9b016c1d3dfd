"""Re-AudioLDM's autoencoder and vocoder at published size on AudioCaps: 55,376,873 and 55,264,897 parameters, clips of 10.24 s.

Papers: arXiv 2309.08051, 2301.12503, 2010.05646. Optimisers, rates and weights of the autoencoder are those of
"haoheliu/AudioLDM-training-finetuning code" (16k_64.yaml), those of the vocoder "jik876/hifi-gan code" and paper; steps of the autoencoder
and the vocoder's batch of 16 on one machine are choices of this project. 49,274 training clips.

  audiojax data pack /data/AudioCaps --out packed --sample-rate 16000
  audiojax train --config configs/re_audioldm/audiocaps.py:autoencoder --workdir runs/vae --config.data.dir=packed/audiocaps
  audiojax train --config configs/re_audioldm/audiocaps.py:vocoder --workdir runs/vocoder --config.data.dir=packed/audiocaps
"""

from ml_collections import ConfigDict

from audiojax.configs.re_audioldm import soundworld

CLIPS, CAPTIONS = 49_274, 1


def get_config(arg: str = "autoencoder") -> ConfigDict:
    """arg: the phase, autoencoder | vocoder."""
    if arg not in soundworld.PHASES:
        raise ValueError(f"argument '{arg}': takes one of {', '.join(soundworld.PHASES)}")
    config = soundworld.get_config(f"base,{arg}")
    config.data.source = "tfds"
    config.data.seconds = 10.24
    config.data.captions = CAPTIONS  # of each training clip
    config.data.in_memory = False
    config.data.workers = 8

    config.model.vae_preset = "audioldm"
    config.model.vocoder_preset = "audioldm"
    config.model.patch_preset = "audioldm"
    config.model.waveform_preset = "hifigan"
    config.stretch.autoencoder = 163_840
    config.loss.autoencoder.update({"kl": 1_000.0, "start": 50_001})

    adam = {"name": "adam", "lr": 8e-6, "b1": 0.5, "b2": 0.9}
    config.autoencoder.update({"batch_size": 8, "steps": 800_000})  # published: 4, which 8 devices do not divide
    config.autoencoder.groups = ConfigDict({"vae": {"pattern": "^(vae|loss)/", **adam}})
    config.autoencoder.groups.discriminator = ConfigDict({"pattern": "^discriminator/", **adam})

    batch = 16
    epoch = CLIPS // batch
    adamw = {"name": "adamw", "lr": 2e-4, "b1": 0.8, "b2": 0.99, "weight_decay": 0.01, "no_decay": "$^"}
    adamw |= {"schedule": "step", "step_every": epoch, "step_factor": 0.999}
    config.vocoder.update({"batch_size": batch, "steps": 800_000})
    config.vocoder.groups = ConfigDict({"vocoder": {"pattern": "^vocoder/", **adamw}})
    config.vocoder.groups.discriminators = ConfigDict({"pattern": "^discriminators/", **adamw})
    config.train.eval_every = 5_000
    config.train.save_every = 2_500
    config.train.log_every = 100
    return config
