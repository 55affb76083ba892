"""What the data sets are: names, classes, shapes and usual sizes. Facts only; nothing here is loaded or checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from grader.errors import UsageProblem

SOURCES = ("real", "embedded")


@dataclass(frozen=True)
class SetInfo:
    """One data set: `shape` is C×H×W of an image, `real_counts` the images of each split of the real set."""

    name: str
    title: str
    classes: tuple[str, ...]
    shape: tuple[int, int, int]
    real_counts: Mapping[str, int]

    @property
    def image_bytes(self) -> int:
        channels, height, width = self.shape
        return channels * height * width


DIGITS = tuple("0123456789")
OBJECTS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

SETS: Mapping[str, SetInfo] = MappingProxyType(
    {
        "mnist": SetInfo("mnist", "MNIST", DIGITS, (1, 28, 28), {"train": 60_000, "test": 10_000}),
        "cifar10": SetInfo("cifar10", "CIFAR-10", OBJECTS, (3, 32, 32), {"train": 50_000, "test": 10_000}),
    }
)


def set_info(name: str) -> SetInfo:
    """The facts about one set; an unknown name raises `UsageProblem`."""
    if name not in SETS:
        raise UsageProblem(f"There is no data set “{name}”.", hint=f"The data sets are: {', '.join(SETS)}.")
    return SETS[name]
