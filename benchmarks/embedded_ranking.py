"""What the two scripts about embedded data share: the four models that are ranked, and the table of results.

Not a benchmark by itself; run `embedded_digits.py` or `embedded_scenes.py`.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import combinations, pairwise
from pathlib import Path
from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from grader.data import prepared
from grader.data.importing import import_path
from grader.data.model import DataSet, Split
from grader.workspace import kit_solutions

Train = Callable[[nn.Module, Tensor, Tensor, int], None]
"""Train a model in place: (model, raw images uint8, labels, epochs)."""

MODELS = ("reference", "no activation", "linear", "label-shuffled")


@dataclass(frozen=True)
class Subject:
    """An exercise's reference as it is ranked: how to build it, and how to train a model like it."""

    build: Callable[[], nn.Module]
    build_without_activation: Callable[[], nn.Module]
    train: Train
    inputs: int


def solution(name: str, *, activation: bool = True) -> ModuleType:
    """The reference solution as a module; without activation every ReLU is taken out of its source."""
    source = (kit_solutions() / f"{name}.py").read_text(encoding="utf-8")
    if not activation:
        assert "F.relu(" in source, f"the reference {name} has no F.relu to take out"
        source = source.replace("F.relu(", "(")
    module = ModuleType(name)
    exec(compile(source, f"{name}.py", "exec"), module.__dict__)
    return module


def adam(normalise: Callable[[Tensor], Tensor]) -> Train:
    """Plain training: Adam 1e-3, batches of 64."""

    def train(model: nn.Module, images: Tensor, labels: Tensor, epochs: int) -> None:
        optimizer = torch.optim.Adam(model.parameters(), 1e-3)
        model.train()
        for _ in range(epochs):
            for batch in torch.randperm(len(images)).split(64):
                loss = F.cross_entropy(model(normalise(images[batch])), labels[batch])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()

    return train


def accuracy(model: nn.Module, normalise: Callable[[Tensor], Tensor], split: Split) -> float:
    """Percent of a split that the model gets right."""
    model.eval()
    with torch.no_grad():
        right = sum(
            int((model(normalise(images)).argmax(1) == labels).sum())
            for images, labels in zip(split.images.split(500), split.labels.split(500), strict=True)
        )
    return 100 * right / len(split)


def trained(
    subject: Subject,
    normalise: Callable[[Tensor], Tensor],
    model_name: str,
    data: DataSet,
    n: int,
    epochs: int,
    seed: int,
) -> nn.Module:
    """One of `MODELS`, trained on `n` training images of `data`."""
    torch.manual_seed(seed)
    images, labels = data.sample("train", min(n, len(data.train)), seed=seed)
    match model_name:
        case "linear":
            model: nn.Module = nn.Sequential(nn.Flatten(), nn.Linear(subject.inputs, 10))
            adam(normalise)(model, images, labels, epochs)
            return model
        case "no activation":
            model = subject.build_without_activation()
        case "label-shuffled":
            model, labels = subject.build(), labels[torch.randperm(len(labels))]
        case _:
            model = subject.build()
    subject.train(model, images, labels, epochs)
    return model


def arguments(description: str | None, epochs: int) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--seeds", type=int, default=3, help="how many, for the spread (default: 3)")
    parser.add_argument("--real", type=Path, help="the real data: a datasets_cache, or anything `data import` takes")
    parser.add_argument("--examples", type=int, default=10_000, help="training images (default: 10,000)")
    parser.add_argument("--epochs", type=int, default=epochs, help=f"passes over them (default: {epochs})")
    return parser.parse_args()


@contextmanager
def datasets(name: str, real: Path | None) -> Iterator[dict[str, DataSet]]:
    """The embedded set, generated for the occasion, and the real one when its place is given."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        start = time.process_time(), time.perf_counter()
        from grader.data.preparing import embed

        embed(place, name, lambda *_: None)
        print(
            f"generated in {time.process_time() - start[0]:.1f} s of one core, "
            f"{time.perf_counter() - start[1]:.1f} s by the clock (bar: 10)"
        )
        sets = {"embedded": prepared.load(place, name, "embedded")}
        if real is not None:
            if not prepared.available(real, name)["real"]:
                import_path(real, place, lambda *_: None, lambda _: None)
                real = place
            sets["real"] = prepared.load(real, name, "real")
        yield sets


def spread(values: Sequence[float]) -> str:
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):5.1f} ± {deviation:.1f} %"


def verdict(what: str, values: Sequence[float], *, least: float | None = None, below: float | None = None) -> bool:
    """Print a figure against its bar; the worst seed counts."""
    good = (least is None or min(values) >= least) and (below is None or max(values) < below)
    bar = f"at least {least:g}" if least is not None else f"below {below:g}"
    print(f"{what:<58}{spread(values)}   bar: {bar:<12} {'met' if good else 'MISSED'}")
    return good


def rank(
    subject: Subject,
    normalise: dict[str, Callable[[Tensor], Tensor]],
    sets: dict[str, DataSet],
    options: argparse.Namespace,
) -> dict[str, dict[str, list[float]]]:
    """Train every model on every source with every seed; print and return the test accuracies per source."""
    found: dict[str, dict[str, list[float]]] = {}
    for source, data in sets.items():
        found[source] = {}
        for model_name in MODELS:
            found[source][model_name] = [
                accuracy(
                    trained(subject, normalise[source], model_name, data, options.examples, options.epochs, seed),
                    normalise[source],
                    data.test,
                )
                for seed in range(options.seeds)
            ]
            print(f"  {source:<10}{model_name:<16}{spread(found[source][model_name])}", flush=True)
    return found


def same_ranking(found: dict[str, dict[str, list[float]]]) -> bool:
    """Whether no source puts clearly first what another puts clearly last. Close pairs count as equal."""
    for source, models in found.items():
        print(f"ranking on {source:<10}{_ranking(models)}")
    reversed_pairs = [
        f"{first} and {second}"
        for first, second in combinations(MODELS, 2)
        if {_order(models[first], models[second]) for models in found.values()} >= {-1, 1}
    ]
    if len(found) > 1:
        print(f"the sources {'DISAGREE on ' + ', '.join(reversed_pairs) if reversed_pairs else 'agree'}")
    return not reversed_pairs


def _ranking(models: dict[str, list[float]]) -> str:
    order = sorted(models, key=lambda each: -statistics.mean(models[each]))
    text = order[0]
    for better, worse in pairwise(order):
        text += f" {'>' if _order(models[better], models[worse]) else '≈'} {worse}"
    return text


def _order(first: Sequence[float], second: Sequence[float]) -> int:
    """1 or -1 when the first is better or worse by more than a point and twice the spread, else 0."""
    difference = statistics.mean(first) - statistics.mean(second)
    noise = sum(statistics.variance(each) if len(each) > 1 else 0.0 for each in (first, second)) ** 0.5
    return 0 if abs(difference) <= max(1.0, 2 * noise) else (1 if difference > 0 else -1)


def normaliser(data: DataSet) -> Callable[[Tensor], Tensor]:
    """uint8 N×C×H×W to floats with the data's own mean and deviation."""
    mean, std = (torch.tensor(each).view(1, -1, 1, 1) for each in (data.mean, data.std))
    return lambda images: (images.float() / 255 - mean) / std
