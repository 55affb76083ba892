"""Grades every reference and alternate many times, alone and under full load, and counts verdicts that differ.

    python benchmarks/stability.py --runs 30                 # all exercises, half of the runs with every core busy
    python benchmarks/stability.py 05 00 --runs 6

Each run has another PYTHONHASHSEED, and every other one a server of its own. Prints a table; exits with 1 when any
check of any run was not passed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

from grader.catalog import Catalog, Exercise
from grader.workspace import kit_solutions

PRACTICE = str(Path(sys.executable).with_name("practice"))


def spin() -> None:
    while True:
        sum(i * i for i in range(100_000))


@contextlib.contextmanager
def busy(count: int) -> Iterator[None]:
    """Keeps `count` cores busy with processes of normal priority."""
    processes = [multiprocessing.get_context("spawn").Process(target=spin, daemon=True) for _ in range(count)]
    for process in processes:
        process.start()
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.join()


def grade(exercise: Exercise, file: Path, run: int) -> tuple[bool, float, list[str]]:
    environ = os.environ | {"PYTHONHASHSEED": str(run + 1), "PRACTICE_WARM": "1" if run % 2 else "0"}
    finished = subprocess.run(
        [PRACTICE, "check", exercise.id, "--file", str(file), "--json"],
        capture_output=True,
        text=True,
        env=environ,
        check=False,
    )
    if not finished.stdout.strip():
        return False, 0.0, [finished.stderr.strip()[-200:]]
    card = json.loads(finished.stdout)
    wrong = [f"{c['id']} {c['verdict']}" for c in card["checks"] if c["verdict"] != "passed"]
    return not wrong, card["seconds"], wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("exercises", nargs="*")
    parser.add_argument("--runs", type=int, default=30)
    options = parser.parse_args()
    catalog = Catalog.load()
    chosen = [catalog.find(e) for e in options.exercises] or list(catalog)
    table = Table("exercise", "file", "alone", "loaded", "flips", "slowest")
    flips = 0
    for exercise in chosen:
        files = [kit_solutions() / f"{exercise.id}.py", *sorted((exercise.folder / "alternates").glob("*.py"))]
        for file in files:
            good, faults, slowest = Counter[str](), Counter[str](), 0.0
            for run in range(options.runs):
                loaded = run >= options.runs // 2
                with busy(os.cpu_count() or 1) if loaded else contextlib.nullcontext():
                    passed, seconds, wrong = grade(exercise, file, run)
                good["loaded" if loaded else "alone"] += passed
                slowest = max(slowest, seconds)
                faults.update(wrong)
                flips += not passed
            half = options.runs // 2
            table.add_row(
                exercise.id,
                file.stem,
                f"{good['alone']}/{half}",
                f"{good['loaded']}/{options.runs - half}",
                ", ".join(f"{k} ×{v}" for k, v in faults.items()) or "none",
                f"{slowest:.1f} s",
            )
            Console(stderr=True).print(f"{exercise.id} {file.stem}: {dict(faults) or 'no flip'}")
    Console().print(table)
    return 1 if flips else 0


if __name__ == "__main__":
    sys.exit(main())
