"""transformers' BERT decoder with cross-attention to a sequence of another width: the rival captioner, and the denoiser's blocks."""

import numpy as np
import torch
import transformers

from audiojax.pretrained.bert import ROWS
from audiojax.pretrained.rules import Family, Row, below, export
from tests.parity.panns_twin import load

CROSS = (
    Row(r"layer_(\d+)/cross/out/(\w+)", r"encoder.layer.\1.crossattention.output.dense.\2"),
    Row(r"layer_(\d+)/cross/(query|key|value)/(\w+)", r"encoder.layer.\1.crossattention.self.\2.\3"),
    Row(r"layer_(\d+)/cross_norm/(\w+)", r"encoder.layer.\1.crossattention.output.LayerNorm.\2"),
)
HEAD = (
    Row(r"head/dense/(\w+)", r"cls.predictions.transform.dense.\1"),
    Row(r"head/norm/(\w+)", r"cls.predictions.transform.LayerNorm.\1"),
    Row(r"head/bias", "cls.predictions.decoder.bias", verbatim=True),
    Row(r"decoder/embedding", "cls.predictions.decoder.weight", verbatim=True),
)
DENOISER = Family("denoiser", (*ROWS, *CROSS))
DECODER = Family("decoder", (*below("", "bert.", (*ROWS, *CROSS)), *HEAD))
NO_WORDS, NO_SEGMENTS = "embeddings.word_embeddings.weight", "embeddings.token_type_embeddings.weight"


def sizes(config, vocab_size):
    """transformers' config of a decoder; attention is eager, whose masks may be of any kind."""
    return transformers.BertConfig(
        vocab_size=vocab_size,
        hidden_size=config.width,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        intermediate_size=config.hidden,
        max_position_embeddings=config.max_positions,
        type_vocab_size=1,
        layer_norm_eps=config.norm_eps,
        is_decoder=True,
        add_cross_attention=True,
        attn_implementation="eager",
        tie_word_embeddings=False,
        pad_token_id=0,
    )


def widen(layers, config):
    """Gives the cross-attention of BERT layers keys and values of the context's width."""
    for layer in layers:
        for name in ("key", "value"):
            setattr(layer.crossattention.self, name, torch.nn.Linear(config.context, config.width))


def reference_decoder(config, variables):
    """BertLMHeadModel with the weights of a `CaptionDecoder`; it has one segment, whose row is 0."""
    model = transformers.BertLMHeadModel(sizes(config, config.vocab_size))
    widen(model.bert.encoder.layer, config)
    state = export(variables, DECODER)
    if config.tie_embeddings:
        state["cls.predictions.decoder.weight"] = state[f"bert.{NO_WORDS}"]
    state |= {"cls.predictions.bias": state["cls.predictions.decoder.bias"]}
    state |= {f"bert.{NO_SEGMENTS}": np.zeros((1, config.width), np.float32)}
    return load(model, state).eval()


class ReferenceDenoiser(torch.nn.Module):
    """A `TextDenoiser` on transformers' BertModel, given embeddings; the mask of its self-attention lets every position see all."""

    def __init__(self, config, variables):
        super().__init__()
        self.config = config
        self.bert = transformers.BertModel(sizes(config, 1), add_pooling_layer=False)
        widen(self.bert.encoder.layer, config)
        params = variables["params"]
        ours = ("project_in", "project_out", "time_norm")
        state = export({"params": {name: tree for name, tree in params.items() if name not in ours}}, DENOISER)
        empty = {name: np.zeros((1, config.width), np.float32) for name in (NO_WORDS, NO_SEGMENTS)}
        load(self.bert, state | empty)
        self.params = {name: {leaf: torch.tensor(value) for leaf, value in params[name].items()} for name in ours if name in params}
        self.eval()

    def forward(self, x_t, x0_prev, t, audio, audio_mask):
        width = self.config.width
        angle = t[:, None].double() / 10_000 ** (torch.arange(0, width, 2).double() / width)
        level = torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1).float()
        if self.config.time_norm:
            norm = self.params["time_norm"]
            level = torch.nn.functional.layer_norm(level, (width,), norm["scale"], norm["bias"], self.config.norm_eps)
        x = self._project("project_in", torch.cat([x_t, x0_prev], dim=-1)) + level[:, None]
        every = torch.zeros(len(x), 1, x.shape[1], x.shape[1])
        states = self.bert(
            inputs_embeds=x, attention_mask=every, encoder_hidden_states=audio, encoder_attention_mask=audio_mask, use_cache=False
        ).last_hidden_state
        return self._project("project_out", states)[..., : self.config.latent]

    def _project(self, name, x):
        return x @ self.params[name]["kernel"] + self.params[name]["bias"] if self.config.projections else x
