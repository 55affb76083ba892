"""What loading a data set gives: two splits of images and labels, with the statistics to normalise them.

Nothing here reads or writes a file; `grader.data.prepared` does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Split:
    """Images, uint8 N×C×H×W, usually mapped from a file and not read yet, and their labels, int64 N."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return int(self.labels.shape[0])


@dataclass(frozen=True)
class DataSet:
    """A data set as the checks see it.

    `mean` and `std` are per channel, over all training pixels divided by 255. `source` is "real" or "embedded".
    Writing into the tensors changes this process' view of them, never the files.
    """

    name: str
    source: str
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    train: Split
    test: Split

    def split(self, split_name: str) -> Split:
        """The split called "train" or "test"; any other name raises `ValueError`."""
        if split_name not in ("train", "test"):
            raise ValueError(f"a data set has the splits 'train' and 'test', not {split_name!r}")
        return self.train if split_name == "train" else self.test

    def sample(self, split_name: str, n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
        """`n` different examples, in random order: images uint8 n×C×H×W and labels int64 n, both copies.

        As many of each class as of any other, give or take one, as far as the split has them. The same seed
        gives the same examples, on every machine. More examples than the split has raise `ValueError`.
        """
        import numpy as np
        import torch

        split = self.split(split_name)
        if not 0 <= n <= len(split):
            raise ValueError(f"{split_name} of {self.name} ({self.source}) has {len(split)} examples, not {n}")
        # Ranks of uniform numbers and not a library's shuffle: those are free to change between versions.
        noise = np.random.Generator(np.random.PCG64([seed, len(split)])).random(len(split))
        labels = split.labels.numpy()
        order = np.argsort(noise, kind="stable")
        turn = np.empty(len(order), dtype=np.int64)  # the how-manieth of its class an example is
        for label in np.unique(labels):
            turn[order[labels[order] == label]] = np.arange(int((labels == label).sum()))
        chosen = np.lexsort((noise, turn))[:n]
        # Lexsort leaves one of each class, then the next of each: shuffle, so that batches aren't that regular.
        chosen = chosen[np.argsort(noise[chosen] * 7919 % 1, kind="stable")]
        index = torch.from_numpy(chosen)
        return split.images[index], split.labels[index]
