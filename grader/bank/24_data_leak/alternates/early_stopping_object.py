"""Early stopping as an object; the duplicates go by torch.unique, biased deviation."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

Part = tuple[torch.Tensor, torch.Tensor]  # images (N, 1, H, W) and labels (N,)


def augment(images: torch.Tensor, labels: torch.Tensor, generator: torch.Generator) -> Part:
    """Each image and two copies of it with other contrast, brightness and noise. N → 3 N, the originals first."""
    pictures = [images]
    for _ in range(2):
        contrast = 1 + 0.1 * torch.randn(len(images), 1, 1, 1, generator=generator)
        brightness = 0.1 * torch.randn(len(images), 1, 1, 1, generator=generator)
        noise = 0.05 * torch.randn(images.shape, generator=generator)
        pictures.append(images * contrast + brightness + noise)
    return torch.cat(pictures), labels.repeat(3)


def split(count: int, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """The indices of three parts: 60 % for training, 20 % for validation, 20 % for the test."""
    order = torch.randperm(count, generator=generator)
    a, b = int(0.6 * count), int(0.8 * count)
    return {"train": order[:a], "val": order[a:b], "test": order[b:]}


class BestSoFar:
    """Remembers the best weights, and says when to stop."""

    def __init__(self, patience: int) -> None:
        self.patience = patience
        self.history: list[float] = []
        self.best_epoch = -1
        self.weights: dict[str, torch.Tensor] = {}

    def stop(self, value: float, model: nn.Module) -> bool:
        """Takes in the value of one more epoch."""
        self.history.append(value)
        if self.best_epoch < 0 or value > self.history[self.best_epoch]:
            self.best_epoch = len(self.history) - 1
            self.weights = {name: t.detach().clone() for name, t in model.state_dict().items()}
        return len(self.history) - 1 - self.best_epoch >= self.patience


def prepare(images: torch.Tensor, labels: torch.Tensor, seed: int = 0) -> dict[str, Part]:
    """The parts "train", "val" and "test", standardised; the training part is augmented."""
    generator = torch.Generator().manual_seed(seed)
    distinct, inverse = images.unique(dim=0, return_inverse=True)
    kinds = torch.empty(len(distinct), dtype=labels.dtype)
    kinds[inverse] = labels
    where = split(len(distinct), generator)
    train = distinct[where["train"]]
    mean, std = train.mean(), train.std(correction=0)
    parts = {name: ((distinct[i] - mean) / std, kinds[i]) for name, i in where.items() if name != "train"}
    more, more_kinds = augment(train, kinds[where["train"]], generator)
    parts["train"] = ((more - mean) / std, more_kinds)
    return parts


@torch.no_grad()
def accuracy(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    """The fraction of the images that the model gets right, in eval mode."""
    model.eval()
    return (model(images).argmax(dim=1) == labels).float().mean().item()


def fit(
    model: nn.Module,
    parts: dict[str, Part],
    epochs: int = 30,
    lr: float = 0.003,
    patience: int = 6,
    seed: int = 0,
) -> list[float]:
    """Trains on the training part and leaves the model with the weights of its best epoch.

    Stops when `patience` epochs in a row brought no better accuracy. Returns the accuracy after each epoch.
    """
    images, labels = parts["train"]
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    generator = torch.Generator().manual_seed(seed)
    stopping = BestSoFar(patience)
    for _ in range(epochs):
        model.train()
        order = torch.randperm(len(images), generator=generator)
        for start in range(0, len(order), 32):
            batch = order[start : start + 32]
            optimizer.zero_grad()
            F.cross_entropy(model(images[batch]), labels[batch]).backward()
            optimizer.step()
        if stopping.stop(accuracy(model, *parts["val"]), model):
            break
    model.load_state_dict(stopping.weights)
    return stopping.history


def build_model(images: torch.Tensor, classes: int) -> nn.Module:
    """A small network for images of this size."""
    return nn.Sequential(nn.Flatten(), nn.Linear(images[0].numel(), 128), nn.ReLU(), nn.Linear(128, classes))


def run(images: torch.Tensor, labels: torch.Tensor, seed: int = 0, epochs: int = 30) -> dict[str, float]:
    """The whole pipeline. Returns the accuracies of the trained model on the validation and on the test part."""
    parts = prepare(images, labels, seed)
    torch.manual_seed(seed)
    model = build_model(images, int(labels.max()) + 1)
    fit(model, parts, epochs=epochs, seed=seed)
    return {"val": accuracy(model, *parts["val"]), "test": accuracy(model, *parts["test"])}
