"""Times what the README says about verdicts: cold and warm checks, training checks, `--full`, and peak memory.

    python benchmarks/verdicts.py                # checks that need no training: cold against `import torch`, and warm
    python benchmarks/verdicts.py --train        # 01, 02 and 03 whole, on the data that are prepared
    python benchmarks/verdicts.py --full         # 01 and 02 on the whole training sets, minutes

Prints medians with their range. Run it on a quiet machine, in a workspace with the real sets imported if you want
their figures. Memory is the proportional set size of the whole process tree, the warm server included.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

PRACTICE = [str(Path(sys.executable).with_name("practice"))]


@dataclass
class Run:
    """One command: wall seconds, its scorecard, and the peak memory of everything that worked for it."""

    seconds: float
    card: dict
    peak_mb: float


def practice(*arguments: str, **environ: str) -> Run:
    peak = Peak()
    began = time.perf_counter()
    with peak:
        finished = subprocess.run(
            [*PRACTICE, *arguments, "--json"], capture_output=True, text=True, env=os.environ | environ, check=False
        )
    seconds = time.perf_counter() - began
    if not finished.stdout.strip():
        sys.exit(finished.stderr)
    return Run(seconds, json.loads(finished.stdout), peak.mb)


class Peak:
    """Watches every process of the kit while it is open."""

    def __init__(self) -> None:
        self.mb = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.25):
            total = 0
            for process in psutil.process_iter(["cmdline"]):
                try:
                    if "grader.sandbox.server" in " ".join(process.info["cmdline"] or ()):
                        total += process.memory_full_info().pss
                except psutil.Error:
                    continue
            self.mb = max(self.mb, total / 2**20)


def spread(values: list[float], unit: str = "s") -> str:
    return f"{statistics.median(values):.2f} {unit} ({min(values):.2f} to {max(values):.2f})"


def import_torch() -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import torch"], check=True)
    return time.perf_counter() - began


def without_training(repeats: int, exercise: str) -> None:
    practice("check", exercise, "--solution", PRACTICE_WARM="0")  # fills the file cache
    torch, cold = [], []
    for _ in range(repeats):
        torch.append(import_torch())
        cold.append(practice("check", exercise, "--solution", PRACTICE_WARM="0").seconds)
    extra = statistics.median(cold) - statistics.median(torch)
    print(f"{exercise}: import torch {spread(torch)}; cold check {spread(cold)}: {extra:+.2f} s, bar +0.5 s")
    practice("check", exercise, "--solution")
    time.sleep(6)  # the server completes its imports when it has nothing to do
    warm = [practice("check", exercise, "--solution").seconds for _ in range(repeats)]
    print(f"{exercise}: warm check {spread(warm)}, bar 1.0 s")


def whole(exercise: str, repeats: int, *flags: str) -> None:
    runs = [practice("check", exercise, "--solution", *flags) for _ in range(repeats)]
    card = runs[0].card
    measures = {k: v for check in card["checks"] for k, v in check["measures"].items()}
    seconds, memory = [r.seconds for r in runs], [r.peak_mb for r in runs]
    print(
        f"{exercise} {' '.join(flags)} ({card['data']}): {card['score']}/{card['max_score']} in {spread(seconds)};"
        f" peak {max(memory):.0f} MB; {measures}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--train", action="store_true")
    parser.add_argument("--full", action="store_true")
    options = parser.parse_args()
    if options.train:
        for exercise in ("01", "02", "03", "04"):
            whole(exercise, min(options.repeats, 3))
    elif options.full:
        for exercise in ("01", "02"):
            whole(exercise, 1, "--full")
    else:
        for exercise in ("05", "00"):
            without_training(options.repeats, exercise)


if __name__ == "__main__":
    main()
