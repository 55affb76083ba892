"""What the tests share: the real command in a workspace of its own, quick tests first."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests import tiny_kit

ROOT = Path(__file__).resolve().parent.parent

_CHOSEN = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "COVERAGE_PROCESS_START")
"""All that a command under test sees of the environment in which the tests run."""


@dataclass
class Practice:
    """The command `practice` in one workspace. Calling it runs it and returns the finished process.

    `home` is the workspace, `environ` what every run gets; keyword arguments of a call add to it. Standard
    input is empty unless `stdin` is given, and no stream is a terminal.
    """

    home: Path
    environ: dict[str, str] = field(default_factory=dict)
    cwd: Path | None = None

    @property
    def command(self) -> list[str]:
        script = Path(sys.executable).with_name("practice")
        return [str(script)] if script.exists() else [sys.executable, "-m", "grader"]

    def __call__(
        self, *arguments: str | Path, stdin: str = "", timeout: float = 300, **environ: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.command, *map(str, arguments)],
            input=stdin,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=timeout,
            cwd=self.cwd or self.home,
            env={**self.environ, **environ},
            check=False,
        )


@dataclass
class Places:
    """Makes workspaces with their own home, temporary and run-time folders, and takes them away again."""

    made: list[tuple[Practice, Path]] = field(default_factory=list)

    def make(self, name: str = "work", bank: Path | None = None) -> Practice:
        base = Path(tempfile.mkdtemp(prefix="pv-"))  # short: a Unix socket's path holds 107 bytes
        for folder in ("run", "tmp", "home", name, f"{name}/exercises"):
            (base / folder).mkdir(mode=0o700)
        environ = {key: os.environ[key] for key in _CHOSEN if key in os.environ}
        environ |= {
            "HOME": str(base / "home"),
            "XDG_RUNTIME_DIR": str(base / "run"),
            "TMPDIR": str(base / "tmp"),
            "PRACTICE_HOME": str(base / name),
            "PRACTICE_WARM": "0",
            "PYTHONWARNINGS": "default",
        }
        if bank is not None:
            environ["PRACTICE_BANK"] = str(bank)
        made = Practice(base / name, environ)
        self.made.append((made, base))
        return made

    def remove(self) -> None:
        for practice, base in self.made:
            if any((base / "run").rglob("*")):
                practice("warm", "stop")
            shutil.rmtree(base, ignore_errors=True)


@pytest.fixture(scope="session")
def places() -> Iterator[Places]:
    """For tests and fixtures of any scope that need workspaces of their own: `places.make()`."""
    found = Places()
    yield found
    found.remove()


@pytest.fixture
def practice() -> Iterator[Practice]:
    """The real command with the real exercises, in a new, empty workspace. The warm server is off."""
    found = Places()
    yield found.make()
    found.remove()


@pytest.fixture(scope="session")
def tiny_bank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_kit.write(tmp_path_factory.mktemp("kit"))


@pytest.fixture(scope="session")
def tiny_workspace(tiny_bank: Path, places: Places) -> Path:
    """A workspace of the tiny kit as `practice init` makes it: to copy, never to change."""
    made = places.make(bank=tiny_bank)
    assert made("init", made.home).returncode == 0
    return made.home


@pytest.fixture
def tiny(tiny_bank: Path, tiny_workspace: Path) -> Iterator[Practice]:
    """The real command with two tiny exercises and their stubs in place; the folder has spaces and accents."""
    found = Places()
    made = found.make("mein Übungs ordner", tiny_bank)
    shutil.copytree(tiny_workspace, made.home, dirs_exist_ok=True)
    yield made
    found.remove()


def pytest_configure() -> None:
    """A shell's background job, which a test run may be, starts with SIGINT ignored, and hands that down."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Quick tests first, so that a mistake shows early."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)
