"""A process and everything it started: how much it uses, and its end. Linux's /proc directly, psutil elsewhere.

/proc is read by hand because this runs twenty times a second while a probe works.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

LINUX = sys.platform == "linux"
_MEMORY = re.compile(rb"Rss(?:Anon|Shmem):\s+(\d+) kB")
TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


@dataclass(frozen=True)
class Usage:
    """Of a whole tree: CPU seconds (ended, reaped children included), mebibytes of its own, counts.

    Memory is what can't be dropped or shared with a file: anonymous and shared-memory pages. Library code, which
    every process of the tree maps again, would count many times over.
    """

    cpu_seconds: float = 0.0
    memory_mb: float = 0.0
    processes: int = 0
    threads: int = 0
    busy: bool = False
    """Whether any of its processes is running, ready to run or reading from a disk."""


def children(pid: int) -> list[int]:
    """The direct children, whichever thread started them."""
    found: list[int] = []
    if LINUX:
        with contextlib.suppress(OSError):
            for task in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208
                with contextlib.suppress(OSError):
                    found += map(int, Path(f"/proc/{pid}/task/{task}/children").read_bytes().split())
        return found
    import psutil

    with contextlib.suppress(psutil.Error):
        found = [child.pid for child in psutil.Process(pid).children()]
    return found


def descendants(pid: int) -> list[int]:
    """All of them, without `pid` itself. Those started while it reads may be missing."""
    found: list[int] = []
    seen = {pid}
    todo = [pid]
    while todo and len(found) < 20_000:
        for child in children(todo.pop()):
            if child not in seen:
                seen.add(child)
                found.append(child)
                todo.append(child)
    return found


def usage(pid: int) -> Usage:
    """What the tree under `pid` uses now; zeros when it has gone."""
    cpu = memory = 0.0
    processes = threads = 0
    busy = False
    for member in (pid, *descendants(pid)):
        one = _usage_of(member)
        if one is not None:
            cpu += one.cpu_seconds
            memory += one.memory_mb
            processes += 1
            threads += one.threads
            busy = busy or one.busy
    return Usage(cpu, memory, processes, threads, busy)


def _usage_of(pid: int) -> Usage | None:
    if LINUX:
        try:
            text = Path(f"/proc/{pid}/stat").read_bytes()
            status = Path(f"/proc/{pid}/status").read_bytes()
        except OSError:
            return None
        fields = text[text.rindex(b")") + 2 :].split()
        cpu = sum(int(n) for n in fields[11:15]) / TICKS
        memory = sum(int(kb) for kb in _MEMORY.findall(status)) / 1024
        return Usage(cpu, memory, 1, int(fields[17]), fields[0] in (b"R", b"D"))
    import psutil

    try:
        process = psutil.Process(pid)
        times, held = process.cpu_times(), process.memory_info()
        cpu = times.user + times.system + times.children_user + times.children_system
        return Usage(cpu, held.rss / 2**20, 1, process.num_threads(), process.status() == psutil.STATUS_RUNNING)
    except psutil.Error:
        return None


def kill(pid: int) -> None:
    """SIGKILL to the process; one that has gone is fine."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, getattr(signal, "SIGKILL", signal.SIGTERM))


def kill_tree(pid: int) -> set[int]:
    """Stops, then kills the whole tree, and looks again until nothing new appears. Returns its members."""
    killed: set[int] = set()
    for _ in range(50):
        members = [m for m in (pid, *descendants(pid)) if m not in killed]
        if not members:
            break
        if hasattr(signal, "SIGSTOP"):
            for member in members:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(member, signal.SIGSTOP)
        members += [m for m in descendants(pid) if m not in killed and m not in members]
        for member in members:
            kill(member)
            killed.add(member)
    return killed


def sweep(parent: int, spare: set[int], seconds: float = 2.0) -> int:
    """Kills every child tree of `parent` but the spared ones, until none is left. Returns how many it was."""
    killed: set[int] = set()
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        strays = [c for c in children(parent) if c not in spare]
        if not strays:
            break
        for stray in strays:
            killed |= kill_tree(stray)
        if parent == os.getpid():
            for stray in strays:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(stray, 0)
        else:
            time.sleep(0.002)
    return len(killed)
