"""Worker of the bench of towers: our modules, with weights from one NumPy generator; the network is compiled, never initialised."""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from audiojax.audio import spectral
from audiojax.bench.harness import serve
from audiojax.encoders import bert, clap, panns, t5
from audiojax.models import caption_decoder, hifigan, llama, text_denoiser, unet, vae
from audiojax.models.decoding import Decoding
from audiojax.models.llama_generation import generate
from audiojax.nn.attention import KeysValues
from audiojax.nn.conv import image_options
from audiojax.papers.re_audioldm.inference import Condition, Rows, sample_on
from audiojax.papers.re_audioldm.settings import Sampling
from audiojax.schedule import make_schedule
from audiojax.typing import Array


@dataclass(frozen=True)
class ClipConfig:
    """The networks that make a clip from noise."""

    unet: unet.UNetConfig
    vae: vae.VaeConfig
    vocoder: hifigan.HifiGanConfig


CLIPS = {
    "audioldm-s": ClipConfig(unet.PRESETS["audioldm-s"], vae.PRESETS["audioldm"], hifigan.PRESETS["audioldm"]),
    "tiny": ClipConfig(replace(unet.PRESETS["tiny"], contexts=(None,)), vae.PRESETS["tiny"], hifigan.PRESETS["tiny"]),
}


class Built(NamedTuple):
    """A case ready to run.

    Attributes:
      function: of `inputs`, jitted, or a chain of such functions; returns one array.
      inputs: weights among them.
      items: that a call handles.
      costs: (times, function, inputs) of what a call does; a compiler counts the body of a loop once.
    """

    function: Callable[..., Array]
    inputs: tuple[Any, ...]
    items: int
    costs: tuple[tuple[int, Callable[..., Any], tuple[Any, ...]], ...]


def fill(rng: np.random.Generator, shapes: Any) -> Any:
    """Float32 weights of these shapes on the device: kernels keep the size of what they multiply, biases are small, variances positive."""

    def leaf(path: Any, shape: jax.ShapeDtypeStruct) -> Array:
        draw, kind = rng.standard_normal(shape.shape, np.float32), path[-1].key
        if kind == "kernel":
            draw *= np.prod(shape.shape[:-1]) ** -0.5
        elif kind in ("scale", "var"):
            draw = 1 + 0.1 * np.abs(draw)
        else:
            draw *= 0.1
        return jnp.asarray(draw)

    return jax.tree_util.tree_map_with_path(leaf, shapes)


def apply(
    rng: np.random.Generator,
    module: nn.Module,
    inputs: tuple[Any, ...],
    pick: Callable[[Any], Array],
    compiler: Mapping[str, str] | None = None,
    **options: Any,
) -> Built:
    """A module's forward pass, of which `pick` chooses one output; items are rows of the first input, `compiler` are options of its jit."""
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), *inputs, train=False, **options))
    function = jax.jit(lambda variables, *inputs: pick(module.apply(variables, *inputs, train=False, **options)), compiler_options=compiler)
    everything = (fill(rng, shapes), *inputs)
    return Built(function, everything, len(inputs[0]), ((1, function, everything),))


def normal(rng: np.random.Generator, *shape: int) -> Array:
    """Unit normal numbers."""
    return jnp.asarray(rng.standard_normal(shape, np.float32))


def ids(rng: np.random.Generator, shape: tuple[int, ...], vocab_size: int) -> tuple[Array, Array]:
    """Token ids without padding, and their mask."""
    return jnp.asarray(rng.integers(2, vocab_size, shape), jnp.int32), jnp.ones(shape, bool)


def make_unet(rng, config, shape):
    inputs = (normal(rng, *shape), jnp.full(shape[0], 500, jnp.int32), normal(rng, shape[0], config.class_width))
    return apply(rng, unet.UNet(config), inputs, lambda out: out)


def make_train_step(rng, config, shape):
    module = unet.UNet(config)
    batch = (normal(rng, *shape), jnp.full(shape[0], 500, jnp.int32), normal(rng, shape[0], config.class_width), normal(rng, *shape))
    params = fill(rng, jax.eval_shape(lambda: module.init(jax.random.key(0), *batch[:3], train=True)))
    optimizer = optax.adamw(1e-4)

    @partial(jax.jit, donate_argnums=0)
    def step(state, latents, timesteps, labels, noise):
        params, moments = state

        def loss(params):
            error = jnp.square(module.apply(params, latents, timesteps, labels, train=True) - noise).mean(axis=(1, 2, 3))
            return error.mean(), error

        gradients, error = jax.grad(loss, has_aux=True)(params)
        updates, moments = optimizer.update(gradients, moments, params)
        return (optax.apply_updates(params, updates), moments), error

    begin, states = jax.jit(lambda params: (params, optimizer.init(params)), donate_argnums=0), []

    def function(params, *batch):
        state, error = step(states.pop() if states else begin(params), *batch)  # the state is given away, as in training
        states.append(state)
        return error

    return Built(function, (params, *batch), shape[0], ((1, step, (jax.eval_shape(begin, params), *batch)),))


