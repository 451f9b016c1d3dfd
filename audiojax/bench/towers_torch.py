"""Worker of the bench of towers: the public torch networks at the sizes of ours, with their own random weights. Imports no jax.

CNN14 and the log-mel, which no library of the parity extra has, are written here from their layer tables.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import diffusers
import librosa
import torch
import transformers
from torch import nn
from torch.nn import functional

from audiojax.bench.harness import serve
from audiojax.bench.torch_device import describe, device_for, finished

Config = dict[str, Any]
Shape = tuple[int, ...]


class Built(NamedTuple):
    """A case ready to run.

    Attributes:
      module: in float32, on the CPU.
      inputs: of `output`, beside the module.
      output: (module, *inputs) -> the result in our layout.
      items: that a call handles.
    """

    module: nn.Module
    inputs: tuple[torch.Tensor, ...]
    output: Callable[..., torch.Tensor]
    items: int


class Cnn14(nn.Module):
    """CNN14 with its tagging head over [b, 1, frames, mels]."""

    def __init__(self, mels: int, channels: list[int], classes: int):
        super().__init__()
        self.norm = nn.BatchNorm2d(mels)
        self.blocks = nn.ModuleList()
        for before, after in zip([1, *channels], channels, strict=False):
            layers = []
            for features in (before, after):
                layers += [nn.Conv2d(features, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
            self.blocks.append(nn.Sequential(*layers))
        self.embed, self.tag = nn.Linear(channels[-1], channels[-1]), nn.Linear(channels[-1], classes)

    def forward(self, mel: torch.Tensor) -> torch.Tensor:
        """Probabilities of the tags."""
        x = self.norm(mel.transpose(1, 3)).transpose(1, 3)
        for i, block in enumerate(self.blocks):
            x = block(x)
            x = x if i == len(self.blocks) - 1 else functional.avg_pool2d(x, 2)
        frames = x.mean(dim=3)  # [b, channels, frames]
        clip = frames.amax(dim=2) + frames.mean(dim=2)
        return torch.sigmoid(self.tag(functional.relu(self.embed(clip))))


class LogMel(nn.Module):
    """Log-mels in dB of waveforms [b, n] by torch.stft and a filter bank."""

    def __init__(self, c: Config):
        super().__init__()
        edges = {"sr": c["sample_rate"], "n_fft": c["n_fft"], "n_mels": c["n_mels"], "fmin": c["f_min"], "fmax": c["f_max"]}
        self.n_fft, self.hop, self.floor = c["n_fft"], c["hop"], c["floor"]
        self.register_buffer("window", torch.hann_window(c["win_length"]))
        self.register_buffer("bank", torch.from_numpy(librosa.filters.mel(**edges)))

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        """[b, frames, mels]."""
        spectrum = torch.stft(waveform, self.n_fft, self.hop, window=self.window, pad_mode="reflect", return_complex=True)
        mel = self.bank @ (spectrum.real.square() + spectrum.imag.square())
        return 10 * torch.log10(mel.clamp(min=self.floor)).transpose(1, 2)


class Denoiser(nn.Module):
    """The text denoiser around BERT with cross-attention; the first call keeps the keys and values of the sound for all others."""

    def __init__(self, c: Config):
        super().__init__()
        self.project_in, self.project_out = nn.Linear(2 * c["latent"], c["width"]), nn.Linear(c["width"], c["latent"])
        self.register_buffer("level", torch.randn(c["levels"], c["width"]))
        self.bert = transformers.BertModel(with_cross_attention(c, 1), add_pooling_layer=False)
        self.memory = transformers.DynamicCache()

    def forward(self, x_t: torch.Tensor, x0_prev: torch.Tensor, t: torch.Tensor, sound: torch.Tensor) -> torch.Tensor:
        """The prediction, [b, n, latent]; `sound` is [keys or values, layers, b, heads, m, features of a head]."""
        if not self.memory.layers:
            for layer, (keys, values) in enumerate(zip(*sound, strict=True)):
                self.memory.update(keys, values, layer)
        x = self.project_in(torch.cat([x_t, x0_prev], dim=-1)) + self.level[t][:, None]
        every = torch.zeros(len(x), 1, x.shape[1], x.shape[1], dtype=x.dtype, device=x.device)  # without a mask it would be causal
        cache = transformers.EncoderDecoderCache(transformers.DynamicCache(), self.memory)
        states = self.bert(inputs_embeds=x, attention_mask=every, encoder_hidden_states=x, past_key_values=cache)
        return self.project_out(states.last_hidden_state)


def with_cross_attention(c: Config, vocab_size: int) -> transformers.BertConfig:
    """BERT's config at the sizes of the text denoiser or its rival, which read a sound of their own width."""
    return transformers.BertConfig(
        vocab_size=vocab_size,
        hidden_size=c["width"],
        num_hidden_layers=c["layers"],
        num_attention_heads=c["heads"],
        intermediate_size=c["hidden"],
        max_position_embeddings=c["max_positions"],
        type_vocab_size=1,
        is_decoder=True,
        add_cross_attention=True,
        eos_token_id=None,
        pad_token_id=0,
    )


