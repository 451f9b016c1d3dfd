"""Re-AudioLDM at published size on AudioCaps, clips of 10.24 s: autoencoder and vocoder of 55,376,873 and 55,264,897 parameters, and a
U-Net of 351,465,992 (128 wide) or 771,275,528 (large: 192 wide; the paper's 196 is no multiple of the 32 groups of its norms).

Papers: arXiv 2309.08051, 2301.12503, 2010.05646. Optimisers, rates and weights of the autoencoder are those of
"haoheliu/AudioLDM-training-finetuning code" (16k_64.yaml), those of the vocoder "jik876/hifi-gan code" and paper; steps of the autoencoder
and the vocoder's batch of 16 on one machine are choices of this project. 49,274 training clips.

  audiojax data pack /data/AudioCaps --out packed --sample-rate 16000
  audiojax train --config configs/re_audioldm/audiocaps.py:autoencoder --workdir runs/vae --config.data.dir=packed/audiocaps
  audiojax train --config configs/re_audioldm/audiocaps.py:vocoder --workdir runs/vocoder --config.data.dir=packed/audiocaps
  audiojax train --config configs/re_audioldm/audiocaps.py:diffusion --workdir runs/re_audioldm --config.data.dir=packed/audiocaps \
    --config.init.audiomae=/models/AudioMAE/pretrained.pth --config.init.vae=/models/audioldm-s-full-v2
"""

from ml_collections import ConfigDict

from audiojax.configs.re_audioldm import soundworld

CLIPS, CAPTIONS = 49_274, 1


def get_config(arg: str = "autoencoder") -> ConfigDict:
    """arg: the phase, autoencoder | vocoder | diffusion; and of the last after a comma a form as for SoundWorld, and large."""
    words = [word for word in arg.split(",") if word != "large"]
    if set(words) - {*soundworld.PHASES, *soundworld.FORMS} or not words or ("large" in arg and "diffusion" not in words):
        forms = ", ".join(soundworld.FORMS)
        raise ValueError(f"argument '{arg}': takes one of {', '.join(soundworld.PHASES)}; diffusion also one of {forms}, and large")
    config = soundworld.get_config(f"base,{','.join(words)}")
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
    if "retrieval" in config:
        publish_diffusion(config, 192 if "large" in arg else 128)
    return config


def publish_diffusion(config: ConfigDict, channels: int) -> None:
    """The published sizes of the phase "diffusion"."""
    config.data.statistics_examples = 2_048
    config.init.update({"vae": "cvssp/audioldm-s-full-v2", "unet": "", "clap": "laion/clap-htsat-unfused"})
    config.init.update({"audiomae": "AudioMAE/pretrained.pth", "t5": "google/flan-t5-large"})
    config.model.clap_preset = "htsat-unfused"
    config.model.clap_front_end = "rand_trunc"
    config.model.audiomae_preset = "vit-base"
    config.model.t5_preset = "flan-t5-large"
    config.model.t5_vocabulary = 32_128
    config.model.t5_max_tokens = 50
    config.data.max_tokens = 77  # for CLAP
    config.model.joint_width = 768
    config.model.unet.update({"channels": channels, "multipliers": (1, 2, 3, 5), "blocks": 2, "attended": (False, True, True, True)})
    config.model.unet.update({"head_width": 32, "groups": 32})
    adamw = {"pattern": ".*", "name": "adamw", "lr": 1e-4, "warmup": 2_000, "weight_decay": 0.01, "no_decay": "$^"}
    config.diffusion.update({"batch_size": 16, "steps": 800_000})
    config.diffusion.groups = ConfigDict({"everything": adamw})
    config.train.eval_batch_size = 16
