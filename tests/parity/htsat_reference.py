"""transformers' ClapAudioModel at the sizes of an `HtsatConfig`."""

from transformers import ClapAudioConfig, ClapAudioModel

from tests.parity.panns_twin import load


def reference_config(config):
    """transformers' ClapAudioConfig of an `HtsatConfig`."""
    return ClapAudioConfig(
        window_size=config.window,
        num_mel_bins=config.mels,
        spec_size=config.image,
        patch_size=config.patch,
        patch_stride=[config.patch, config.patch],
        hidden_size=config.width,
        depths=list(config.depths),
        num_attention_heads=list(config.heads),
        num_hidden_layers=len(config.depths),
        enable_fusion=config.fusion,
        patch_embeds_hidden_size=config.channels,
        aff_block_r=config.fusion_reduction,
        layer_norm_eps=config.norm_eps,
    )


def reference_htsat(config, state):
    """A torch model with the weights of `state`, without dropout; the index of the bias table stays its own."""
    model = ClapAudioModel(reference_config(config))
    buffers = {name: value.numpy() for name, value in model.audio_encoder.state_dict().items() if "index" in name}
    load(model.audio_encoder, state | buffers)
    return model.eval()
