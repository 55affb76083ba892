"""Attention head by head in a loop, in blocks of another build: norms behind, attention and network side by side."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def kmeans_step(pixels: Tensor, codes: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """One step: each pixel (M, C) to its nearest code (k, C), each code to the mean of its pixels."""
    nearest = torch.cdist(pixels, codes).argmin(dim=1)  # (M,)
    counts = nearest.bincount(minlength=len(codes))  # (k,)
    sums = torch.zeros_like(codes).index_add_(0, nearest, pixels)  # (k, C)
    moved = sums / counts.clamp(min=1)[:, None]
    # Half of a digit's pixels are the same black, so several codes start there: one takes all pixels, the others die.
    # A mean of nothing is NaN; a fresh pixel gives the code another chance.
    dead = counts == 0
    moved[dead] = pixels[torch.randint(len(pixels), (int(dead.sum()),), generator=generator)]
    return moved


def kmeans(pixels: Tensor, k: int, steps: int, generator: torch.Generator | None = None) -> Tensor:
    """k codes (k, C) for the pixels (M, C): k different rows of them at random, then `steps` steps."""
    codes = pixels[torch.randperm(len(pixels), generator=generator)[:k]]
    for _ in range(steps):
        codes = kmeans_step(pixels, codes, generator)
    return codes


def encode(images: Tensor, codes: Tensor) -> Tensor:
    """Images (N, C, H, W) as tokens (N, H·W), int64: the number of each pixel's nearest code, row by row."""
    # Channels have to come last before the reshape: a pixel is one colour, not a place in one channel.
    pixels = images.permute(0, 2, 3, 1).reshape(-1, images.shape[1])
    return torch.cdist(pixels, codes).argmin(dim=1).view(len(images), -1)


def decode(tokens: Tensor, codes: Tensor, height: int, width: int) -> Tensor:
    """The way back: tokens (N, height·width) as images (N, C, height, width) of the codes' colours."""
    return codes[tokens].view(len(tokens), height, width, -1).permute(0, 3, 1, 2)


class CausalAttention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.size, self.dim = dim // heads, dim

    def forward(self, x):
        t = x.shape[1]
        everything = self.qkv(x)
        past = torch.tril(torch.ones(t, t)).bool()
        outs = []
        for at in range(0, self.dim, self.size):
            q = everything[..., at : at + self.size]
            k = everything[..., self.dim + at : self.dim + at + self.size]
            v = everything[..., 2 * self.dim + at : 2 * self.dim + at + self.size]
            scores = torch.where(past, q @ k.mT / math.sqrt(self.size), torch.tensor(-math.inf, dtype=x.dtype))
            weights = (scores - scores.amax(-1, keepdim=True)).exp()
            outs.append(weights / weights.sum(-1, keepdim=True) @ v)
        return self.proj(torch.cat(outs, dim=-1))


class Block(nn.Module):
    def __init__(self, attention, dim):
        super().__init__()
        self.attention = attention
        self.network = nn.Sequential(nn.Linear(dim, 2 * dim), nn.ReLU(), nn.Linear(2 * dim, dim))
        self.norm = nn.LayerNorm(dim)

    def forward(self, x):
        return self.norm(x + self.attention.forward(x) + self.network(x))


class Quiet(CausalAttention):
    """A class made from it counts as well."""

    def forward(self, x):
        return super().forward(x) / 2


class ImageGPT(nn.Module):
    def __init__(self, k, length, dim=32, layers=2, heads=4):
        super().__init__()
        self.codes = nn.Embedding(k, dim)
        self.places = nn.Parameter(0.1 * torch.randn(1, length, dim))
        self.start = nn.Parameter(0.1 * torch.randn(1, 1, dim))
        kinds = [CausalAttention if i % 2 == 0 else Quiet for i in range(layers)]
        self.body = nn.Sequential(*[Block(kind(dim, heads), dim) for kind in kinds])
        self.head = nn.Linear(dim, k)
        nn.init.normal_(self.codes.weight, std=0.1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, tokens):
        start = self.start.expand(tokens.shape[0], -1, -1)
        x = torch.cat([start, self.codes(tokens)], dim=1)
        return self.head(self.body(x + self.places[:, : x.shape[1]]))


def next_token_loss(model: nn.Module, tokens: Tensor) -> Tensor:
    """The mean cross-entropy over all N·T tokens (N, T) of predicting each from those before it."""
    logits = model(tokens[:, :-1])  # (N, T, k): the model shifts by itself, the last token is no input
    return F.cross_entropy(logits.flatten(0, 1), tokens.flatten())


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


def sample(
    model: nn.Module,
    n: int,
    length: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Draws n rows of `length` tokens, int64, each token from what the model says after those before it."""
    was_training = model.training
    model.eval()
    tokens = torch.zeros(n, 0, dtype=torch.int64)
    with torch.no_grad():
        for _ in range(length):
            logits = model(tokens)[:, -1] / temperature  # (n, k)
            if top_k is not None and top_k < logits.shape[1]:
                # Out means -inf, so that the softmax gives exactly 0. A small number is no -inf: e^0.0000000001 is 1.
                kept, places = logits.topk(top_k, dim=1)
                logits = torch.full_like(logits, -math.inf).scatter(1, places, kept)
            drawn = torch.multinomial(logits.softmax(dim=1), 1, generator=generator)  # (n, 1)
            tokens = torch.cat([tokens, drawn], dim=1)
    model.train(was_training)
    return tokens
