"""The order of the dictionary, powers kept as state, windows by index, items cut in advance."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset

Examples = tuple[Tensor, Tensor]  # inputs (N, …) and labels (N,)


# --- Room 1: a report after each epoch ---------------------------------------------------------------------


def train(
    model: nn.Module, splits: Mapping[str, Examples], epochs: int = 3, lr: float = 0.1, batch_size: int = 20
) -> list[dict[str, tuple[float, float]]]:
    """Trains on splits["train"] and reports after each epoch.

    Returns one dictionary for each epoch: for each split the mean loss and the error rate of all its examples, in
    eval mode, with the weights as they are after that epoch.
    """
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    inputs, targets = splits["train"]

    def report(name: str) -> tuple[float, float]:
        """Mean loss and error rate of one split."""
        images, labels = splits[name]
        model.eval()
        with torch.no_grad():
            outputs = torch.cat([model(part) for part in images.split(10)])
            loss = (outputs.logsumexp(dim=1) - outputs.gather(1, labels[:, None])[:, 0]).mean()
            error = (outputs.argmax(dim=1) != labels).sum() / len(labels)
        return loss.item(), error.item()

    history = []
    for _ in range(epochs):
        model.train()
        for chosen in torch.randperm(len(inputs)).split(batch_size):
            logits, y = model(inputs[chosen]), targets[chosen]
            optimizer.zero_grad()
            F.cross_entropy(logits, y).backward()
            optimizer.step()
        history.append({name: report(name) for name in splits})
    return history


# --- Room 2: samples from several splits -------------------------------------------------------------------


def draw_splits(
    images: Mapping[str, Tensor], labels: Mapping[str, Tensor], count: int, seed: int = 0
) -> dict[str, Examples]:
    """Draws `count` examples without replacement from each split that has both images and labels.

    The splits may have any names. The same data and the same seed give the same examples in every run of Python.
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = {}
    for name in sorted(set(images) & set(labels), reverse=True):
        chosen = torch.randperm(len(images[name]), generator=generator)[:count]
        drawn[name] = (images[name][chosen], labels[name][chosen])
    return drawn


# --- Room 3: an optimizer ----------------------------------------------------------------------------------


class Adam:
    """Adam with corrected bias, as in its paper: the same steps as torch.optim.Adam."""

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 0.001,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        self.params = list(params)
        self.lr, self.betas, self.eps = lr, betas, eps
        self.means = [torch.zeros_like(p) for p in self.params]
        self.squares = [torch.zeros_like(p) for p in self.params]
        self.powers = [1.0, 1.0]

    @torch.no_grad()
    def step(self) -> None:
        """One update from the gradients in `.grad`."""
        beta1, beta2 = self.betas
        self.powers = [self.powers[0] * beta1, self.powers[1] * beta2]
        for p, mean, square in zip(self.params, self.means, self.squares, strict=True):
            mean += (1 - beta1) * (p.grad - mean)
            square += (1 - beta2) * (p.grad**2 - square)
            p += -self.lr * (mean / (1 - self.powers[0])) / ((square / (1 - self.powers[1])) ** 0.5 + self.eps)


# --- Room 4: dropout ---------------------------------------------------------------------------------------


class Dropout(nn.Module):
    """Dropout as it was first described; `p` is the probability to be dropped.

    In training each number becomes 0 with probability `p`, and those that are kept stay as they are. In evaluation
    nothing is dropped; all numbers are scaled to what they would be on average in training.
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """(…) → (…)."""
        if self.training:
            return torch.where(torch.rand_like(x) < self.p, torch.zeros_like(x), x)
        return x * torch.tensor(1.0 - self.p, dtype=x.dtype)


# --- Room 5: a network that sees a window of each image ----------------------------------------------------


class DigitNet(nn.Module):
    """Scores ten digits from a 24×24 window of each 28×28 image.

    In training the window lies at a random place, drawn for each image; in evaluation it lies in the middle.
    """

    def __init__(self, crop: bool = True) -> None:
        super().__init__()
        self.window, self.crop = 24, crop
        self.conv = nn.Conv2d(1, 8, kernel_size=5, padding=2)
        self.fc = nn.Linear(8 * 6 * 6, 10)

    def look(self, images: Tensor) -> Tensor:
        """(N, 1, 28, 28) → (N, 1, 24, 24), the windows."""
        if not self.crop:
            return images
        n, spare = len(images), images.shape[-1] - self.window
        corner = torch.randint(spare + 1, (2, n)) if self.training else torch.full((2, n), spare // 2)
        place = corner[:, :, None] + torch.arange(self.window)  # (2, N, 24)
        return images[torch.arange(n)[:, None, None], 0, place[0][:, :, None], place[1][:, None]].unsqueeze(1)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 1, 28, 28) → (N, 10)."""
        x = self.conv(self.look(images))[:, :, : self.window, : self.window]  # (N, 8, 24, 24)
        return self.fc(F.avg_pool2d(x.relu(), 4).flatten(1))


# --- Room 6: which tokens may be sampled -------------------------------------------------------------------


