"""A museum: twelve short pieces of training code, each with a bug that well-known public code really had.

Repaired. Run as a script it prints, room by room, the figures by which the bugs gave themselves away:

     1  after 3 epochs: loss 0.5965 on train, 0.7982 on test
     2  drawn from train [8, 39, 13], from test [4, 16, 21]
     3  the first step is 1.00 learning rates long
     4  in evaluation a 1 becomes 0.80 for p=0.2, 0.50 for p=0.5; in training on average 0.80 and 0.50
     5  rows of pixels never read in 50 passes: []
     6  the three tokens outside the top 2 have a probability of 0.0 %
     7  10 tokens, windows of 3: the last target is 9
     8  train on cpu [7, 0, 5, 4, 2, 6, 1, 3], test on cuda [0, 1, 2, 3, 4, 5, 6, 7]
     9  standardised pixels have standard deviations of 1.00, 1.00, 1.00
    10  learning rates by epoch, stopped after 3: 0.1000 0.0933 0.0750 | 0.0500 0.0250 0.0067
    11  5.00 of 10 images are right
    12  16 examples of variance 1: the running variance becomes 1.0000
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

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
            outputs = model(images)
            loss = F.cross_entropy(outputs, labels)  # this split's, not what the training loop has left over
            error = (outputs.argmax(dim=1) != labels).float().mean()
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
    # A set of strings has another order in each process; all splits share the generator, so the order matters.
    for name in sorted(images.keys() & labels.keys()):
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
        self.steps = 0

    @torch.no_grad()
    def step(self) -> None:
        """One update from the gradients in `.grad`."""
        self.steps += 1
        beta1, beta2 = self.betas
        for p, mean, square in zip(self.params, self.means, self.squares, strict=True):
            mean.mul_(beta1).add_(p.grad, alpha=1 - beta1)
            square.mul_(beta2).addcmul_(p.grad, p.grad, value=1 - beta2)
            # Both averages start at 0 and are too small by these factors at first.
            m = mean / (1 - beta1**self.steps)
            v = square / (1 - beta2**self.steps)
            p -= self.lr * m / (v.sqrt() + self.eps)


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
            return x * (torch.rand_like(x) >= self.p)
        return x * (1 - self.p)  # the share that is kept


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
        spare = images.shape[2] - self.window
        if self.training:
            corners = torch.randint(spare + 1, (len(images), 2)).tolist()
        else:
            corners = [[spare // 2, spare // 2]] * len(images)
        pairs = zip(images, corners, strict=True)
        return torch.stack([x[:, i : i + self.window, j : j + self.window] for x, (i, j) in pairs])

    def forward(self, images: Tensor) -> Tensor:
        """(N, 1, 28, 28) → (N, 10)."""
        x = self.conv(self.look(images))[:, :, : self.window, : self.window]  # (N, 8, 24, 24)
        return self.fc(F.avg_pool2d(x.relu(), 4).flatten(1))


# --- Room 6: which tokens may be sampled -------------------------------------------------------------------


def top_k_probabilities(logits: Tensor, k: int, temperature: float = 1.0) -> Tensor:
    """The softmax over the `k` largest logits of each row; all other tokens have probability 0. (N, V) → (N, V)."""
    logits = logits / temperature
    smallest = logits.topk(k, dim=1).values[:, -1:]  # (N, 1)
    return logits.masked_fill(logits < smallest, -torch.inf).softmax(dim=1)  # exp(-inf) is 0, exp(0) is 1


# --- Room 7: a data set of windows of text or pixels -------------------------------------------------------


class Windows(Dataset):
    """All windows of `block` tokens that have a successor for each token.

    Item i is (tokens i … i + block - 1, tokens i + 1 … i + block).
    """

    def __init__(self, tokens: Tensor, block: int) -> None:
        self.tokens, self.block = tokens, block

    def __len__(self) -> int:
        return len(self.tokens) - self.block

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        chunk = self.tokens[i : i + self.block + 1]
        return chunk[:-1], chunk[1:]


# --- Room 8: how the loaders are made ----------------------------------------------------------------------


def loader_options(device: str, batch_size: int = 64, test_batch_size: int = 1000) -> dict[str, dict[str, Any]]:
    """Keyword arguments of the DataLoaders "train" and "test" for "cpu", "cuda" or "mps".

    Training examples come in a new order in each epoch, test examples in their own. One worker and pinned memory
    are for accelerators.
    """
    train: dict[str, Any] = {"batch_size": batch_size, "shuffle": True}  # whatever the device is
    test: dict[str, Any] = {"batch_size": test_batch_size}
    if device != "cpu":
        accelerator = {"num_workers": 1, "pin_memory": True}
        train.update(accelerator)
        test.update(accelerator)
    return {"train": train, "test": test}


# --- Room 9: the numbers for Normalize ---------------------------------------------------------------------


def channel_stats(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel over all pixels of all images, as numbers from 0 to 1.

    (N, C, H, W) uint8 → (C,), (C,). Standardised with them, the pixels have mean 0 and standard deviation 1.
    """
    x = images.float() / 255
    mean = x.mean(dim=(0, 2, 3))
    std = x.std(dim=(0, 2, 3))  # the images also differ from each other in brightness
    return mean, std


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
                "epoch": epoch,
            }
        return saved

    def resume(self, saved: dict[str, Any]) -> None:
        """Takes up a checkpoint of another Trainer, so that `run` goes on as if there had been no interruption."""
        self.model.load_state_dict(saved["model"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.schedule.load_state_dict(saved["schedule"])
        self.start = saved["epoch"] + 1  # that epoch is done


# --- Room 11: accuracy -------------------------------------------------------------------------------------


@torch.no_grad()
def accuracy(model: nn.Module, loader: Iterable[Examples]) -> float:
    """The share of all images that the model gets right, in eval mode. Batches may differ in size."""
    model.eval()
    right, seen = 0, 0
    for images, labels in loader:
        right += (model(images).argmax(dim=1) == labels).sum().item()
        seen += len(labels)
    return right / seen


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
        mean, var = self.running_mean, self.running_var
        if self.training:
            mean, var = x.mean(dim=0), x.var(dim=0, unbiased=False)
            with torch.no_grad():
                self.running_mean.lerp_(mean, self.momentum)
                # An estimate for data to come divides by N - 1; the batch itself is normalised by its own variance.
                self.running_var.lerp_(x.var(dim=0), self.momentum)
        return (x - mean) / (var + self.eps).sqrt() * self.weight + self.bias


if __name__ == "__main__":
    torch.set_num_threads(1)  # everything here is small
    torch.manual_seed(0)

    centres = torch.randn(3, 8)
    y = torch.randint(3, (160,))
    x = centres[y] + 1.5 * torch.randn(160, 8)
    last = train(nn.Linear(8, 3), {"train": (x[:60], y[:60]), "test": (x[60:], y[60:])})[-1]
    print(f" 1  after 3 epochs: loss {last['train'][0]:.4f} on train, {last['test'][0]:.4f} on test")

    pool = {name: torch.arange(40) for name in ("train", "test", "val")}
    drawn = {name: numbers.tolist() for name, (numbers, _) in draw_splits(pool, pool, 3).items()}
    print(f" 2  drawn from train {drawn['train']}, from test {drawn['test']}")

    p = torch.zeros(1, requires_grad=True)
    p.grad = torch.full((1,), 3.0)
    Adam([p]).step()
    print(f" 3  the first step is {-p.item() / 0.001:.2f} learning rates long")

    ones, scaled, average = torch.ones(100_000), [], []
    for layer in (Dropout(0.2), Dropout(0.5)):
        average.append(f"{layer(ones).mean():.2f}")
        scaled.append(f"{layer.eval()(ones).mean():.2f} for p={layer.p}")
    print(f" 4  in evaluation a 1 becomes {', '.join(scaled)}; in training on average {' and '.join(average)}")

    images = torch.rand(50, 1, 28, 28, requires_grad=True)
    DigitNet()(images).square().sum().backward()
    unread = [row for row in range(28) if not images.grad[:, :, row].any()]
    print(f" 5  rows of pixels never read in 50 passes: {unread}")

    outside = top_k_probabilities(torch.tensor([[2.0, 1.0, 0.0, -1.0, -2.0]]), k=2)[0, 2:].sum().item()
    print(f" 6  the three tokens outside the top 2 have a probability of {outside:.1%}".replace("%", " %"))

    windows = Windows(torch.arange(10), 3)
    print(f" 7  10 tokens, windows of 3: the last target is {windows[len(windows) - 1][1][-1]}")

    orders = {}
    for device in ("cpu", "cuda"):
        for name, options in loader_options(device, 4, 4).items():
            options = {**options, "num_workers": 0, "pin_memory": False}  # to look at the order needs no accelerator
            orders[name, device] = torch.cat(list(DataLoader(torch.arange(8), **options))).tolist()
    print(f" 8  train on cpu {orders['train', 'cpu']}, test on cuda {orders['test', 'cuda']}")

    brightness = 128 + 35 * torch.randn(200, 3, 1, 1)
    photographs = (brightness + 50 * torch.randn(200, 3, 16, 16)).clamp(0, 255).to(torch.uint8)
    mean, std = (numbers[:, None, None] for numbers in channel_stats(photographs))
    spread = ((photographs / 255 - mean) / std).std(dim=(0, 2, 3)).tolist()
    print(f" 9  standardised pixels have standard deviations of {', '.join(f'{s:.2f}' for s in spread)}")

    class Rates(list):
        """Batches that note the learning rate of their trainer at the beginning of each epoch."""

        def __iter__(self):
            rates.append(f"{trainer.optimizer.param_groups[0]['lr']:.4f}")
            return super().__iter__()

    rates: list[str] = []
    trainer = Trainer(nn.Linear(8, 3))
    checkpoint = trainer.run(Rates([(x, y)]), stop=3)
    rates.append("|")
    trainer = Trainer(nn.Linear(8, 3))
    trainer.resume(checkpoint)
    trainer.run(Rates([(x, y)]))
    print(f"10  learning rates by epoch, stopped after 3: {' '.join(rates)}")

    scores = F.one_hot(torch.tensor([0, 1, 1, 1, 0, 1, 0, 0, 0, 0])).float()
    batches = list(zip(scores.split(9), torch.tensor([0, 1, 1, 1, 0, 0, 1, 1, 1, 1]).split(9), strict=True))
    print(f"11  {10 * accuracy(nn.Identity(), batches):.2f} of 10 images are right")

    norm = BatchNorm(1, momentum=1.0)
    sixteen = torch.randn(16, 1)
    norm(sixteen / sixteen.std())
    print(f"12  16 examples of variance 1: the running variance becomes {norm.running_var.item():.4f}")
