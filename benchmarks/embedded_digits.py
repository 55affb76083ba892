"""Whether the embedded digits are worth learning on.

The bars: a CNN trained only on them reads at least 80 % of the real MNIST test images; a linear model stays
under 93 % on them; reference, no activation, linear and label-shuffled rank as on real MNIST; generated within
10 s. Exit code 1 when a bar is missed. Without --real only what needs no real data is measured.

    python benchmarks/embedded_digits.py --seeds 3 --real datasets_cache
"""

from __future__ import annotations

import sys

import torch
from embedded_ranking import (
    Subject,
    accuracy,
    adam,
    arguments,
    datasets,
    normaliser,
    rank,
    same_ranking,
    solution,
    trained,
    verdict,
)


def main() -> int:
    options = arguments(__doc__, epochs=3)
    torch.set_num_threads(1)
    with datasets("mnist", options.real) as sets:
        normalise = {source: normaliser(data) for source, data in sets.items()}
        # SimpleCNN has no normalisation of its own; the loop of the exercise is plain Adam as well.
        kit, bare = solution("01_mnist_cnn"), solution("01_mnist_cnn", activation=False)
        subject = Subject(kit.SimpleCNN, bare.SimpleCNN, adam(normalise["embedded"]), 28 * 28)
        found = rank(subject, normalise, sets, options)
        good = [
            verdict("linear model on the embedded digits", found["embedded"]["linear"], below=93),
            same_ranking(found),
        ]
        if "real" in sets:
            read = []
            for seed in range(options.seeds):
                model = trained(
                    subject, normalise["embedded"], "reference", sets["embedded"], 12_000, options.epochs, seed
                )
                read.append(accuracy(model, normalise["embedded"], sets["real"].test))
            good.append(verdict("CNN trained on embedded digits reads real MNIST", read, least=80))
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
