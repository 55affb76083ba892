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
    raise NotImplementedError(
        "TODO: nearest code of each pixel, means, pixels at random for codes without any"
    )


def kmeans(pixels: Tensor, k: int, steps: int, generator: torch.Generator | None = None) -> Tensor:
    """k codes (k, C) for the pixels (M, C): k different rows of them at random, then `steps` steps."""
    raise NotImplementedError("TODO: k rows drawn without replacement, then the steps")


def encode(images: Tensor, codes: Tensor) -> Tensor:
    """Images (N, C, H, W) as tokens (N, H·W), int64: the number of each pixel's nearest code, row by row."""
    raise NotImplementedError(
        "TODO: channels last, nearest codes, one row of tokens for each image"
    )


def decode(tokens: Tensor, codes: Tensor, height: int, width: int) -> Tensor:
    """The way back: tokens (N, height·width) as images (N, C, height, width) of the codes' colours."""
    raise NotImplementedError("TODO: look the codes up, restore rows, columns and channels")


class CausalAttention(nn.Module):
    """Self-attention with several heads in which no place sees a later one: (N, T, dim) to (N, T, dim)."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        raise NotImplementedError("TODO: the layers qkv and proj")

    def forward(self, x: Tensor) -> Tensor:
        raise NotImplementedError(
            "TODO: queries, keys, values by head; scores, mask, softmax; heads joined; proj"
        )


class ImageGPT(nn.Module):
    """Tokens (N, T), 0 ≤ T < length, to logits (N, T + 1, k): row t for token t, from the tokens before it."""

    def __init__(self, k: int, length: int, dim: int = 32, layers: int = 2, heads: int = 4) -> None:
        super().__init__()
        raise NotImplementedError(
            "TODO: embeddings of codes and places, a start, blocks with CausalAttention, a head"
        )

    def forward(self, tokens: Tensor) -> Tensor:
        raise NotImplementedError("TODO: start and tokens, places added; blocks; logits")


def next_token_loss(model: nn.Module, tokens: Tensor) -> Tensor:
    """The mean cross-entropy over all N·T tokens (N, T) of predicting each from those before it."""
    raise NotImplementedError("TODO: all but the last token in, all tokens as targets")


def train(model: nn.Module, tokens: Tensor, steps: int) -> None:
    """Trains the model in place: `steps` steps on 32 rows each, drawn at random from tokens (N, T)."""
    raise NotImplementedError("TODO: optimizer and schedule; a batch, its loss, a step")


def sample(
    model: nn.Module,
    n: int,
    length: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Draws n rows of `length` tokens, int64, each token from what the model says after those before it."""
    raise NotImplementedError(
        "TODO: token by token: last row of logits, temperature, top_k, softmax, a draw"
    )
