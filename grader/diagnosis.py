"""What `practice doctor` looks at: can verdicts on this machine be trusted, and what cures it where not.

Each examination returns findings; none of them raises, and none imports torch into this process.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

from grader.data import prepared
from grader.data.sets import SETS
from grader.errors import PracticeError
from grader.workspace import Workspace, find, quoted

State = Literal["ok", "warning", "problem"]

_GIB: Final = 2**30
_NEEDED_MEMORY: Final = 2.5
_NEEDED_DISK: Final = 1.0

REINSTALL: Final = "pip install --force-reinstall torch torchvision"

_TORCH_PROBE: Final = """
import json, sys
found = {}
try:
    import torch
    found["torch"] = torch.__version__
    found["works"] = bool((torch.ones(2, 2) @ torch.ones(2, 2)).sum() == 8)
    import torchvision
    found["torchvision"] = torchvision.__version__
    import torchvision.models
except BaseException as error:
    found["error"] = f"{type(error).__name__}: {error}"
print("\\n" + json.dumps(found))
"""


@dataclass(frozen=True)
class Finding:
    """One line of the report; `cure` says what to do, with the command, unless all is well."""

    name: str
    state: State
    text: str
    cure: str | None = None

    def to_json(self) -> dict[str, str | None]:
        return asdict(self)


def examine() -> Iterator[Finding]:
    """Every finding, the quick ones first."""
    yield _python()
    yield from _machine()
    yield from _sandbox()
    try:
        workspace = find()
    except PracticeError as error:
        yield Finding("workspace", "problem", error.message, error.hint)
    else:
        for examination in (_workspace, _disk, _progress, _warm, _data):
            yield from _safely(examination, workspace)
    yield from torch_findings(ask_torch())


def _safely(examination: Callable[[Workspace], Iterator[Finding]], workspace: Workspace) -> Iterator[Finding]:
    try:
        yield from examination(workspace)
    except (OSError, PracticeError) as error:
        yield Finding(examination.__name__.strip("_"), "problem", str(error), getattr(error, "hint", None))


def _python() -> Finding:
    version = platform.python_version()
    return Finding("python", "ok", f"{version}, {platform.system()} {platform.machine()}")


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _machine() -> Iterator[Finding]:
    yield Finding("cores", "ok", str(cores()))
    import psutil

    memory = psutil.virtual_memory()
    free, total = memory.available / _GIB, memory.total / _GIB
    text = f"{free:.1f} GiB free of {total:.1f} GiB"
    if free < _NEEDED_MEMORY:
        cure = "Close other programs: a training check may need up to 2.5 GiB."
        yield Finding("memory", "warning", text, cure)
    else:
        yield Finding("memory", "ok", text)


def _sandbox() -> Iterator[Finding]:
    from grader.sandbox import selfcheck

    for found in selfcheck.findings():
        state: State = "ok" if found.level == "ok" else "problem" if found.level == "problem" else "warning"
        yield Finding(f"sandbox, {found.name}", state, found.text, found.cure)
    if not selfcheck.is_fully_confined():
        text = "enough for your own code, not for other people's: `practice check --untrusted` refuses here"
        yield Finding("sandbox", "warning", text)


def _workspace(workspace: Workspace) -> Iterator[Finding]:
    for name, folder in (
        ("workspace", workspace.root),
        ("exercises", workspace.exercises),
        ("cache", workspace.datasets),
    ):
        place = folder if folder.exists() else folder.parent
        problem = _not_writable(place)
        if problem is None:
            yield Finding(name, "ok", str(folder))
        else:
            text = f"{folder} can't be written: {problem}"
            yield Finding(name, "problem", text, f"See `ls -ld {quoted(place)}`, or `practice init DIR` elsewhere.")


def _not_writable(folder: Path) -> str | None:
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"practice")
            file.flush()
    except OSError as error:
        return error.strerror or str(error)
    return None


def _disk(workspace: Workspace) -> Iterator[Finding]:
    free = shutil.disk_usage(workspace.root).free / _GIB
    if free < _NEEDED_DISK:
        cure = "Free some space: the prepared real data sets take 0.3 GiB, downloading them as much again."
        yield Finding("disk", "warning", f"{free:.1f} GiB free", cure)
    else:
        yield Finding("disk", "ok", f"{free:.0f} GiB free")


def _progress(workspace: Workspace) -> Iterator[Finding]:
    file = workspace.state / "progress.sqlite"
    if not file.exists():
        yield Finding("progress", "ok", "nothing recorded yet")
        return
    try:
        connection = sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, timeout=2)
        try:
            verdict = connection.execute("PRAGMA quick_check").fetchone()[0]
        finally:
            connection.close()
    except sqlite3.Error as error:
        verdict = str(error)
    if verdict == "ok":
        yield Finding("progress", "ok", str(file))
    elif "locked" in verdict:
        yield Finding("progress", "warning", f"{file} is in use by another process", "Try again when it has ended.")
    else:
        cure = f"The next `practice check` sets it aside and begins a new one; or move it: mv {quoted(file)} DIR"
        yield Finding("progress", "problem", f"{file} is damaged: {verdict}", cure)


def _warm(workspace: Workspace) -> Iterator[Finding]:
    from grader.sandbox import warm

    if os.environ.get("PRACTICE_WARM") == "0":
        yield Finding("warm server", "ok", "switched off by PRACTICE_WARM=0: every check imports torch anew")
        return
    known = warm.status(workspace)
    yield Finding("warm server", "ok", "not running; the next check starts it" if known is None else "running")


def _data(workspace: Workspace) -> Iterator[Finding]:
    for name in SETS:
        yield _data_set(workspace.datasets, name)


def _data_set(datasets: Path, name: str) -> Finding:
    ready = prepared.available(datasets, name)
    for source in ("real", "embedded"):
        if prepared.prepared(datasets, name, source) and not ready[source]:
            problem = prepared.problem(datasets, name, source) or "damaged"
            return Finding(name, "problem", problem, prepared.repair_hint(name, source))
    if ready["real"]:
        return Finding(name, "ok", "real data")
    text = "embedded data" if ready["embedded"] else "embedded data, generated when first needed"
    return Finding(name, "ok", f"{text}; the real set comes with `practice data download {name}`")


# --- torch -------------------------------------------------------------------------------------------------


def ask_torch(timeout: float = 180) -> dict[str, Any]:
    """What a fresh interpreter finds out about torch and torchvision: versions, or the error in words."""
    command = [sys.executable, "-P", "-c", _TORCH_PROBE]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=timeout, env=environment
        )
    except subprocess.TimeoutExpired:
        return {"error": f"importing torch took more than {timeout:.0f} s"}
    except OSError as error:
        return {"error": f"no Python process could be started: {error.strerror}"}
    for line in reversed(done.stdout.splitlines()):
        if line.startswith("{"):
            found: dict[str, Any] = json.loads(line)
            return found
    said = done.stderr.strip().splitlines()
    how = f"signal {-done.returncode}" if done.returncode < 0 else f"exit code {done.returncode}"
    return {"error": f"importing torch ended the process ({how})" + (f": {said[-1]}" if said else "")}


def torch_findings(found: dict[str, Any]) -> Iterator[Finding]:
    """Findings from what `ask_torch` returned."""
    error = str(found.get("error", ""))
    if "torch" not in found:
        yield Finding("torch", "problem", error or "can't be imported", _torch_cure(error, "torch"))
        return
    works = found.get("works", False)
    version = str(found["torch"])
    if works:
        yield Finding("torch", "ok", version)
    else:
        yield Finding("torch", "problem", f"{version} multiplies matrices wrongly", f"Install it anew: `{REINSTALL}`")
    if error:
        yield Finding("torchvision", "problem", error, _torch_cure(error, "torchvision"))
    else:
        yield Finding("torchvision", "ok", str(found.get("torchvision")))


def _torch_cure(error: str, package: str) -> str:
    if "torchvision::nms" in error or "Couldn't load custom C++ ops" in error:
        return (
            "torch and torchvision are of different builds (often a CPU-only torch beside the registry's "
            f"torchvision). Install both from one index: `{REINSTALL}`; for the CPU build, add the "
            "`--index-url` that the PyTorch site's install page gives for CPU."
        )
    if "No module named" in error:
        return f"Install it: `pip install {package}`"
    if "libcud" in error or "libnv" in error or "libcublas" in error:
        return f"A CUDA library is missing. `{REINSTALL}`, or choose the CPU build on the PyTorch site's install page."
    return f"Install both anew: `{REINSTALL}`"
