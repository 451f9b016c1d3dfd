"""BEATs in torch, written from the layer table, with the parameter names of the public checkpoints."""

import math

import torch
import torch.nn.functional as F
from torch import nn


def buckets_of(n, buckets, max_distance):
    offset = torch.arange(n)[None, :] - torch.arange(n)[:, None]
    half, distance = buckets // 2, offset.abs()
    exact = half // 2
    shared = exact + (torch.log(distance.float() / exact) / math.log(max_distance / exact) * (half - exact)).long()
    return (offset > 0).long() * half + torch.where(distance < exact, distance, shared.clamp(max=half - 1))


class TwinAttention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.heads = c.heads
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(c.width, c.width) for _ in range(4))
        self.grep_linear, self.grep_a = nn.Linear(c.width // c.heads, 8), nn.Parameter(torch.ones(1, c.heads, 1, 1))

    def forward(self, x, padding, bias):
        b, n, d = x.shape
        q, k, v = (f(x).reshape(b, n, self.heads, -1).transpose(1, 2) for f in (self.q_proj, self.k_proj, self.v_proj))
        a, c = torch.sigmoid(self.grep_linear(q).reshape(b, self.heads, n, 2, 4).sum(-1)).chunk(2, dim=-1)
        bias = (a * (c * self.grep_a - 1) + 2) * bias
        scores = q @ k.transpose(2, 3) * (d // self.heads) ** -0.5
        scores = scores.masked_fill(padding[:, None, None], -math.inf) + bias
        return self.out_proj((scores.softmax(-1) @ v).transpose(1, 2).reshape(b, n, d))


class TwinLayer(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.alpha = (2 * c.layers) ** 0.25
        self.self_attn, self.fc1, self.fc2 = TwinAttention(c), nn.Linear(c.width, c.hidden), nn.Linear(c.hidden, c.width)
        self.self_attn_layer_norm, self.final_layer_norm = nn.LayerNorm(c.width), nn.LayerNorm(c.width)

    def forward(self, x, padding, bias):
        x = self.self_attn_layer_norm(self.alpha * x + self.self_attn(x, padding, bias))
        return self.final_layer_norm(self.alpha * x + self.fc2(F.gelu(self.fc1(x))))


class TwinBeats(nn.Module):
    """Takes an `audiojax.encoders.beats.BeatsConfig`. `padding` is True where a frame is none of the clip's, as in the authors' code."""

    def __init__(self, c):
        super().__init__()
        self.config = c
        self.patch_embedding = nn.Conv2d(1, c.embed, c.patch, c.patch, bias=False)
        self.layer_norm = nn.LayerNorm(c.embed)
        self.post_extract_proj = nn.Linear(c.embed, c.width) if c.embed != c.width else nn.Identity()
        conv = nn.Conv1d(c.width, c.width, c.kernel, padding=c.kernel // 2, groups=c.groups)
        self.encoder = nn.Module()
        self.encoder.pos_conv = nn.Sequential(nn.utils.weight_norm(conv, dim=2))
        self.encoder.layer_norm = nn.LayerNorm(c.width)
        self.encoder.layers = nn.ModuleList(TwinLayer(c) for _ in range(c.layers))
        self.encoder.layers[0].self_attn.relative_attention_bias = nn.Embedding(c.buckets, c.heads)
        if c.classes:
            self.predictor = nn.Linear(c.width, c.classes)

    def forward(self, mel, padding):
        c = self.config
        x = self.patch_embedding(mel[:, None]).flatten(2).transpose(1, 2)
        x = self.post_extract_proj(self.layer_norm(x))
        n = x.shape[1]
        rest = padding.shape[1] % n
        padding = padding[:, : padding.shape[1] - rest].reshape(len(x), n, -1).all(-1)
        x = x.masked_fill(padding[..., None], 0)
        around = self.encoder.pos_conv(x.transpose(1, 2))[..., :n].transpose(1, 2)
        x = self.encoder.layer_norm(x + F.gelu(around))
        table = self.encoder.layers[0].self_attn.relative_attention_bias(buckets_of(n, c.buckets, c.max_distance))
        for layer in self.encoder.layers:
            x = layer(x, padding, table.permute(2, 0, 1)[None])
        count = (~padding).sum(dim=1, keepdim=True)
        made = {"tokens": x, "mask": ~padding, "pooled": x.masked_fill(padding[..., None], 0).sum(dim=1) / count}
        if c.classes:
            made["logits"] = self.predictor(x).masked_fill(padding[..., None], 0).sum(dim=1) / count
        return made
