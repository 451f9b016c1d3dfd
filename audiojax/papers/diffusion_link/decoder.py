"""The phase "decoder": head and adapters learn to write captions, CLAP, bridge and LLaMA staying what they are.

Parameters: "towers" and "bridge" as in the phase "link", then those of the writer: "llama", "adapter" and "head".
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from audiojax.collectives import example_keys, local_key
from audiojax.encoders.clap import unit
from audiojax.errors import UsageError
from audiojax.losses.tokens import token_cross_entropy, token_mean
from audiojax.models.llama import PARTITION_RULES
from audiojax.nn.lora import LORA
from audiojax.papers.diffusion_link import link
from audiojax.papers.diffusion_link.bridging import bridge_embeddings
from audiojax.papers.diffusion_link.embeddings import audio_embeddings, text_embeddings
from audiojax.papers.diffusion_link.settings import TRAINED
from audiojax.papers.diffusion_link.writer import LEARN_FROM, TEXT_PATHS, Writer, next_token_logits, write
from audiojax.papers.evaluation import evaluation_keys
from audiojax.papers.task import Task, choice
from audiojax.papers.written import token_scores
from audiojax.partition import split_params
from audiojax.typing import Batch, Key, Params


def make(writer: Writer) -> Task:
    """The task of the phase."""
    return Task(
        name="diffusion_link/decoder",
        init=partial(init, writer),
        loss=partial(loss, writer),
        predict=partial(predict, writer),
        metrics=partial(metrics, writer.end),
        partition_rules=tuple((rf"^llama/.*{pattern}", spec) for pattern, spec in PARTITION_RULES),
        select="captions/cider_d",
        frozen="^(towers|bridge|llama)/",
    )


def init(writer: Writer, key: Key, batch: Batch) -> dict[str, Any]:
    """Fresh parameters of everything; the shapes are the config's."""
    link_key, llama_key, head_key = jax.random.split(key, 3)
    made = link.init(writer.settings, link_key, batch)
    ids, mask = jnp.zeros((1, 2), jnp.int32), jnp.ones((1, 2), bool)
    adapter, llama = split_params(writer.llama.init(llama_key, ids, mask, train=False)["params"], LORA)
    head = writer.head.init(head_key, jnp.zeros((1, writer.settings.width)), train=False)["params"]
    return {"params": {**made["params"], "llama": llama, "adapter": adapter, "head": head}, "model_state": made["model_state"]}


def lesson(writer: Writer, params: Params, model_state: Any, batch: Batch, key: Key, axis_name: str | None) -> Float[Array, "b d"]:
    """The embeddings that a batch of captions is learned from, unit vectors; no gradient goes through them."""
    plan, settings = writer.lesson, writer.settings
    keys = example_keys(key, len(batch["sentence_ids"]), axis_name)
    if plan.learn_from == "audio":
        heard = audio_embeddings(settings, params, model_state, batch)
        return jax.lax.stop_gradient(bridge_embeddings(settings, params, model_state, heard, keys))
    read = text_embeddings(settings, params, model_state, batch)
    if plan.text_path == "link":
        read = bridge_embeddings(settings, params, model_state, read, keys, side="text")
    elif plan.text_path == "gaussian":
        noise = jax.vmap(lambda key: jax.random.normal(key, read.shape[1:]))(keys)
        read = unit(read + plan.variance**0.5 * noise)
    return jax.lax.stop_gradient(read)


def loss(writer: Writer, params: Params, model_state: Any, batch: Batch, key: Key, *, axis_name: str | None = None):
    """Cross entropy of the tokens of captions and of their ends, the mean over those of the whole batch."""
    noise_key, dropout_key = jax.random.split(key)
    read = lesson(writer, params, model_state, batch, noise_key, axis_name)
    ids, mask, scored = (batch[f"sentence_{name}"] for name in ("ids", "mask", "scored"))
    rngs = {"dropout": local_key(dropout_key, axis_name)}
    logits = next_token_logits(writer, params, read, ids, mask, train=True, rngs=rngs)
    value = token_mean(token_cross_entropy(logits, ids[:, 1:]), scored[:, 1:], axis_name)
    right = token_mean(jnp.argmax(logits, axis=-1) == ids[:, 1:], scored[:, 1:], axis_name)
    return value, (model_state, {"words_right": right})


def predict(writer: Writer, params: Params, model_state: Any, batch: Batch) -> dict[str, Array]:
    """Of clips with all their captions: targets and words [b, c, l], and what is made of the sound through the bridge: tokens and written
    [b, t], confidence [b], and the cross entropy [b] of the first caption."""
    ids, mask, scored = (batch[f"sentence_{name}"] for name in ("ids", "mask", "scored"))  # [b, c, l]
    keys = evaluation_keys(batch["clip_index"])
    heard = audio_embeddings(writer.settings, params, model_state, batch)
    opening = mask[:, 0] & ~scored[:, 0]
    written = write(writer, params, model_state, {"audio_embedding": heard}, ids[:, 0], opening, keys, writer.validation)
    noise = jax.vmap(jax.random.split)(keys)[:, 0]
    bridged = bridge_embeddings(writer.settings, params, model_state, heard, noise)
    logits = next_token_logits(writer, params, bridged, ids[:, 0], mask[:, 0], train=False)
    each = token_cross_entropy(logits, ids[:, 0, 1:])
    return {
        "targets": ids,
        "words": scored & (ids != writer.end),
        "tokens": written.tokens,
        "written": written.words,
        "confidence": written.confidence,
        "cross_entropy": jax.vmap(token_mean)(each[:, None], scored[:, :1, 1:]),
    }


def metrics(end: int, params: Params, predictions: Mapping[str, np.ndarray], key: Key) -> dict[str, float]:
    """Scores of captions on token ids: CIDEr-D against all captions of a clip, Distinct-1, mean length; and the cross entropy."""
    return token_scores(predictions) | {"loss/cross_entropy": float(predictions["cross_entropy"].mean())}


def check(config: Mapping[str, Any]) -> None:
    """What would otherwise fail, or mislead, in the middle of the phase. UsageError names the key."""
    caption, init = config["caption"], config["init"]
    choice("model.llama_stored", config["model"]["llama_stored"], ("run", "folder"))
    choice("caption.learn_from", caption["learn_from"], LEARN_FROM)
    choice("caption.text_path", caption["text_path"], TEXT_PATHS)
    if caption["variance"] < 0:
        raise UsageError(f"config key 'caption.variance' is {caption['variance']}; it takes 0 or more")
    for key, value in (("model.prefix.tokens", config["model"]["prefix"]["tokens"]), ("model.lora.rank", config["model"]["lora"]["rank"])):
        if value < 1:
            raise UsageError(f"config key '{key}' is {value}; it takes 1 or more")
    if "link" not in config["phases"] and not init["start"] and config["bridge"]["form"] in TRAINED and config["bridge"]["start"]:
        raise UsageError(
            "config key 'phases' has no 'link', and 'init.start' is empty: name a finished run whose bridge the decoder stands on,"
            " or train one first with phases ('link', 'decoder')"
        )
    if not init["llama"] and not init["start"]:
        raise UsageError("config key 'init.llama' is empty, and the LLaMA is frozen: name a checkpoint, such as a run of `audiojax towers`")
