"""Grades every reference and alternate many times, alone and under full load, and counts verdicts that differ.

    python benchmarks/stability.py --runs 30 --alone 5       # of each file's 30 runs 5 alone, 25 under load
    python benchmarks/stability.py 05 00 --runs 6

Under load one more grading than there are cores runs at any time. Each run has another PYTHONHASHSEED, and every fifth
one a server of its own. Prints a table; exits with 1 when any check of any run was not passed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from grader.catalog import Catalog, Exercise
from grader.workspace import kit_solutions

PRACTICE = str(Path(sys.executable).with_name("practice"))


def grade(exercise: Exercise, file: Path, run: int) -> tuple[bool, float, list[str]]:
    environ = os.environ | {"PYTHONHASHSEED": str(run + 1), "PRACTICE_WARM": "1" if run % 5 else "0"}
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


def runs(exercise: Exercise, file: Path, numbers: Iterable[int], at_once: int) -> list[tuple[bool, float, list[str]]]:
    with ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(lambda run: grade(exercise, file, run), numbers))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("exercises", nargs="*")
    parser.add_argument("--runs", type=int, default=30, help="of each file")
    parser.add_argument("--alone", type=int, help="how many of them alone (default: half)")
    options = parser.parse_args()
    alone = options.runs // 2 if options.alone is None else min(options.alone, options.runs)
    catalog = Catalog.load()
    chosen = [catalog.find(e) for e in options.exercises] or list(catalog)
    table = Table("exercise", "file", "alone", "loaded", "not passed", "median s", "slowest s")
    flips = 0
    for exercise in chosen:
        for file in [
            kit_solutions() / f"{exercise.id}.py",
            *sorted((exercise.folder / "alternates").glob("*.py")),
        ]:
            quiet = runs(exercise, file, range(alone), 1)
            loaded = runs(exercise, file, range(alone, options.runs), (os.cpu_count() or 1) + 1)
            faults = Counter(fault for _, _, wrong in quiet + loaded for fault in wrong)
            flips += sum(not passed for passed, _, _ in quiet + loaded)
            seconds = [[took for _, took, _ in part] or [0.0] for part in (quiet, loaded)]
            table.add_row(
                exercise.id,
                "solution" if file.stem == exercise.id else file.stem,
                f"{sum(passed for passed, _, _ in quiet)}/{len(quiet)}",
                f"{sum(passed for passed, _, _ in loaded)}/{len(loaded)}",
                ", ".join(f"{k} ×{v}" for k, v in faults.items()) or "none",
                " / ".join(f"{median(part):.1f}" for part in seconds),
                " / ".join(f"{max(part):.1f}" for part in seconds),
            )
            Console(stderr=True).print(f"{exercise.id} {file.stem}: {dict(faults) or 'no flip'}")
    Console(width=140).print(table)
    return 1 if flips else 0


if __name__ == "__main__":
    sys.exit(main())
