"""Trains the small ResNet that ships with exercise 03, and says how well it transfers.

    python benchmarks/pretrain_small_resnet.py            # a few minutes on one core; writes small_resnet.npz
    python benchmarks/pretrain_small_resnet.py --measure  # only measures the file that is there

It learns six of the ten classes of the embedded scenes. The exercise then asks for the other four, so nothing of
its new task has been seen here. Written are the backbone's weights alone, in half precision, without a head.
The same machine, version of torch and seed give the same file; elsewhere it differs in the last digits.
"""

from __future__ import annotations

import argparse
import importlib
import io
import os
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from grader.data import scenes
from grader.files import write_atomic

FOLDER = Path(__file__).resolve().parents[1] / "grader" / "bank" / "03_resnet_transfer"
FILE = FOLDER / "small_resnet.npz"
WIDTHS = [16, 32, 64, 128]
CLASSES = 6  # airplane, automobile, bird, cat, deer, dog; the others are the exercise's new task
PICTURES, EPOCHS, BATCH, SEED = 30_000, 12, 128, 3
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # as probes.py prepares its images

probes = importlib.import_module("grader.bank.03_resnet_transfer.probes")


def pictures(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures of the first six classes, from `count` of all ten: floats N×3×32×32, normalised, and labels."""
    drawn, kinds = scenes.generate(count, seed=seed)
    known = kinds < CLASSES
    images = torch.from_numpy(drawn[known]).float() / 255
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    return (images - mean) / std, torch.from_numpy(kinds[known]).long()


def augmented(images: torch.Tensor) -> torch.Tensor:
    """Each batch mirrored with probability 1/2 and moved by up to four pixels."""
    if torch.rand(()) < 0.5:
        images = images.flip(3)
    down, right = (int(n) for n in torch.randint(0, 9, (2,)))
    size = images.shape[-1]
    return F.pad(images, (4, 4, 4, 4), mode="reflect")[..., down : down + size, right : right + size]


def accuracy(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    model.eval()
    with torch.no_grad():
        right = sum((model(x).argmax(1) == y).sum() for x, y in zip(images.split(500), labels.split(500), strict=True))
    return float(right) / len(labels)


def pretrain() -> nn.Module:
    """The small ResNet, trained on six classes with SGD and a one-cycle schedule."""
    torch.manual_seed(SEED)
    images, labels = pictures(PICTURES, seed=SEED)
    held_images, held_labels = pictures(2_000, seed=SEED + 1000)
    model: nn.Module = probes.SmallResNet(WIDTHS, CLASSES).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True)
    steps = EPOCHS * (len(labels) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.2, total_steps=steps, pct_start=0.2)
    start = time.perf_counter()
    for epoch in range(EPOCHS):
        model.train()
        total = 0.0
        for batch in torch.randperm(len(labels))[: len(labels) // BATCH * BATCH].split(BATCH):
            x = augmented(images[batch]).contiguous(memory_format=torch.channels_last)
            loss = F.cross_entropy(model(x), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += float(loss.detach())
        held = accuracy(model, held_images, held_labels)
        mean = total / (len(labels) // BATCH)
        seconds = time.perf_counter() - start
        print(f"epoch {epoch + 1:2} of {EPOCHS}: loss {mean:.3f}, held-out {held:.3f}, {seconds:.0f} s")
    return model


def save(model: nn.Module, file: Path) -> None:
    """The backbone in half precision; the count of batches is left out, and so is the head."""
    kept = {
        name: tensor.detach().to(torch.float16).contiguous().numpy()
        for name, tensor in model.state_dict().items()
        if not name.startswith("fc.") and not name.endswith("num_batches_tracked")
    }
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **kept)
    write_atomic(file, buffer.getvalue())
    print(f"wrote {file.name}: {len(buffer.getvalue()) / 1e6:.2f} MB")


def measure(seeds: int) -> None:
    """The exercise's new task, with its own probe and its reference solution, over several seeds."""
    checks = importlib.import_module("grader.bank.03_resnet_transfer.checks")
    sys.path.append(str(FOLDER.parents[2] / "solutions"))
    candidate = importlib.import_module("03_resnet_transfer")
    start = checks.pretrained()
    rows: list[tuple[float, float]] = []
    for seed in range(seeds):
        task = checks.new_task(seed)
        arguments = [task[name] for name in ("images", "labels", "new_images", "order")]
        reached = []
        for weights in (start.weights, None):
            torch.manual_seed(seed)
            logits = probes.learn(candidate, start.widths, weights, *arguments, start.size)
            reached.append(float((logits.argmax(1) == task["new_labels"]).double().mean()))
        rows.append((reached[0], reached[1]))
        print(f"seed {seed:2}: pretrained {reached[0]:.3f}, from scratch {reached[1]:.3f}")
    table = torch.tensor(rows)
    margin = table[:, 0] - table[:, 1]
    for name, values in (("pretrained", table[:, 0]), ("from scratch", table[:, 1]), ("margin", margin)):
        spread = f"sd {values.std():.3f}  min {values.min():.3f}  max {values.max():.3f}"
        print(f"{name:12}  mean {values.mean():.3f}  {spread}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", action="store_true", help="train nothing, measure the file that is there")
    parser.add_argument("--seeds", type=int, default=12)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if not options.measure:
        save(pretrain(), FILE)
    measure(options.seeds)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
