"""The attention kernel of the library, a start that is one more code, a threshold for top_k."""

import torch
import torch.nn.functional as F
from torch import nn


def kmeans_step(pixels, codes, generator=None):
    distances = pixels.square().sum(1, keepdim=True) - 2 * pixels @ codes.T + codes.square().sum(1)
    member = F.one_hot(distances.argmin(1), len(codes)).to(pixels.dtype)  # (M, k)
    new = member.T @ pixels / member.sum(0)[:, None]
    for i in range(len(codes)):
        if new[i].isnan().any():
            new[i] = pixels[int(torch.randint(len(pixels), (), generator=generator))]
    return new


def kmeans(pixels, k, steps, generator=None):
    order = torch.randperm(pixels.size(0), generator=generator)
    codes = pixels[order][:k]
    for _ in range(steps):
        codes = kmeans_step(pixels, codes, generator=generator)
    return codes


def encode(images, codes):
    gaps = images[:, None] - codes[None, :, :, None, None]  # (N, k, C, H, W)
    return gaps.pow(2).sum(2).argmin(1).flatten(1)


def decode(tokens, codes, height, width):
    return codes.T[:, tokens].transpose(0, 1).reshape(tokens.shape[0], -1, height, width)


class CausalAttention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.dim, self.heads = dim, heads
        self.qkv = nn.Linear(dim, dim * 3)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x):
        n, t, _ = x.shape
        qkv = self.qkv(x).view(n, t, 3, self.heads, self.dim // self.heads).permute(2, 0, 3, 1, 4)
        out = F.scaled_dot_product_attention(qkv[0], qkv[1], qkv[2], is_causal=True)
        return self.proj(out.transpose(1, 2).flatten(2))


class Block(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.attention = CausalAttention(dim, heads)
        self.mlp = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, 4 * dim), nn.ReLU(), nn.Linear(4 * dim, dim))
        self.norm = nn.LayerNorm(dim)

    def forward(self, x):
        x = x + self.attention(self.norm(x))
        return x + self.mlp(x)


class ImageGPT(nn.Module):
    def __init__(self, k, length, dim=32, layers=2, heads=4):
        super().__init__()
        self.k = k
        self.embed = nn.Embedding(k + 1, dim)  # the last one is the start
        self.place = nn.Embedding(length, dim)
        self.blocks = nn.Sequential(*[Block(dim, heads) for _ in range(layers)])
        self.head = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, k, bias=False))
        nn.init.normal_(self.embed.weight, std=0.1)
        nn.init.normal_(self.place.weight, std=0.1)
        nn.init.zeros_(self.head[1].weight)

    def forward(self, tokens):
        tokens = F.pad(tokens, (1, 0), value=self.k)
        x = self.embed(tokens) + self.place(torch.arange(tokens.size(1)))
        return self.head(self.blocks(x))


def next_token_loss(model, tokens):
    logits = model(tokens[:, :-1])
    return F.cross_entropy(logits.transpose(1, 2), tokens)


def train(model, tokens, steps):
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3, betas=(0.9, 0.95))
    model.train()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 8e-3 * min((step + 1) / 30, 1.0 - step / steps)
        batch = tokens[torch.randperm(len(tokens))[:32]]
        optimizer.zero_grad(set_to_none=True)
        next_token_loss(model, batch).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()


@torch.no_grad()
def sample(model, n, length, temperature=1.0, top_k=None, generator=None):
    mode = model.training
    model.eval()
    tokens = torch.empty(n, 0, dtype=torch.long)
    while tokens.shape[1] < length:
        logits = model(tokens)[:, -1, :] / temperature
        if top_k is not None:
            kth = logits.topk(min(top_k, logits.size(-1))).values[:, [-1]]
            logits[logits < kth] = -float("inf")
        tokens = torch.hstack([tokens, torch.multinomial(F.softmax(logits, -1), 1, generator=generator)])
    model.train(mode)
    return tokens
