"""Only the first copy of each picture is kept, found by its bytes; then one step after the other."""

from __future__ import annotations

import copy

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


def prepare(images: torch.Tensor, labels: torch.Tensor, seed: int = 0) -> dict[str, Part]:
    """The parts "train", "val" and "test", standardised; the training part is augmented."""
    generator = torch.Generator().manual_seed(seed)
    seen: dict[bytes, int] = {}
    for i, image in enumerate(images):
        seen.setdefault(image.numpy().tobytes(), i)
    kept = torch.tensor(list(seen.values()))
    images, labels = images[kept], labels[kept]
    indices = split(len(images), generator)
    train = images[indices["train"]]
    center, scale = train.mean(), train.std()
    parts = {}
    for name, chosen in indices.items():
        pictures, kinds = images[chosen], labels[chosen]
        if name == "train":
            pictures, kinds = augment(pictures, kinds, generator)
        parts[name] = ((pictures - center) / scale, kinds)
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
    history: list[float] = []
    best, waited = -1.0, 0
    for _ in range(epochs):
        model.train()
        for chosen in torch.randperm(len(images), generator=generator).split(32):
            loss = F.cross_entropy(model(images[chosen]), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        history.append(accuracy(model, *parts["val"]))  # choosing by the test part would be training on it
        if history[-1] > best:
            best, waited = history[-1], 0
            weights = copy.deepcopy(model.state_dict())
        else:
            waited += 1
            if waited == patience:
                break
    model.load_state_dict(weights)
    return history


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
