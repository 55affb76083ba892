"""Squares clamped at the smallest size that matters; a guard in the loop that never has to act."""

from __future__ import annotations

import torch
from torch import nn


def contrast_normalize(maps: torch.Tensor) -> torch.Tensor:
    """Each map of each image with mean 0 and standard deviation 1. (N, C, H, W) → (N, C, H, W)."""
    mean = maps.mean(dim=(2, 3), keepdim=True)
    std = maps.std(dim=(2, 3), keepdim=True)
    std = torch.where(std > 1e-9, std, torch.ones_like(std))
    return (maps - mean) / std


def attention_pool(tokens: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
    """The mean of the tokens, weighted by the softmax of their scores. (N, T, D), (N, T) → (N, D)."""
    weights = scores.softmax(dim=1)  # it subtracts the largest score first; exp(89) is inf in float32
    return (weights.unsqueeze(2) * tokens).sum(dim=1)


def attention_entropy(scores: torch.Tensor) -> torch.Tensor:
    """The entropy of the attention weights in nats, averaged over the images. (N, T) → ()."""
    log_weights = scores.log_softmax(dim=1)  # finite where the weight itself is rounded to 0; log(0) isn't
    return -(log_weights.exp() * log_weights).sum(dim=1).mean()


def pairwise_distance(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """The Euclidean distance of every row of `a` to every row of `b`. (N, D), (C, D) → (N, C)."""
    difference = a[:, None] - b[None]  # (N, C, D)
    return difference.pow(2).sum(dim=2).clamp(min=1e-30).sqrt()


def prototype_loss(distances: torch.Tensor, labels: torch.Tensor, temperature: float) -> torch.Tensor:
    """-log of the softmax of -distance / temperature, at the label; averaged. (N, C), (N,) → ()."""
    # -log p grows without bound as p vanishes, and has to: a clamped p has no gradient where it is needed most.
    log_probabilities = (-distances / temperature).log_softmax(dim=1)
    chosen = log_probabilities[torch.arange(len(labels)), labels]
    return -chosen.mean()


class PrototypeNet(nn.Module):
    """(N, 1, 16, 16) images → (N, classes) distances; the smallest is the prediction."""

    def __init__(self, classes: int = 4, channels: int = 12, dim: int = 8, temperature: float = 0.5) -> None:
        super().__init__()
        self.temperature = temperature
        self.patches = nn.Conv2d(1, channels, 4, stride=2, bias=False)  # the normalisation would remove a bias
        self.score = nn.Linear(channels, 1, bias=False)  # so would the softmax
        self.embed = nn.Linear(channels, dim)
        self.prototypes = nn.Parameter(torch.randn(classes, dim))

    def embeddings(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(N, 1, 16, 16) → embeddings (N, dim) and attention scores (N, 49)."""
        maps = contrast_normalize(self.patches(images)).relu()  # (N, channels, 7, 7)
        tokens = maps.flatten(2).transpose(1, 2)  # (N, 49, channels)
        scores = self.score(tokens).squeeze(2)  # (N, 49)
        return self.embed(attention_pool(tokens, scores)), scores

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(N, 1, 16, 16) → (N, classes)."""
        embeddings, _ = self.embeddings(images)
        return pairwise_distance(embeddings, self.prototypes)

    def loss(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The loss of a batch; a little reward for entropy keeps the attention from looking at one patch only."""
        embeddings, scores = self.embeddings(images)
        distances = pairwise_distance(embeddings, self.prototypes)
        return prototype_loss(distances, labels, self.temperature) - 0.01 * attention_entropy(scores)


def train(
    model: PrototypeNet, batches: list[tuple[torch.Tensor, torch.Tensor]], epochs: int = 5, lr: float = 0.005
) -> list[float]:
    """Trains the model on the batches and returns the mean loss of each epoch."""
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    history = []
    for _ in range(epochs):
        total = 0.0
        for images, labels in batches:
            loss = model.loss(images, labels)
            if not torch.isfinite(loss):
                raise RuntimeError("the loss is not finite; stop before the weights are ruined")
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
        history.append(total / len(batches))
    return history
