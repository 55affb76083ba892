"""One full-length pass with zeros as placeholders for what is not drawn yet; Gumbel noise makes the draw."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def kmeans_step(pixels, codes, generator=None):
    nearest = torch.cdist(pixels.double(), codes.double()).argmin(1)
    index = nearest[:, None].expand_as(pixels)
    means = codes.clone().scatter_reduce(0, index, pixels, "mean", include_self=False)
    lonely = torch.isin(torch.arange(len(codes)), nearest, invert=True).nonzero().flatten()
    for i in lonely.tolist():
        means[i] = pixels[torch.randint(len(pixels), (1,), generator=generator)].squeeze(0)
    return means


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
    """Self-attention with several heads in which no place sees a later one: (N, T, dim) to (N, T, dim)."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        n, t, dim = x.shape
        size = dim // self.heads
        # (N, T, dim) -> (N, heads, T, size): heads are pieces of the features, never of the places.
        q, k, v = (part.view(n, t, self.heads, size).transpose(1, 2) for part in self.qkv(x).chunk(3, dim=2))
        scores = q @ k.transpose(2, 3) / math.sqrt(size)  # (N, heads, T queries, T keys)
        later = torch.ones(t, t, dtype=torch.bool).triu(diagonal=1)
        # -inf before the softmax: exactly 0 after it, and the rest of the row still sums to 1.
        weights = scores.masked_fill(later, -math.inf).softmax(dim=3)
        return self.proj((weights @ v).transpose(1, 2).reshape(n, t, dim))


class ImageGPT(nn.Module):
    """Tokens (N, T), 0 ≤ T < length, to logits (N, T + 1, k): row t for token t, from the tokens before it."""

    def __init__(self, k: int, length: int, dim: int = 32, layers: int = 2, heads: int = 4) -> None:
        super().__init__()
        self.codes = nn.Embedding(k, dim)
        self.start = nn.Parameter(torch.zeros(dim))
        self.places = nn.Parameter(torch.empty(length, dim))
        self.blocks = nn.ModuleList(
            nn.ModuleDict(
                {
                    "norm1": nn.LayerNorm(dim),
                    "attention": CausalAttention(dim, heads),
                    "norm2": nn.LayerNorm(dim),
                    "mlp": nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim)),
                }
            )
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, k)
        # Small logits at first: every code about equally likely, a loss of ln k.
        for weight in (self.codes.weight, self.places, self.head.weight):
            nn.init.normal_(weight, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        n, t = tokens.shape
        # The start stands before the first token, so row t has read tokens 0 … t - 1 and nothing of token t.
        x = torch.cat([self.start.expand(n, 1, -1), self.codes(tokens)], dim=1) + self.places[: t + 1]
        for block in self.blocks:
            x = x + block["attention"](block["norm1"](x))
            x = x + block["mlp"](block["norm2"](x))
        return self.head(self.norm(x))  # (N, T + 1, k)


def next_token_loss(model: nn.Module, tokens: Tensor) -> Tensor:
    """The mean cross-entropy over all N·T tokens (N, T) of predicting each from those before it."""
    logits = model(tokens[:, :-1])  # (N, T, k): the model shifts by itself, the last token is no input
    return F.cross_entropy(logits.flatten(0, 1), tokens.flatten())


def train(model, tokens, steps):
    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=6e-3, betas=(0.9, 0.95))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(steps - 1, 1))  # the last step has a rate of 0
    model.train()
    for _ in range(steps):
        rows = torch.multinomial(torch.ones(len(tokens)), 32)
        loss = next_token_loss(model, tokens[rows])
        model.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


def sample(model, n, length, temperature=1.0, top_k=None, generator=None):
    training = model.training
    model.eval()
    tokens = torch.zeros(n, length, dtype=torch.int64)
    with torch.no_grad():
        for t in range(length):
            row = model(tokens[:, : length - 1])[:, t].double() / temperature
            if top_k:
                rank = row.argsort(1, descending=True).argsort(1)
                row = torch.where(rank < top_k, row, -math.inf)
            u = torch.rand(row.shape, generator=generator, dtype=torch.float64).clamp(1e-300, 1 - 1e-16)
            tokens[:, t] = (row - torch.log(-torch.log(u))).argmax(1)
    model.train(training)
    return tokens
