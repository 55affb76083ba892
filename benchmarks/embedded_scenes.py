"""Whether the embedded scenes are worth learning on.

The bars: a linear model stays under 45 % on them, the reference CNN is at least 15 points above it; reference,
no activation, linear and label-shuffled rank as on real CIFAR-10; generated within 10 s. Exit code 1 when a bar
is missed. Without --real only what needs no real data is measured.

    python benchmarks/embedded_scenes.py --seeds 3 --real datasets_cache
"""

from __future__ import annotations

import sys

import torch
from embedded_ranking import Subject, arguments, datasets, rank, same_ranking, solution, verdict


def main() -> int:
    options = arguments(__doc__, epochs=4)
    torch.set_num_threads(1)
    with datasets("cifar10", options.real) as sets:
        kit, bare = solution("02_cifar10_cnn"), solution("02_cifar10_cnn", activation=False)
        # The reference's own `train` normalises by itself; the linear model gets images normalised as it does.
        subject = Subject(kit.CNN, bare.CNN, kit.train, 3 * 32 * 32)
        found = rank(subject, dict.fromkeys(sets, kit.normalize), sets, options)
        embedded = found["embedded"]
        gap = [a - b for a, b in zip(embedded["reference"], embedded["linear"], strict=True)]
        good = [
            verdict("linear model on the embedded scenes", embedded["linear"], below=45),
            verdict("reference above linear on the embedded scenes (points)", gap, least=15),
            same_ranking(found),
        ]
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
