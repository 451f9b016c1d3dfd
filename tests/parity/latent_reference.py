"""diffusers' AutoencoderKL and U-Nets and transformers' SpeechT5HifiGan at the sizes of our configs, and their config.json."""

import torch
from diffusers import AudioLDM2UNet2DConditionModel, AutoencoderKL, UNet2DConditionModel
from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

from tests.models.latent_facts import hifigan_facts, unet_facts, vae_facts
from tests.parity.panns_twin import load


def reference_vae(config, state):
    """A torch model with the weights of `state`."""
    facts = vae_facts(config)
    del facts["_class_name"]
    return load(AutoencoderKL(**facts), state).eval()


def reference_unet(config, state):
    """A torch model with the weights of `state`, and with the heads that the config asks for."""
    facts = unet_facts(config)
    cross = facts.pop("_class_name") == "AudioLDM2UNet2DConditionModel"
    model = load((AudioLDM2UNet2DConditionModel if cross else UNet2DConditionModel)(**facts), state)
    for module in model.modules():
        if hasattr(module, "to_q"):
            module.heads = config.heads_of(module.to_q.in_features)
            module.scale = (module.to_q.out_features // module.heads) ** -0.5
    return model.eval()


def reference_hifigan(config, state):
    """A torch model with the weights of `state`."""
    facts = hifigan_facts(config)
    del facts["model_type"]
    model = SpeechT5HifiGan(SpeechT5HifiGanConfig(**facts))
    unused = {} if config.normalize else {"mean": model.mean.numpy(), "scale": model.scale.numpy()}
    return load(model, state | unused).eval()


def vae_outputs(model, mel, latents):
    """Means, log variances and the decoded spectrograms of torch's autoencoder, in our layout."""
    with torch.no_grad():
        posterior = model.encode(torch.tensor(mel)[:, None]).latent_dist
        decoded = model.decode(torch.tensor(latents.transpose(0, 3, 1, 2))).sample
    mean, logvar = (x.numpy().transpose(0, 2, 3, 1) for x in (posterior.mean, posterior.logvar))
    return {"mean": mean, "logvar": logvar, "decoded": decoded[:, 0].numpy()}


def unet_outputs(model, latents, timesteps, class_labels, contexts):
    """The predicted noise of torch's U-Net, in our layout."""
    arguments = {} if class_labels is None else {"class_labels": torch.tensor(class_labels)}
    for suffix, (tokens, mask) in zip(("", "_1"), contexts, strict=False):
        arguments[f"encoder_hidden_states{suffix}"] = torch.tensor(tokens)
        arguments[f"encoder_attention_mask{suffix}"] = torch.tensor(mask)
    arguments.setdefault("encoder_hidden_states", None)
    with torch.no_grad():
        out = model(torch.tensor(latents.transpose(0, 3, 1, 2)), torch.tensor(timesteps), **arguments).sample
    return out.numpy().transpose(0, 2, 3, 1)


def waveforms(model, mel):
    """What torch's vocoder makes of spectrograms."""
    with torch.no_grad():
        return model(torch.tensor(mel)).numpy()
