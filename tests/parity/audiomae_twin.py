"""AudioMAE's encoder in torch, written from the layer table, with the parameter names of the public checkpoints."""

import torch
import torch.nn.functional as F
from torch import nn


class TwinAttention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.qkv, self.proj = heads, nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x):
        b, n, d = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, d))


class TwinMlp(nn.Module):
    def __init__(self, width, hidden):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x)))


class TwinBlock(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(c.width, c.norm_eps), nn.LayerNorm(c.width, c.norm_eps)
        self.attn, self.mlp = TwinAttention(c.width, c.heads), TwinMlp(c.width, c.mlp_ratio * c.width)

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class TwinAudioMae(nn.Module):
    """Takes an `audiojax.encoders.audiomae.AudioMaeConfig`; returns what `AudioMae` does, as a dictionary."""

    def __init__(self, config):
        super().__init__()
        self.config = c = config
        self.cls_token = nn.Parameter(torch.zeros(1, 1, c.width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + c.grid[0] * c.grid[1], c.width))
        self.patch_embed = nn.Module()
        self.patch_embed.proj = nn.Conv2d(1, c.width, c.patch, c.patch)
        self.blocks = nn.ModuleList(TwinBlock(c) for _ in range(c.layers))
        setattr(self, "fc_norm" if c.clip_norm else "norm", nn.LayerNorm(c.width, c.norm_eps))
        if c.classes:
            self.head = nn.Linear(c.width, c.classes)

    def forward(self, mel, kept=None):
        c = self.config
        x = self.patch_embed.proj(mel[:, None]).flatten(2).transpose(1, 2) + self.pos_embed[:, 1:]
        if kept is not None:
            x = x.gather(1, kept[..., None].expand(-1, -1, c.width))
        x = torch.cat([(self.cls_token + self.pos_embed[:, :1]).expand(len(x), -1, -1), x], dim=1)
        outputs = []
        for n, block in enumerate(self.blocks):
            x = block(x)
            if n >= c.layers - c.blocks:
                outputs.append(x if c.clip_norm else self.norm(x))
        tokens = outputs[-1]
        pooled = tokens[:, 1:].mean(dim=1)
        pooled = self.fc_norm(pooled) if c.clip_norm else pooled
        made = {"tokens": tokens, "features": torch.stack(outputs).mean(dim=0)[:, 1:], "pooled": pooled}
        return made | ({"logits": self.head(pooled)} if c.classes else {})


def twin_pool(features, grid, size):
    """Average and maximum pooling of the map of features, [b, n, d] to [b, m, d]."""
    x = features.transpose(1, 2).unflatten(2, grid)
    return ((F.avg_pool2d(x, size) + F.max_pool2d(x, size)) / 2).flatten(2).transpose(1, 2)
