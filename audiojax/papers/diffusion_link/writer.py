"""The language model that captions an embedding: a head makes a soft prefix of it, and a frozen LLaMA with adapters goes on from there.

A sentence is [BOS] prefix prompt caption [EOS]. Parameters: "llama" (frozen), "adapter" and "head".
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Shaped

from audiojax.encoders.clap import unit
from audiojax.errors import UsageError
from audiojax.models.decoding import Decoding
from audiojax.models.llama import PRESETS, Llama
from audiojax.models.llama_generation import generate, put_prefix
from audiojax.nn.lora import Lora
from audiojax.nn.mlp import Mlp
from audiojax.papers.diffusion_link.bridging import bridge_embeddings
from audiojax.papers.diffusion_link.embeddings import audio_embeddings
from audiojax.papers.diffusion_link.settings import Settings, make_settings
from audiojax.papers.options import DTYPES, dtype_of
from audiojax.papers.task import choice
from audiojax.papers.written import Written, written_of
from audiojax.partition import merge_params
from audiojax.typing import Batch, Key, Params

LEARN_FROM = ("text", "audio")
TEXT_PATHS = ("link", "raw", "gaussian")


@dataclass(frozen=True)
class Lesson:
    """What the decoder reads while it learns; in a test it is always a sound through the bridge.

    Attributes:
      learn_from: "text", the caption's own embedding (zero-shot: no sound is read), or "audio", that of its sound through the bridge.
      text_path: what becomes of a text's embedding: "link" (through the bridge, with fresh noise each time), "raw", or "gaussian", noise
        around it.
      variance: of that noise in each coordinate of the unit vector, which is brought back to length 1 (C3 code: 0.016).
    """

    learn_from: str
    text_path: str
    variance: float


@dataclass(frozen=True, eq=False)
class Writer:
    """What the config says of the decoder, as objects. Two writers are equal only if they are the same one, as `Settings` are.

    Attributes:
      settings: of CLAP and the bridge.
      prefix: tokens that an embedding becomes.
      length: tokens of a sentence, without the prefix.
      decoding: how captions that a user asks for are written.
      validation: the same for those that are scored while training: greedy.
    """

    settings: Settings
    llama: Llama
    head: Mlp
    prefix: int
    lesson: Lesson
    length: int
    decoding: Decoding
    validation: Decoding

    @property
    def end(self) -> int:
        """The token that ends a caption."""
        return self.decoding.eos_ids[0]


def make_writer(config: Mapping[str, Any], vocab_size: int) -> Writer:
    """Builds modules from the config's values.

    Args:
      vocab_size: of CLAP's tokenizer; the LLaMA's too where `model.llama_vocabulary` is 0.

    Raises:
      UsageError: an unknown preset or option, with the ones that exist; sizes that do not fit each other.
    """
    model, caption, inference = config["model"], config["caption"], config["inference"]
    sizes = PRESETS[choice("model.llama_preset", model["llama_preset"], PRESETS)]
    sizes = replace(sizes, vocab_size=model["llama_vocabulary"] or vocab_size)
    llama_dtype = DTYPES[choice("model.llama_dtype", model["llama_dtype"], DTYPES)]
    prefix, longest = model["prefix"]["tokens"], caption["max_tokens"] + caption["max_new_tokens"]
    if prefix + longest > sizes.max_positions:
        raise UsageError(
            f"model.prefix.tokens, caption.max_tokens and caption.max_new_tokens are {prefix + longest} positions in all, and model."
            f"llama_preset '{model['llama_preset']}' has {sizes.max_positions}"
        )
    if not 0 <= model["end"] < sizes.vocab_size:
        raise UsageError(f"config key 'model.end' is {model['end']}; the LLaMA has ids 0 to {sizes.vocab_size - 1}")
    lora = Lora(**{**model["lora"], "targets": tuple(model["lora"]["targets"])})
    greedy = Decoding(caption["max_new_tokens"], eos_ids=(model["end"],), pad_id=model["end"])
    return Writer(
        make_settings(config, vocab_size),
        Llama(sizes, lora, dtype=llama_dtype, param_dtype=llama_dtype, remat=model["remat"], scan=model["scan"]),
        Mlp(model["prefix"]["hidden"], prefix * sizes.width, activation=jax.nn.relu, dtype=dtype_of(config)),
        prefix,
        Lesson(**{name: caption[name] for name in ("learn_from", "text_path", "variance")}),
        caption["max_tokens"],
        replace(greedy, **inference),
        greedy,
    )


def soft_prefix(writer: Writer, params: Params, embeddings: Float[Array, "b d"]) -> Float[Array, "b k e"]:
    """The embeddings that stand for a clip in a sentence, from its vector at length 1."""
    flat = writer.head.apply({"params": params["head"]}, unit(embeddings), train=False)
    return flat.reshape(len(flat), writer.prefix, -1)


def next_token_logits(
    writer: Writer,
    params: Params,
    embeddings: Float[Array, "b d"],
    ids: Int[Array, "b l"],
    mask: Bool[Array, "b l"],
    *,
    train: bool,
    rngs: Mapping[str, Key] | None = None,
) -> Float[Array, "b l-1 v"]:
    """Logits of every token of a sentence but the first, from the prefix and the tokens before it."""
    prefix, variables = soft_prefix(writer, params, embeddings), adapted(params)
    embeds = writer.llama.apply(variables, ids, method="embed").astype(jnp.float32)
    whole = put_prefix(embeds, mask, prefix, at=1)
    return writer.llama.apply(variables, *whole, train=train, rngs=rngs)[:, writer.prefix : -1]


@partial(jax.jit, static_argnums=(0, 7))
def write(
    writer: Writer,
    params: Params,
    model_state: Any,
    batch: Batch,
    ids: Int[Array, "b l"],
    mask: Bool[Array, "b l"],
    keys: Shaped[Array, "b"],
    decoding: Decoding,
) -> Written:
    """One caption a clip, from its sound through the bridge; row i depends on clip, prompt and key i alone.

    Args:
      batch: "waveform" and "windows", or "audio_embedding".
      ids, mask: first token and prompt; True = token.
      keys: of the bridge's noise, and of what is drawn.
    """
    noise, draws = jnp.moveaxis(jax.vmap(jax.random.split)(keys), 1, 0)
    heard = audio_embeddings(writer.settings, params, model_state, batch)
    bridged = bridge_embeddings(writer.settings, params, model_state, heard, noise)
    found = generate(
        writer.llama, adapted(params), ids, mask, decoding, prefix=soft_prefix(writer, params, bridged), prefix_at=1, keys=draws
    )
    return written_of(found, writer.end)


def adapted(params: Params) -> dict[str, Any]:
    """Variables of the LLaMA with its adapter."""
    return {"params": merge_params(params["adapter"], params["llama"])}