def make_vae_decode(rng, config, shape):
    return apply(rng, vae.AutoencoderKl(config), (normal(rng, *shape),), lambda out: out, image_options(), method="decode")


def make_hifigan(rng, config, shape):
    return apply(rng, hifigan.HifiGan(config), (normal(rng, *shape),), lambda out: out)


def make_generate(rng, config, shape):
    clips, frames, steps = shape
    latents = (clips, frames, config.vocoder.mels // config.vae.stride, config.vae.latent_channels)
    denoise = make_unet(rng, config.unet, (2 * clips, *latents[1:]))
    decode = make_vae_decode(rng, config.vae, latents)
    speak = make_hifigan(rng, config.vocoder, (clips, frames * config.vae.stride, config.vocoder.mels))
    module, mesh, schedule = unet.UNet(config.unet), Mesh(np.array(jax.devices()[:1]), ("data",)), make_schedule("scaled_linear", 1000)
    keys = jax.vmap(jax.random.key)(np.arange(clips, dtype=np.uint32))
    conditions = (Condition(normal(rng, clips, config.unet.class_width)) for _ in range(2))
    rows, sampling = Rows(normal(rng, *latents), keys, *conditions), Sampling(steps=steps, eta=0.0)
    parts = {"unet": denoise, "vae": decode, "vocoder": speak}

    def function(weights):
        variables = {name: {"params": params} for name, params in weights["params"].items()}
        made = sample_on(mesh, module, sampling, variables["unet"], schedule, rows, jnp.float32(3.5))
        return speak.function(variables["vocoder"], decode.function(variables["vae"], made))

    weights = {"params": {name: part.inputs[0]["params"] for name, part in parts.items()}}
    costs = tuple((times, *part.costs[0][1:]) for times, part in ((steps, denoise), (1, decode), (1, speak)))
    return Built(function, (weights,), clips, costs)


def make_clap_audio(rng, config, shape):
    return apply(rng, clap.ClapAudio(config), (normal(rng, shape[0], 1, *shape[1:]),), lambda out: out.features)


def make_clap_text(rng, config, shape):
    return apply(rng, clap.ClapText(config), ids(rng, shape, config.text.vocab_size), lambda out: out.features)


def make_bert(rng, config, shape):
    return apply(rng, bert.BertEncoder(config), ids(rng, shape, config.vocab_size), lambda out: out.tokens)


def make_t5(rng, config, shape):
    return apply(rng, t5.T5Encoder(config), ids(rng, shape, config.vocab_size), lambda out: out)


def make_cnn14(rng, config, shape):
    return apply(rng, panns.Panns(config), (normal(rng, *shape),), lambda out: out.clipwise, image_options())


def make_log_mel(rng, config, shape):
    spectral.filter_bank(config)  # imports librosa, which is no part of the first call
    function = jax.jit(partial(spectral.log_mel, config=config))
    waveform = 0.1 * normal(rng, *shape)
    return Built(function, (waveform,), shape[0], ((shape[0], function, (waveform[:1],)),))


def make_llama(rng, config, shape):
    rows, prompt, new = shape
    module, (tokens, mask) = llama.Llama(config), ids(rng, (rows, prompt), config.vocab_size)
    variables = fill(rng, jax.eval_shape(lambda: module.init(jax.random.key(0), tokens, mask, train=False)))
    decoding = Decoding(max_new_tokens=new)

    def prefill(variables, tokens, mask):
        embeds = module.apply(variables, tokens, method="embed")
        return module.apply(variables, embeds, mask, new - 1, method="prefill")

    _, cache = jax.eval_shape(prefill, variables, tokens, mask)
    step = jax.jit(partial(module.apply, method="step"))
    costs = ((1, jax.jit(prefill), (variables, tokens, mask)), (new - 1, step, (variables, tokens[:, 0], cache, jnp.int32(prompt))))
    function = jax.jit(lambda variables, *inputs: generate(module, variables, *inputs, decoding).tokens)
    return Built(function, (variables, tokens, mask), rows * new, costs)


def make_text_denoiser(rng, config, shape):
    rows, words, tokens = shape
    module, part = text_denoiser.TextDenoiser(config), (rows, config.heads, tokens, config.width // config.heads)
    memory = tuple(KeysValues(normal(rng, *part), normal(rng, *part)) for _ in range(config.layers))
    x_t, x0_prev = (normal(rng, rows, words, config.latent) for _ in range(2))
    given, mask = (x_t, x0_prev, jnp.full(rows, 500, jnp.int32)), jnp.ones((rows, tokens), bool)
    sound = jax.ShapeDtypeStruct((rows, tokens, config.context), jnp.float32)
    shapes = jax.eval_shape(lambda sound: module.init(jax.random.key(0), *given, sound, mask, train=False), sound)
    function, inputs = jax.jit(partial(module.apply, train=False)), (fill(rng, shapes), *given, memory, mask)
    return Built(function, inputs, rows, ((1, function, inputs),))


def make_caption_decoder(rng, config, shape):
    rows, tokens, words = shape
    module, decoding = caption_decoder.CaptionDecoder(config), Decoding(max_new_tokens=words)
    sound, mask = normal(rng, rows, tokens, config.context), jnp.ones((rows, tokens), bool)
    begin = jnp.zeros((rows, 1), jnp.int32)
    variables = fill(rng, jax.eval_shape(lambda: module.init(jax.random.key(0), begin, begin == 0, sound, mask, train=False)))
    project, step = (jax.jit(partial(module.apply, method=method)) for method in ("memory", "step"))
    memory = jax.eval_shape(project, variables, sound)
    once, every = (variables, sound), (variables, begin[:, 0], module.empty_cache(rows, words), jnp.int32(0), memory, mask)
    function = jax.jit(lambda *inputs: caption_decoder.generate(module, *inputs, decoding, begin_id=0).tokens)
    return Built(function, (variables, sound, mask), rows * words, ((1, project, once), (words, step, every)))


NETWORKS: Mapping[str, tuple[Callable[..., Built], Mapping[str, Any]]] = {
    "generate": (make_generate, CLIPS),
    "unet": (make_unet, unet.PRESETS),
    "train_step": (make_train_step, unet.PRESETS),
    "vae_decode": (make_vae_decode, vae.PRESETS),
    "hifigan": (make_hifigan, hifigan.PRESETS),
    "clap_audio": (make_clap_audio, clap.PRESETS),
    "clap_text": (make_clap_text, clap.PRESETS),
    "bert": (make_bert, bert.PRESETS),
    "t5": (make_t5, t5.PRESETS),
    "cnn14": (make_cnn14, panns.PRESETS["cnn14"]),
    "log_mel": (make_log_mel, spectral.PRESETS),
    "text_denoiser": (make_text_denoiser, text_denoiser.PRESETS),
    "caption_decoder": (make_caption_decoder, caption_decoder.PRESETS),
    "llama": (make_llama, llama.PRESETS),
}


def build(spec: dict[str, Any]) -> tuple[Any, Built]:
    """(config, network) of a spec, see `towers.run`."""
    make, presets = NETWORKS[spec["network"]]
    changes = {name: tuple(value) if isinstance(value, list) else value for name, value in spec["changes"].items()}
    config = replace(presets[spec["preset"]], **changes)
    return config, make(np.random.default_rng(0), config, tuple(spec["shape"]))


def operations(function: Callable[..., Any], inputs: tuple[Any, ...]) -> float:
    """Floating-point operations of a call, as XLA counts them before it optimises; 0 where the platform does not tell."""
    return (function.lower(*inputs).cost_analysis() or {}).get("flops", 0.0)


@jax.default_matmul_precision("highest")  # a GPU would take TF32 by itself
def prepare(spec: dict[str, Any]):
    """Builds the network of a spec and makes the first call, which compiles."""
    config, built = build(spec)
    jax.block_until_ready(built.inputs)

    def call():
        with jax.default_matmul_precision("highest"):  # of a chain, whose parts look for what was compiled
            return jax.block_until_ready(compiled(*built.inputs))

    start = time.perf_counter()
    compiled = built.function.lower(*built.inputs).compile() if hasattr(built.function, "lower") else built.function
    result = call()
    first_seconds = time.perf_counter() - start
    flops = sum(times * operations(function, inputs) for times, function, inputs in built.costs)
    (device,) = result.devices()
    facts = {"first_seconds": first_seconds, "platform": device.platform, "device": device.device_kind, "items": built.items}
    facts |= {"flops": flops, "config": asdict(config), "shape": result.shape, "finite": bool(jnp.all(jnp.isfinite(result)))}
    return call, facts


if __name__ == "__main__":
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # torch's worker needs room on the same GPU
    serve(prepare)
