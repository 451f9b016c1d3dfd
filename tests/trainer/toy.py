"""A small contrastive two-tower task with running statistics, noise and dropout-free maths: the trainer's test object."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec as P

from audiojax.collectives import example_keys, gather_batch, pmean, row_offset
from audiojax.papers.task import Task

WIDTH, HIDDEN, OUT = 6, 16, 8


def init(key, batch):
    keys = jax.random.split(key, 3)
    width = batch["x"].shape[-1]

    def dense(key, a, b):
        return {"kernel": jax.random.normal(key, (a, b)) / np.sqrt(a), "bias": jnp.zeros((b,))}

    params = {
        "audio": {"hidden": dense(keys[0], width, HIDDEN), "out": dense(keys[1], HIDDEN, OUT)},
        "text": {"out": dense(keys[2], width, OUT)},
    }
    return {"params": params, "model_state": {"mean": jnp.zeros((width,))}}


def towers(params, x, y):
    def dense(p, x):
        return jnp.einsum("bi,ij->bj", x, p["kernel"]) + p["bias"][None]

    return dense(params["audio"]["out"], jax.nn.gelu(dense(params["audio"]["hidden"], x))), dense(params["text"]["out"], y)


def loss(params, model_state, batch, key, *, axis_name=None):
    x, y = batch["x"], batch["y"]
    noise = jax.vmap(lambda k: jax.random.normal(k, x.shape[1:], x.dtype))(example_keys(key, x.shape[0], axis_name))
    mean = pmean(jnp.mean(x, axis=0), axis_name)
    statistics = {"mean": 0.9 * model_state["mean"] + 0.1 * mean}
    a, t = towers(params, x - mean[None] + 0.1 * noise, y)  # [b, d] each
    labels = row_offset(x.shape[0], axis_name) + jnp.arange(x.shape[0], dtype=jnp.int32)
    logits = jnp.einsum("id,jd->ij", a, gather_batch(t, axis_name))  # [b, global b]
    back = jnp.einsum("id,jd->ij", t, gather_batch(a, axis_name))
    logp = jax.nn.log_softmax(logits, axis=-1) + jax.nn.log_softmax(back, axis=-1)
    value = -jnp.mean(jnp.take_along_axis(logp, labels[:, None], axis=1))
    return value, (statistics, {"top": jnp.mean(jnp.max(logits, axis=-1))})


def predict(params, model_state, batch):
    a, t = towers(params, batch["x"] - model_state["mean"][None], batch["y"])
    return {"a": a, "t": t, "id": batch["example_id"]}


def metrics(params, predictions, key):
    scores = predictions["a"] @ predictions["t"].T
    return {"r1": float(np.mean(np.argmax(scores, axis=1) == np.arange(len(scores)))), "rows": float(len(scores))}


RULES = ((r"hidden/kernel$", P("fsdp", "tensor")), (r"out/kernel$", P(None, "tensor")))
TASK = Task("toy/first", init, loss, predict, metrics, RULES, "r1")
GROUPS = {
    "heads": {"pattern": r"out/", "lr": 3e-3, "name": "adamw", "weight_decay": 0.2, "clip_norm": 1.0, "b2": 0.98, "eps": 1e-6},
    "rest": {"pattern": ".*", "lr": 1e-3, "schedule": "cosine", "warmup": 0.1, "clip_norm": 2.0},
}


def rows(index, seed=0):
    """Example `index` of an endless data set."""
    rng = np.random.default_rng((seed, index))
    x = rng.normal(size=WIDTH).astype(np.float32)
    y = np.float32(x @ np.random.default_rng(5).normal(size=(WIDTH, WIDTH)) / WIDTH + 0.1 * rng.normal(size=WIDTH))
    return {"x": x, "y": y, "example_id": np.uint32(index)}


def batch(size, start=0, seed=0):
    items = [rows(start + i, seed) for i in range(size)]
    return {name: np.stack([item[name] for item in items]) for name in items[0]}


def linear_init(key, batch):
    width = batch["x"].shape[-1]
    return {"params": {"head": {"kernel": 0.1 * jax.random.normal(key, (width, width)), "bias": jnp.zeros((width,))}}, "model_state": {}}


def linear_loss(params, model_state, batch, key, *, axis_name=None):
    error = linear_predict(params, model_state, batch)["y"] - batch["y"]
    return jnp.mean(jnp.square(error)), (model_state, {"error": jnp.mean(jnp.abs(error))})


def linear_predict(params, model_state, batch):
    return {"y": jnp.einsum("bi,ij->bj", batch["x"], params["head"]["kernel"]) + params["head"]["bias"][None], "truth": batch["y"]}


def linear_metrics(params, predictions, key):
    return {"fit": -float(np.mean(np.square(predictions["y"] - predictions["truth"]))), "rows": float(len(predictions["y"]))}


LINEAR = Task("toy/linear", linear_init, linear_loss, linear_predict, linear_metrics, (), "fit")
LINEAR_GROUPS = {"all": {"pattern": ".*", "lr": 0.01}}
