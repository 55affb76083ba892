"""A small image GPT: colour codes from k-means, and a transformer that writes an image pixel by pixel.

A digit of 8×8 pixels becomes a sentence of 64 words out of a vocabulary of eight greys. The model reads it from left to
right and says at each place how likely each word is next. Draw from that, word by word, and new digits appear.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def kmeans_step(pixels: Tensor, codes: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """One step: each pixel (M, C) to its nearest code (k, C), each code to the mean of its pixels."""
    # solution: begin nearest code of each pixel, means, pixels at random for codes without any
    nearest = torch.cdist(pixels, codes).argmin(dim=1)  # (M,)
    counts = nearest.bincount(minlength=len(codes))  # (k,)
    sums = torch.zeros_like(codes).index_add_(0, nearest, pixels)  # (k, C)
    moved = sums / counts.clamp(min=1)[:, None]
    # Half of a digit's pixels are the same black, so several codes start there: one takes all pixels, the others die.
    # A mean of nothing is NaN; a fresh pixel gives the code another chance.
    dead = counts == 0
    moved[dead] = pixels[torch.randint(len(pixels), (int(dead.sum()),), generator=generator)]
    return moved
    # solution: end


def kmeans(pixels: Tensor, k: int, steps: int, generator: torch.Generator | None = None) -> Tensor:
    """k codes (k, C) for the pixels (M, C): k different rows of them at random, then `steps` steps."""
    # solution: begin k rows drawn without replacement, then the steps
    codes = pixels[torch.randperm(len(pixels), generator=generator)[:k]]
    for _ in range(steps):
        codes = kmeans_step(pixels, codes, generator)
    return codes
    # solution: end


def encode(images: Tensor, codes: Tensor) -> Tensor:
    """Images (N, C, H, W) as tokens (N, H·W), int64: the number of each pixel's nearest code, row by row."""
    # solution: begin channels last, nearest codes, one row of tokens for each image
    # Channels have to come last before the reshape: a pixel is one colour, not a place in one channel.
    pixels = images.permute(0, 2, 3, 1).reshape(-1, images.shape[1])
    return torch.cdist(pixels, codes).argmin(dim=1).view(len(images), -1)
    # solution: end


def decode(tokens: Tensor, codes: Tensor, height: int, width: int) -> Tensor:
    """The way back: tokens (N, height·width) as images (N, C, height, width) of the codes' colours."""
    # solution: begin look the codes up, restore rows, columns and channels
    return codes[tokens].view(len(tokens), height, width, -1).permute(0, 3, 1, 2)
    # solution: end


class CausalAttention(nn.Module):
    """Self-attention with several heads in which no place sees a later one: (N, T, dim) to (N, T, dim)."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        # solution: begin the layers qkv and proj
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        # solution: end

    def forward(self, x: Tensor) -> Tensor:
        # solution: begin queries, keys, values by head; scores, mask, softmax; heads joined; proj
        n, t, dim = x.shape
        size = dim // self.heads
        # (N, T, dim) -> (N, heads, T, size): heads are pieces of the features, never of the places.
        q, k, v = (part.view(n, t, self.heads, size).transpose(1, 2) for part in self.qkv(x).chunk(3, dim=2))
        scores = q @ k.transpose(2, 3) / math.sqrt(size)  # (N, heads, T queries, T keys)
        later = torch.ones(t, t, dtype=torch.bool).triu(diagonal=1)
        # -inf before the softmax: exactly 0 after it, and the rest of the row still sums to 1.
        weights = scores.masked_fill(later, -math.inf).softmax(dim=3)
        return self.proj((weights @ v).transpose(1, 2).reshape(n, t, dim))
        # solution: end


class ImageGPT(nn.Module):
    """Tokens (N, T), 0 ≤ T < length, to logits (N, T + 1, k): row t for token t, from the tokens before it."""

    def __init__(self, k: int, length: int, dim: int = 32, layers: int = 2, heads: int = 4) -> None:
        super().__init__()
        # solution: begin embeddings of codes and places, a start, blocks with CausalAttention, a head
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
        # solution: end

    def forward(self, tokens: Tensor) -> Tensor:
        # solution: begin start and tokens, places added; blocks; logits
        n, t = tokens.shape
        # The start stands before the first token, so row t has read tokens 0 … t - 1 and nothing of token t.
        x = torch.cat([self.start.expand(n, 1, -1), self.codes(tokens)], dim=1) + self.places[: t + 1]
        for block in self.blocks:
            x = x + block["attention"](block["norm1"](x))
            x = x + block["mlp"](block["norm2"](x))
        return self.head(self.norm(x))  # (N, T + 1, k)
        # solution: end


def next_token_loss(model: nn.Module, tokens: Tensor) -> Tensor:
    """The mean cross-entropy over all N·T tokens (N, T) of predicting each from those before it."""
    # solution: begin all but the last token in, all tokens as targets
    logits = model(tokens[:, :-1])  # (N, T, k): the model shifts by itself, the last token is no input
    return F.cross_entropy(logits.flatten(0, 1), tokens.flatten())
    # solution: end


def train(model: nn.Module, tokens: Tensor, steps: int) -> None:
    """Trains the model in place: `steps` steps on 32 rows each, drawn at random from tokens (N, T)."""
    # solution: begin optimizer and schedule; a batch, its loss, a step
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
    # solution: end


def sample(
    model: nn.Module,
    n: int,
    length: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Draws n rows of `length` tokens, int64, each token from what the model says after those before it."""
    # solution: begin token by token: last row of logits, temperature, top_k, softmax, a draw
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
    # solution: end
