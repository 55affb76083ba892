"""Measures the ladder of exercise 73: the network of 1989, and what each step towards today does to its errors.

    python benchmarks/lenet_ladder.py [--starts 4] [--passes-scale 1.0] [--workspace DIR]

Network, loss, rates and shifts are those of solutions/73_lenet_modern.py; the digits are MNIST's, prepared in the
workspace (`practice data import`). The published ladder takes one digit at a time; here the batches hold 16, and the
rates grow with them: from 0.03 to 0.3 for 1989 (with more it can lose an output for good; the first pass has a third),
from 0.01 to 0.16 for step 1, and four-fold, by the root of 16, for AdamW. The numbers of passes are the published ones.
Several networks with different starts train side by side, each with shifts and dropout of its own: what one of them
learns doesn't touch the others.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from grader.data import prepared
from grader.workspace import find

ROOT = Path(__file__).resolve().parents[1]
TRAIN, TEST, BATCH = 7291, 2007, 16


@dataclass(frozen=True)
class Rung:
    """One step of the ladder: what is trained, how, and what was published."""

    name: str
    published: int
    passes: int
    make: Callable[[ModuleType], nn.Module]
    rates: tuple[float, float]
    squared: bool = False
    adam: bool = True
    shift: bool = True


RUNGS = (
    Rung("1989: tanh, squared errors, SGD", 82, 23, lambda m: m.LeNet1989(), (0.3, 0.3), True, False, False),
    Rung("1: logits and cross-entropy", 87, 23, lambda m: m.LeNetModern(), (0.16, 0.16), adam=False, shift=False),
    Rung("2: AdamW, falling rate", 72, 46, lambda m: m.LeNetModern(), (1.2e-3, 4e-4), shift=False),
    Rung("3: shifts of a pixel", 43, 60, lambda m: m.LeNetModern(), (1.2e-3, 4e-4)),
    Rung("4: ReLU and dropout", 32, 80, lambda m: m.LeNetModern("relu", 0.25), (1.2e-3, 4e-4)),
)


def solution() -> ModuleType:
    spec = importlib.util.spec_from_file_location("lenet_modern", ROOT / "solutions" / "73_lenet_modern.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def small(images: Tensor) -> Tensor:
    """MNIST's images as digits of 1989."""
    return F.interpolate(images.float() / 127.5 - 1, size=(16, 16), mode="bilinear", align_corners=False)


class SideBySide:
    """Several networks of one kind, whose parameters are stacked along a new first axis."""

    def __init__(self, networks: list[nn.Module]) -> None:
        self.count, self.base = len(networks), networks[0]
        state, _ = stack_module_state(networks)
        self.parameters = {name: nn.Parameter(p.detach().clone()) for name, p in state.items()}
        self._run = vmap(lambda p, x: functional_call(self.base, p, (x,)), randomness="different")

    def __call__(self, images: Tensor) -> Tensor:
        """(networks, N, 1, 16, 16) to (networks, N, 10)."""
        result: Tensor = self._run(self.parameters, images)
        return result

    def misses(self, images: Tensor, labels: Tensor) -> list[int]:
        self.base.eval()
        with torch.no_grad():
            logits = self(images.expand(self.count, *images.shape))
        self.base.train()
        return [int(n) for n in (logits.argmax(-1) != labels).sum(1)]


def losses(outputs: Tensor, labels: Tensor, rung: Rung, code: ModuleType) -> Iterator[Tensor]:
    for one in outputs:
        yield ((one - (2 * F.one_hot(labels, 10) - 1)) ** 2).mean() if rung.squared else code.loss(one, labels)


def train(rung: Rung, code: ModuleType, starts: int, passes: int, images: Tensor, labels: Tensor) -> SideBySide:
    torch.manual_seed(rung.passes)
    nets = SideBySide([rung.make(code) for _ in range(starts)])
    nets.base.train()
    kind = torch.optim.AdamW if rung.adam else torch.optim.SGD  # element by element, so stacks change nothing
    optimizer = kind(nets.parameters.values(), lr=rung.rates[0])
    for number in range(passes):
        rate = code.rate(number, passes, *rung.rates)
        if not rung.adam and number == 0:
            rate /= 3
        for group in optimizer.param_groups:
            group["lr"] = rate
        for x, y in zip(images.split(BATCH), labels.split(BATCH), strict=True):
            each = [code.shifted(x) if rung.shift else x for _ in range(starts)]
            optimizer.zero_grad()
            torch.stack(list(losses(nets(torch.stack(each)), y, rung, code))).sum().backward()
            optimizer.step()
    return nets


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--starts", type=int, default=4, help="networks for each step (4)")
    parser.add_argument("--passes-scale", type=float, default=1.0, help="share of the published passes (1.0)")
    parser.add_argument("--workspace", type=Path, default=None)
    options = parser.parse_args()
    torch.set_num_threads(1)
    code = solution()
    digits = prepared.load(find(options.workspace).datasets, "mnist", "real")
    train_images, train_labels = digits.sample("train", TRAIN, seed=72)
    test_images, test_labels = digits.sample("test", TEST, seed=73)
    x, z = small(train_images), small(test_images)
    print(f"{'step':34}{'passes':>7}{'published':>11}{'misses of ' + str(TEST):>19}  each{'':14}train  CPU minutes")
    for rung in RUNGS:
        passes, before = max(1, round(rung.passes * options.passes_scale)), time.process_time()
        nets = train(rung, code, options.starts, passes, x, train_labels)
        wrong, known = nets.misses(z, test_labels), nets.misses(x, train_labels)
        spread = f"{statistics.mean(wrong):.1f} ± {statistics.stdev(wrong):.1f}" if len(wrong) > 1 else str(wrong[0])
        minutes = (time.process_time() - before) / 60
        print(
            f"{rung.name:34}{passes:>7}{rung.published:>11}{spread:>19}  {' '.join(map(str, wrong)):18}"
            f"{statistics.mean(known):>5.0f}{minutes:>13.1f}",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