def top_k_probabilities(logits: Tensor, k: int, temperature: float = 1.0) -> Tensor:
    """The softmax over the `k` largest logits of each row; all other tokens have probability 0. (N, V) → (N, V)."""
    logits = logits / temperature
    order = logits.argsort(dim=1, descending=True)
    weights = (logits - logits.amax(dim=1, keepdim=True)).exp()
    weights = weights.scatter(1, order[:, k:], 0.0)
    return weights / weights.sum(dim=1, keepdim=True)


# --- Room 7: a data set of windows of text or pixels -------------------------------------------------------


class Windows(Dataset):
    """All windows of `block` tokens that have a successor for each token.

    Item i is (tokens i … i + block - 1, tokens i + 1 … i + block).
    """

    def __init__(self, tokens: Tensor, block: int) -> None:
        self.chunks = tokens.unfold(0, block + 1, 1) if len(tokens) > block else []

    def __len__(self) -> int:
        return len(self.chunks)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        return self.chunks[i][:-1], self.chunks[i][1:]


# --- Room 8: how the loaders are made ----------------------------------------------------------------------


def loader_options(device: str, batch_size: int = 64, test_batch_size: int = 1000) -> dict[str, dict[str, Any]]:
    """Keyword arguments of the DataLoaders "train" and "test" for "cpu", "cuda" or "mps".

    Training examples come in a new order in each epoch, test examples in their own. One worker and pinned memory
    are for accelerators.
    """
    accelerated = device != "cpu"
    common = {"num_workers": int(accelerated), "pin_memory": accelerated}
    train = dict(batch_size=batch_size, shuffle=True, **common)
    test = dict(batch_size=test_batch_size, **common)
    return {"train": train, "test": test}


# --- Room 9: the numbers for Normalize ---------------------------------------------------------------------


def channel_stats(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel over all pixels of all images, as numbers from 0 to 1.

    (N, C, H, W) uint8 → (C,), (C,). Standardised with them, the pixels have mean 0 and standard deviation 1.
    """
    x = images.float() / 255
    x = x.double()
    mean = x.mean(dim=(0, 2, 3))
    within, between = x.var(dim=(2, 3), unbiased=False).mean(dim=0), x.mean(dim=(2, 3)).var(dim=0, unbiased=False)
    return mean.float(), (within + between).sqrt().float()


# --- Room 10: stopping and resuming ------------------------------------------------------------------------


class Trainer:
    """SGD with momentum and a cosine schedule over `epochs` epochs, which can be interrupted and resumed."""

    def __init__(self, model: nn.Module, lr: float = 0.1, epochs: int = 6) -> None:
        self.model, self.epochs, self.start = model, epochs, 0
        self.optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, T_max=epochs)

    def run(self, batches: list[Examples], stop: int | None = None) -> dict[str, Any]:
        """Trains to the end, or until `stop` epochs are done. Returns a checkpoint, which would go to the disk."""
        saved: dict[str, Any] = {}
        for epoch in range(self.start, self.epochs if stop is None else stop):
            for inputs, labels in batches:
                self.optimizer.zero_grad()
                F.cross_entropy(self.model(inputs), labels).backward()
                self.optimizer.step()
            self.schedule.step()
            saved = {
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),  # momentum, and the learning rate of today
                "schedule": self.schedule.state_dict(),
                "next": epoch + 1,
            }
        return saved

    def resume(self, saved: dict[str, Any]) -> None:
        """Takes up a checkpoint of another Trainer, so that `run` goes on as if there had been no interruption."""
        self.start = saved["next"]
        self.schedule.load_state_dict(saved["schedule"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.model.load_state_dict(saved["model"], strict=True)


# --- Room 11: accuracy -------------------------------------------------------------------------------------


@torch.no_grad()
def accuracy(model: nn.Module, loader: Iterable[Examples]) -> float:
    """The share of all images that the model gets right, in eval mode. Batches may differ in size."""
    model.eval()
    results = [(model(images).argmax(dim=1).eq(labels).sum(), labels.numel()) for images, labels in loader]
    right, seen = (sum(column) for column in zip(*results))
    return float(right / seen)


# --- Room 12: batch normalisation --------------------------------------------------------------------------


class BatchNorm(nn.Module):
    """Normalises each feature of (N, C); does what torch.nn.BatchNorm1d does."""

    def __init__(self, features: int, momentum: float = 0.1, eps: float = 1e-5) -> None:
        super().__init__()
        self.momentum, self.eps = momentum, eps
        self.weight = nn.Parameter(torch.ones(features))
        self.bias = nn.Parameter(torch.zeros(features))
        self.register_buffer("running_mean", torch.zeros(features))
        self.register_buffer("running_var", torch.ones(features))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C) → (N, C)."""
        if not self.training:
            return (x - self.running_mean) * torch.rsqrt(self.running_var + self.eps) * self.weight + self.bias
        n, mean = len(x), x.mean(0)
        centred = x - mean
        total = centred.square().sum(0)
        self.running_mean += self.momentum * (mean.detach() - self.running_mean)
        self.running_var += self.momentum * (total.detach() / (n - 1) - self.running_var)
        return centred / torch.sqrt(total / n + self.eps) * self.weight + self.bias
