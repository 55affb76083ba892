"""Edits a file and reads the terminal: how long a save takes to its first line and to its verdict in `practice watch`.

    python benchmarks/watch.py                       # the exercise that needs no training, 30 saves
    python benchmarks/watch.py --saves 500           # memory of the program and of its server over many saves
    python benchmarks/watch.py --exercise 01_mnist_cnn --until 0   # first lines only, each check cancelled by the next

The program runs on a pty of 80×24. Every save alternates between two versions of the reference that differ in a
comment, so that each is a real check of a right solution. In the same run, `python -m pytest` grades the same checks
as an ordinary test file that imports the solution, so that the ratio is measured on the same machine at the same time.

Bars: first line 0.4 s, verdict 1.0 s at the median, twice that at the 95th percentile, "checking…" 0.1 s;
idle below 1 % of one core; memory that doesn't grow: the second half of the saves adds at most 1 MB.
The server is the process that `practice watch` keeps warm; a worker of it that runs for one check isn't counted.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pexpect
import psutil
import pyte

ROOT = Path(__file__).resolve().parent.parent
PRACTICE = str(Path(sys.executable).with_name("practice"))
TIMEOUT = 120.0
BARS = {"checking": 0.1, "first line": 0.4, "verdict": 1.0}
GROWTH_BAR = 1.0
"""MB that may come on top in the second half of the saves: noise of the allocator, not a leak."""

PYTEST_FILE = '''\
"""The checks of the exercise as an ordinary test file: the candidate imported, the probes called in this process."""

import importlib.util
import sys
import types

import pytest
import torch

sys.path.insert(0, {root!r})


def load(name, path):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


CANDIDATE = load("candidate", {file!r})
package = types.ModuleType("exercise")
package.__path__ = [{folder!r}]
sys.modules["exercise"] = package
load("exercise.probes", {folder!r} + "/probes.py")
CHECKS = load("exercise.checks", {folder!r} + "/checks.py")


class InProcess:
    full, source = False, "embedded"

    def run(self, probe, *args, seed=0, cpu_seconds=None, wall_seconds=None, **kwargs):
        torch.manual_seed(seed)
        return probe(CANDIDATE, *args, **kwargs)

    def measure(self, name, value):
        pass

    def note(self, text):
        pass


@pytest.fixture
def sandbox():
    return InProcess()


@pytest.fixture
def data():
    pytest.skip("no data in this comparison")


globals().update({{name: value for name, value in vars(CHECKS).items() if name.startswith("test_")}})
'''


@dataclass
class Times:
    """Seconds from the save until each thing was on the screen."""

    checking: list[float] = field(default_factory=list)
    first: list[float] = field(default_factory=list)
    verdict: list[float] = field(default_factory=list)


@dataclass
class Memory:
    """Resident bytes of the program and of its warm server, with the number of saves at which they were read."""

    watch: psutil.Process
    environ: dict[str, str]
    read: list[tuple[int, int, int]] = field(default_factory=list)
    servers: set[int] = field(default_factory=set)

    def take(self, saves: int) -> None:
        server = server_of(self.environ)
        if server is not None:
            self.servers.add(server.pid)
        self.read.append((saves, self.watch.memory_info().rss, server.memory_info().rss if server else 0))

    def rows(self) -> list[str]:
        middle = len(self.read) // 2
        rows = []
        for name, column in (("watch", 1), ("warm server", 2)):
            sizes = [entry[column] / 2**20 for entry in self.read]
            marks = ((0, "start"), (middle, "middle"), (-1, "end"))
            shown = ", ".join(f"{word} {sizes[n]:.1f} (save {self.read[n][0]})" for n, word in marks)
            grown = sizes[-1] - sizes[middle]
            rows.append(f"  memory of the {name:11} MB: {shown}, most {max(sizes):.1f}; second half {grown:+.1f}")
            rows[-1] += f", bar +{GROWTH_BAR:.0f}: {'kept' if grown <= GROWTH_BAR else 'MISSED'}"
        if len(self.servers) > 1:
            rows.append(f"  the server was replaced: {len(self.servers)} processes in all")
        return rows


def server_of(environ: dict[str, str]) -> psutil.Process | None:
    """The warm server of the workspace that the environment names."""
    said = subprocess.run([PRACTICE, "warm", "status"], env=environ, capture_output=True, text=True, check=False)
    found = re.search(r"process (\d+)", said.stdout)
    return psutil.Process(int(found[1])) if found else None


class Watch:
    """`practice watch` on a pty, with its screen."""

    def __init__(self, exercise: str, environ: dict[str, str], cwd: Path) -> None:
        self.screen = pyte.Screen(80, 24)
        self.stream = pyte.ByteStream(self.screen)
        self.child = pexpect.spawn(
            PRACTICE, ["watch", exercise], env=environ, cwd=str(cwd), dimensions=(24, 80), timeout=TIMEOUT
        )
        self.process = psutil.Process(self.child.pid)

    @property
    def verdict_line(self) -> str:
        line = self.screen.buffer[self.screen.lines - 4]  # one line only: drawing all would compete with the judge
        return "".join(line[x].data for x in range(self.screen.columns)).rstrip()

    def until(self, holds: Callable[[str], bool]) -> float:
        """Read until the verdict line fulfils the condition; the moment at which it did."""
        deadline = time.monotonic() + TIMEOUT
        while not holds(self.verdict_line):
            if time.monotonic() > deadline:
                sys.exit("\n".join(["It never came:", *self.screen.display]))
            try:
                self.stream.feed(self.child.read_nonblocking(65536, timeout=1))
            except pexpect.TIMEOUT:
                continue
        return time.monotonic()

    def rest(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                self.stream.feed(self.child.read_nonblocking(65536, timeout=0.05))
            except pexpect.TIMEOUT:
                continue


def save(path: Path, text: str) -> float:
    """Write as most editors do, by a rename; the moment at which it was there."""
    new = path.with_suffix(".tmp")
    new.write_text(text, "utf-8")
    new.replace(path)
    return time.monotonic()


def counted(line: str) -> int:
    found = re.search(r"checking… (\d+)/", line)
    return int(found[1]) if found else 0


def one(watch: Watch, path: Path, text: str, times: Times, whole: bool) -> None:
    saved = save(path, text)
    times.checking.append(watch.until(lambda line: "checking…" in line and not counted(line)) - saved)
    times.first.append(watch.until(lambda line: counted(line) > 0 or "Score" in line) - saved)
    if whole:
        times.verdict.append(watch.until(lambda line: "Score" in line) - saved)
        assert "100/100" in watch.verdict_line, "\n".join(watch.screen.display)


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def row(name: str, values: list[float]) -> str:
    middle, high = statistics.median(values), percentile(values, 0.95)
    bar = BARS.get(name)
    kept = "" if bar is None else f"  bar {bar:.1f} / {2 * bar:.1f} s: "
    kept += "" if bar is None else ("kept" if middle <= bar and high <= 2 * bar else "MISSED")
    return f"  {name:22} median {middle * 1000:5.0f} ms   95 % {high * 1000:5.0f} ms   n {len(values)}{kept}"


def idle(watch: Watch, server: psutil.Process | None, seconds: float) -> dict[str, float]:
    """Share of one core that the program, and its warm server, take while nothing happens."""
    watch.rest(2)
    watched = {"watch": watch.process} | ({"warm server": server} if server is not None else {})
    before = {name: sum(process.cpu_times()[:2]) for name, process in watched.items()}
    watch.rest(seconds)
    return {name: (sum(process.cpu_times()[:2]) - before[name]) / seconds for name, process in watched.items()}


def pytest_seconds(folder: Path, solution: str, exercise: str, repeats: int) -> tuple[list[float], str]:
    candidate = folder / "candidate.py"
    candidate.write_text(solution, "utf-8")
    test = folder / "test_equivalent.py"
    bank = str(ROOT / "grader" / "bank" / exercise)
    test.write_text(PYTEST_FILE.format(root=str(ROOT), file=str(candidate), folder=bank), "utf-8")
    taken, said = [], ""
    for _ in range(repeats + 1):
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(test)],
            capture_output=True,
            text=True,
            cwd=folder,
            check=False,
        )
        taken.append(time.monotonic() - began)
        said = done.stdout.strip().splitlines()[-1]
    return taken[1:], said


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--exercise", default="05_accuracy")
    parser.add_argument("--saves", type=int, default=30)
    parser.add_argument("--idle", type=float, default=20.0, help="seconds for which idleness is measured")
    parser.add_argument("--until", choices=["verdict", "first"], default="verdict")
    parser.add_argument("--pytest", type=int, default=5, help="runs of plain pytest; 0 leaves it out")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pv-") as name:
        measure(Path(name), options)


def measure(folder: Path, options: argparse.Namespace) -> None:
    (folder / "run").mkdir(mode=0o700)
    environ = os.environ | {
        "PRACTICE_HOME": str(folder / "work"),
        "XDG_RUNTIME_DIR": str(folder / "run"),
        "TERM": "xterm-256color",
    }
    subprocess.run([PRACTICE, "init", str(folder / "work")], env=environ, check=True, capture_output=True)
    path = folder / "work" / "exercises" / f"{options.exercise}.py"
    shown = subprocess.run([PRACTICE, "reveal", options.exercise, "--yes"], env=environ, capture_output=True, text=True)
    solution = shown.stdout
    watch = Watch(options.exercise, environ, folder / "work")
    try:
        watch.until(lambda line: options.exercise in line)
        whole = options.until == "verdict"
        for n in range(3):  # the server's first start, and its imports
            one(watch, path, f"{solution}# {n}\n", Times(), whole)
            watch.rest(3)
        times, memory = Times(), Memory(watch.process, environ)
        memory.take(0)
        spent = sum(watch.process.cpu_times()[:2])
        for n in range(options.saves):
            one(watch, path, f"{solution}# save {n}\n", times, whole)
            watch.rest(0.2)
            if (n + 1) % max(1, options.saves // 10) == 0:
                memory.take(n + 1)
        spent = (sum(watch.process.cpu_times()[:2]) - spent) / options.saves
        shares = idle(watch, server_of(environ), options.idle)
        watch.child.send("q")
        watch.child.expect(pexpect.EOF)
    finally:
        watch.child.close(force=True)
        subprocess.run([PRACTICE, "warm", "stop"], env=environ, capture_output=True, check=False)
    report(options, times, memory, spent, shares)
    if options.pytest:
        taken, said = pytest_seconds(folder, solution, options.exercise, options.pytest)
        print(row("python -m pytest", taken) + f"   ({said})")
        if times.verdict:
            ratio = statistics.median(taken) / statistics.median(times.verdict)
            print(f"  plain pytest takes {ratio:.1f} times as long as save to verdict")


def report(options: argparse.Namespace, times: Times, memory: Memory, spent: float, shares: dict[str, float]) -> None:
    load = os.getloadavg()[0]
    print(f"{options.exercise}, {os.cpu_count()} cores, load {load:.1f}")
    print(row("checking", times.checking))
    print(row("first line", times.first))
    if times.verdict:
        print(row("verdict", times.verdict))
    print("\n".join(memory.rows()))
    print(f"  watch's own CPU per save: {spent * 1000:.0f} ms")
    for name, share in shares.items():
        print(f"  idle, {name}: {share:.2%} of a core, bar 1 %: {'kept' if share < 0.01 else 'MISSED'}")


if __name__ == "__main__":
    main()