def ids(shape: Shape, vocab_size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids without padding, and their mask."""
    return torch.randint(2, vocab_size, shape), torch.ones(shape, dtype=torch.int64)


def make_unet(c: Config, shape: Shape) -> Built:
    attended = c["attended"]
    model = diffusers.UNet2DConditionModel(
        attention_head_dim=[channels // c["head_width"] for channels in c["channels"]],  # diffusers takes it for the number of heads
        block_out_channels=c["channels"],
        cross_attention_dim=c["channels"],
        down_block_types=["CrossAttnDownBlock2D" if level else "DownBlock2D" for level in attended],
        up_block_types=["CrossAttnUpBlock2D" if level else "UpBlock2D" for level in attended[::-1]],
        in_channels=c["latent_channels"],
        out_channels=c["latent_channels"],
        layers_per_block=c["blocks"],
        norm_num_groups=c["groups"],
        class_embed_type="simple_projection",
        class_embeddings_concat=True,
        projection_class_embeddings_input_dim=c["class_width"],
    )
    b, t, f, channels = shape
    inputs = (torch.randn(b, channels, t, f), torch.full((b,), 500), torch.randn(b, c["class_width"]))

    def output(model, latents, timesteps, labels):
        return model(latents, timesteps, encoder_hidden_states=None, class_labels=labels).sample.permute(0, 2, 3, 1)

    return Built(model, inputs, output, b)


def make_train_step(c: Config, shape: Shape) -> Built:
    built, optimizer = make_unet(c, shape), []

    def output(model, latents, timesteps, labels, noise):
        if not optimizer:  # the parameters have their device and dtype by now
            optimizer.append(torch.optim.AdamW(model.parameters(), 1e-4, weight_decay=1e-4))
        optimizer[0].zero_grad()
        error = (built.output(model, latents, timesteps, labels) - noise).square().mean(dim=(1, 2, 3))
        error.mean().backward()
        optimizer[0].step()
        return error.detach()

    return Built(built.module, (*built.inputs, torch.randn(shape)), output, shape[0])


def make_vae_decode(c: Config, shape: Shape) -> Built:
    levels, (b, t, f, channels) = len(c["channels"]), shape
    model = diffusers.AutoencoderKL(
        in_channels=1,
        out_channels=1,
        block_out_channels=c["channels"],
        down_block_types=["DownEncoderBlock2D"] * levels,
        up_block_types=["UpDecoderBlock2D"] * levels,
        layers_per_block=c["blocks"],
        latent_channels=c["latent_channels"],
        norm_num_groups=c["groups"],
    )
    return Built(model, (torch.randn(b, channels, t, f),), lambda model, latents: model.decode(latents).sample[:, 0], b)


def make_hifigan(c: Config, shape: Shape) -> Built:
    sizes = transformers.SpeechT5HifiGanConfig(
        model_in_dim=c["mels"],
        upsample_initial_channel=c["channels"],
        upsample_rates=c["rates"],
        upsample_kernel_sizes=c["kernels"],
        resblock_kernel_sizes=c["block_kernels"],
        resblock_dilation_sizes=c["block_dilations"],
        leaky_relu_slope=c["slope"],
        normalize_before=c["normalize"],
    )
    return Built(transformers.SpeechT5HifiGan(sizes), (torch.randn(shape),), lambda model, mel: model(mel), shape[0])


def make_generate(c: Config, shape: Shape) -> Built:
    clips, frames, steps = shape
    latents = (clips, frames, c["vocoder"]["mels"] // 2 ** (len(c["vae"]["channels"]) - 1), c["vae"]["latent_channels"])
    denoise, decode = make_unet(c["unet"], (2 * clips, *latents[1:])), make_vae_decode(c["vae"], latents)
    speak = make_hifigan(c["vocoder"], (clips, 1, c["vocoder"]["mels"]))
    scheduler = diffusers.DDIMScheduler(
        beta_start=0.0015, beta_end=0.0195, beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False, steps_offset=1
    )
    scheduler.set_timesteps(steps)

    def output(model, x, labels):
        for t in scheduler.timesteps:
            noise = model["unet"](torch.cat([x, x]), t, encoder_hidden_states=None, class_labels=labels).sample
            null, wanted = noise.chunk(2)
            x = scheduler.step(null + 3.5 * (wanted - null), t, x).prev_sample
        return model["vocoder"](model["vae"].decode(x).sample[:, 0])

    model = nn.ModuleDict({"unet": denoise.module, "vae": decode.module, "vocoder": speak.module})
    return Built(model, (decode.inputs[0], denoise.inputs[2]), output, clips)


def make_clap_audio(c: Config, shape: Shape) -> Built:
    a, (b, *size) = c["audio"], shape
    sizes = transformers.ClapAudioConfig(
        window_size=a["window"],
        num_mel_bins=a["mels"],
        spec_size=a["image"],
        patch_size=a["patch"],
        patch_stride=[a["patch"], a["patch"]],
        hidden_size=a["channels"] * 2 ** (len(a["depths"]) - 1),
        depths=a["depths"],
        num_attention_heads=a["heads"],
        num_hidden_layers=len(a["depths"]),
        enable_fusion=False,
        patch_embeds_hidden_size=a["channels"],
        projection_dim=c["projection"],
        projection_hidden_act=c["activation"],
    )
    model = transformers.ClapAudioModelWithProjection(sizes)
    return Built(model, (torch.randn(b, 1, *size),), lambda model, mel: functional.normalize(model(mel).audio_embeds, dim=-1), b)


def make_clap_text(c: Config, shape: Shape) -> Built:
    t = c["text"]
    sizes = transformers.ClapTextConfig(
        vocab_size=t["vocab_size"],
        hidden_size=t["width"],
        num_hidden_layers=t["layers"],
        num_attention_heads=t["heads"],
        intermediate_size=t["hidden"],
        max_position_embeddings=t["max_positions"],
        type_vocab_size=t["segments"],
        pad_token_id=t["padding_id"],
        projection_dim=c["projection"],
        projection_hidden_act=c["activation"],
    )
    model = transformers.ClapTextModelWithProjection(sizes)

    def output(model, ids, mask):
        return functional.normalize(model(ids, attention_mask=mask).text_embeds, dim=-1)

    return Built(model, ids(shape, t["vocab_size"]), output, shape[0])


def make_bert(c: Config, shape: Shape) -> Built:
    sizes = transformers.BertConfig(
        vocab_size=c["vocab_size"],
        hidden_size=c["width"],
        num_hidden_layers=c["layers"],
        num_attention_heads=c["heads"],
        intermediate_size=c["hidden"],
        max_position_embeddings=c["max_positions"],
    )
    return Built(transformers.BertModel(sizes, add_pooling_layer=False), ids(shape, c["vocab_size"]), last_states, shape[0])


def make_t5(c: Config, shape: Shape) -> Built:
    sizes = transformers.T5Config(
        vocab_size=c["vocab_size"],
        d_model=c["width"],
        d_kv=c["head_width"],
        d_ff=c["hidden"],
        num_layers=c["layers"],
        num_heads=c["heads"],
        feed_forward_proj="gated-gelu",
    )
    return Built(transformers.T5EncoderModel(sizes), ids(shape, c["vocab_size"]), last_states, shape[0])


def last_states(model: nn.Module, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Last states of a text encoder."""
    return model(ids, attention_mask=mask).last_hidden_state


def make_cnn14(c: Config, shape: Shape) -> Built:
    model = Cnn14(c["mels"], c["channels"], c["classes"])
    return Built(model, (torch.randn(shape)[:, None],), lambda model, mel: model(mel), shape[0])


def make_log_mel(c: Config, shape: Shape) -> Built:
    return Built(LogMel(c), (0.1 * torch.randn(shape),), lambda model, waveform: model(waveform), shape[0])


def make_llama(c: Config, shape: Shape) -> Built:
    rows, prompt, new = shape
    sizes = transformers.LlamaConfig(
        vocab_size=c["vocab_size"],
        hidden_size=c["width"],
        intermediate_size=c["hidden"],
        num_hidden_layers=c["layers"],
        num_attention_heads=c["heads"],
        num_key_value_heads=c["kv_heads"],
        head_dim=c["head_width"],
        max_position_embeddings=c["max_positions"],
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=0,
    )

    def output(model, ids, mask):
        return model.generate(ids, attention_mask=mask, max_new_tokens=new, do_sample=False, use_cache=True)[:, prompt:]

    return Built(transformers.LlamaForCausalLM(sizes), ids((rows, prompt), c["vocab_size"]), output, rows * new)


def make_text_denoiser(c: Config, shape: Shape) -> Built:
    rows, words, tokens = shape
    x_t, x0_prev = torch.randn(2, rows, words, c["latent"])
    sound = torch.randn(2, c["layers"], rows, c["heads"], tokens, c["width"] // c["heads"])
    inputs = (x_t, x0_prev, torch.full((rows,), 500), sound)
    return Built(Denoiser(c), inputs, lambda model, *inputs: model(*inputs), rows)


def make_caption_decoder(c: Config, shape: Shape) -> Built:
    rows, tokens, words = shape
    begin = torch.zeros(rows, 1, dtype=torch.int64)

    def output(model, begin, sound):
        cache = transformers.EncoderDecoderCache(transformers.DynamicCache(), transformers.DynamicCache())
        rules = {"max_new_tokens": words, "do_sample": False, "use_cache": True, "attention_mask": torch.ones_like(begin)}
        return model.generate(begin, encoder_hidden_states=sound, past_key_values=cache, **rules)[:, 1:]

    model = transformers.BertLMHeadModel(with_cross_attention(c, c["vocab_size"]))
    return Built(model, (begin, torch.randn(rows, tokens, c["context"])), output, rows * words)


NETWORKS: dict[str, Callable[[Config, Shape], Built]] = {
    "generate": make_generate,
    "unet": make_unet,
    "train_step": make_train_step,
    "vae_decode": make_vae_decode,
    "hifigan": make_hifigan,
    "clap_audio": make_clap_audio,
    "clap_text": make_clap_text,
    "bert": make_bert,
    "t5": make_t5,
    "cnn14": make_cnn14,
    "log_mel": make_log_mel,
    "text_denoiser": make_text_denoiser,
    "caption_decoder": make_caption_decoder,
    "llama": make_llama,
}


def prepare(spec: dict[str, Any]):
    """Builds the network of a spec (see `towers.run`) in its form, and makes the first call."""
    trains = spec["network"] == "train_step"
    with torch.inference_mode(not trains):
        call, facts = _prepare(spec, trains)
    return torch.inference_mode(not trains)(call), facts


def _prepare(spec: dict[str, Any], trains: bool):
    torch.set_float32_matmul_precision("highest")  # as on our side
    torch.backends.cudnn.allow_tf32 = False  # convolutions have a switch of their own
    torch.manual_seed(0)
    form, device = spec["form"], device_for(spec["ours"]["platform"])
    built = NETWORKS[spec["network"]](spec["ours"]["config"], tuple(spec["shape"]))
    dtype = torch.bfloat16 if form == "bfloat16" else torch.float32
    module = built.module.train(trains).to(device, dtype)
    inputs = [x.to(device, dtype if x.is_floating_point() else x.dtype) for x in built.inputs]
    if form == "channels_last":
        module = module.to(memory_format=torch.channels_last)
        inputs = [x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x for x in inputs]
    function = partial(built.output, module)
    if form == "compile" and (trains or isinstance(module, nn.ModuleDict)):
        for part in (module,) if trains else (module["unet"], module["vae"].decoder, module["vocoder"]):
            part.compile()
    elif form == "compile":
        function = torch.compile(function)
    call = finished(partial(function, *inputs), device)
    start = time.perf_counter()
    result = call()
    first_seconds = time.perf_counter() - start
    facts = {"first_seconds": first_seconds, "items": built.items, "shape": list(result.shape)}
    return call, facts | {"finite": bool(torch.isfinite(result).all()), **describe(device)}


if __name__ == "__main__":
    serve(prepare)
