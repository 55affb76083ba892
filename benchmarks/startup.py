"""How long the command line takes to start, as ratios to importing what it is built on.

The bar: `practice list`, `hint` and `--help` take at most 1.5 times `python -c "import click, rich.table"`.
Commands are run in turn, so that a busy moment strikes all alike; medians are compared.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BAR = 1.5
BASE = "import click, rich.table"


def seconds(command: list[str], home: str) -> float:
    """Wall time of one run."""
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env={"PRACTICE_HOME": home, "HOME": home})
    return time.perf_counter() - start


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=15)
    runs = parser.parse_args().runs
    script = str(Path(sys.executable).with_name("practice"))
    commands = {
        f'python -c "{BASE}"': [sys.executable, "-c", BASE],
        "practice --help": [script, "--help"],
        "practice list": [script, "list"],
        "practice hint 01": [script, "hint", "01"],
        "practice": [script],
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    with tempfile.TemporaryDirectory() as home:
        for turn in range(runs + 1):
            for name, command in commands.items():
                taken = seconds(command, home)
                if turn:  # the first turn fills the caches
                    times[name].append(taken)
    medians = {name: statistics.median(taken) for name, taken in times.items()}
    base = next(iter(medians.values()))
    for name, median in medians.items():
        spread = max(times[name]) - min(times[name])
        print(f"{name:40} {median * 1000:6.0f} ms  ±{spread * 500:4.0f}  ratio {median / base:.2f}")
    worst = max(medians.values()) / base
    print(f"worst ratio {worst:.2f}, bar {BAR}: {'kept' if worst <= BAR else 'MISSED'}")
    return 0 if worst <= BAR else 1


if __name__ == "__main__":
    sys.exit(main())
