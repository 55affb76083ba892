"""Einsum, a mask kept as a buffer and added, sines for places, draws by comparing a random number with sums."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def kmeans_step(pixels, codes, generator=None):
    owner = ((pixels.unsqueeze(1) - codes.unsqueeze(0)) ** 2).sum(-1).min(1).indices
    rows = []
    for i in range(codes.shape[0]):
        mine = pixels[owner == i]
        if mine.shape[0] == 0:
            mine = pixels[torch.randint(pixels.shape[0], (1,), generator=generator)]
        rows.append(mine.mean(0))
    return torch.stack(rows)


def kmeans(pixels: Tensor, k: int, steps: int, generator: torch.Generator | None = None) -> Tensor:
    """k codes (k, C) for the pixels (M, C): k different rows of them at random, then `steps` steps."""
    codes = pixels[torch.randperm(len(pixels), generator=generator)[:k]]
    for _ in range(steps):
        codes = kmeans_step(pixels, codes, generator)
    return codes


def encode(images, codes):
    n, c, h, w = images.shape
    pixels = images.reshape(n, c, h * w).transpose(1, 2)  # (n, hw, c)
    return ((pixels[:, :, None] - codes) ** 2).sum(-1).argmin(-1)


def decode(tokens, codes, height, width):
    return F.embedding(tokens, codes).transpose(1, 2).unflatten(2, (height, width))


class CausalAttention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.register_buffer("mask", torch.full((256, 256), -torch.inf).triu(1))

    def forward(self, x):
        t = x.size(1)
        q, k, v = self.qkv(x).split(x.size(2), dim=-1)
        q, k, v = (y.unflatten(-1, (self.heads, -1)) for y in (q, k, v))
        scores = torch.einsum("nqhd,nkhd->nhqk", q * q.size(-1) ** -0.5, k) + self.mask[:t, :t]
        out = torch.einsum("nhqk,nkhd->nqhd", F.softmax(scores, dim=-1), v)
        return self.proj(out.flatten(-2))


class ImageGPT(nn.Module):
    def __init__(self, k, length, dim=32, layers=2, heads=4):
        super().__init__()
        place, wave = torch.arange(length)[:, None], torch.arange(dim)
        angle = place / 100 ** ((wave - wave % 2) / dim)
        self.register_buffer("places", torch.where(wave % 2 == 0, angle.sin(), angle.cos()))
        self.first = nn.Parameter(torch.randn(1, 1, dim) * 0.1)
        self.embed = nn.Linear(k, dim, bias=False)
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(2 * layers))
        self.attend = nn.ModuleList(CausalAttention(dim, heads) for _ in range(layers))
        self.think = nn.ModuleList(
            nn.Sequential(nn.Linear(dim, 3 * dim), nn.SiLU(), nn.Linear(3 * dim, dim), nn.Dropout(0.05))
            for _ in range(layers)
        )
        self.out = nn.Linear(dim, k)
        with torch.no_grad():
            self.out.weight.mul_(0.1)
            self.out.bias.zero_()

    def forward(self, tokens):
        hot = F.one_hot(tokens, self.embed.in_features).float()
        x = torch.cat((self.first.repeat(len(tokens), 1, 1), self.embed(hot)), 1)
        x = x + self.places[: x.size(1)]
        for i, (attend, think) in enumerate(zip(self.attend, self.think, strict=True)):
            x = x + attend(self.norms[2 * i](x))
            x = x + think(self.norms[2 * i + 1](x))
        return self.out(x)


def next_token_loss(model, tokens):
    log_p = torch.log_softmax(model(tokens[..., :-1]), dim=-1)
    return -torch.take_along_dim(log_p, tokens[..., None], dim=-1).mean()


def train(model: nn.Module, tokens: Tensor, steps: int) -> None:
    """Trains the model in place: `steps` steps on 32 rows each, drawn at random from tokens (N, T)."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, betas=(0.9, 0.95))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-2, total_steps=steps)
    model.train()
    for _ in range(steps):
        batch = tokens[torch.randint(len(tokens), (32,))]
        loss = next_token_loss(model, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


def sample(model, n, length, temperature=1.0, top_k=None, generator=None):
    before = model.training
    model.train(False)
    tokens = torch.zeros((n, length), dtype=torch.int64)
    with torch.inference_mode():
        for t in range(length):
            p = F.softmax(model(tokens[:, :t])[:, t] / temperature, dim=1)
            if top_k is not None and top_k < p.shape[1]:
                order = p.argsort(dim=1, descending=True)
                p = p.scatter(1, order[:, top_k:], 0.0)
                p = p / p.sum(1, keepdim=True)
            u = torch.rand(n, 1, generator=generator, dtype=torch.float64)
            edges = p.double().cumsum(1)
            edges = edges / edges[:, -1:]
            tokens[:, t] = (u >= edges).sum(1)
    model.train(before)
    return tokens.clone()
