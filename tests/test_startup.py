"""The command line starts light: what it imports is listed here, so that a slip is a failed test."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests import tiny_kit

HEAVY = {
    "torch",
    "torchvision",
    "numpy",
    "PIL",
    "pytest",
    "_pytest",
    "hypothesis",
    "prompt_toolkit",
    "watchfiles",
    "grader.interactive",
    "psutil",
    "multiprocessing",
    "concurrent",
    "asyncio",
    "ssl",
    "http",
    "email",
    "unittest",
    "socket",
    "xml",
    "tempfile",
    "importlib.metadata",
    "rich",
    "grader.judge",
    "grader.sandbox",
    "grader.data",
}


@pytest.fixture
def imported(tmp_path: Path):  # type: ignore[no-untyped-def]
    bank = tiny_kit.write(tmp_path / "kit")

    def run(*arguments: str) -> set[str]:
        """The names of all modules that were imported when the command had run."""
        code = (
            "import sys; from grader.cli.app import run\n"
            f"code = run({list(arguments)!r})\n"
            "print('\\n' + '\\n'.join(sys.modules), file=sys.stderr); sys.exit(code)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={"PRACTICE_BANK": str(bank), "PRACTICE_HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            check=True,
        )
        return set(done.stderr.splitlines())

    return run


def heavy(modules: set[str]) -> set[str]:
    return {name for name in HEAVY if name in modules}


def test_the_entry_imports_nothing_at_all() -> None:
    code = "import sys, __future__; before = set(sys.modules); import grader.cli; print(set(sys.modules) - before)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert eval(shown) == {"grader", "grader.cli"}


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["--version"]])
def test_help_imports_no_command(imported, arguments: list[str]) -> None:  # type: ignore[no-untyped-def]
    modules = imported(*arguments)
    assert heavy(modules) == set()
    assert not {name for name in modules if name.split(".")[0] in {"rich", "sqlite3", "tomllib"}}
    assert {name for name in modules if name.startswith("grader")} == {
        "grader",
        "grader.cli",
        "grader.cli.app",
        "grader.errors",
    }


@pytest.mark.parametrize("arguments", [[], ["list"], ["list", "--json"], ["next"], ["history", "1"]])
def test_plain_commands_stay_light(imported, arguments: list[str]) -> None:  # type: ignore[no-untyped-def]
    assert heavy(imported(*arguments)) == set()


def test_a_hint_is_light_too(imported) -> None:  # type: ignore[no-untyped-def]
    assert heavy(imported("hint", "1")) == set()


def test_what_keeps_no_progress_imports_no_database(imported) -> None:  # type: ignore[no-untyped-def]
    assert "sqlite3" not in imported("show", "1")


@pytest.mark.parametrize("name", ("check", "watch", "demo", "data", "doctor", "warm", "author"))
def test_the_help_of_heavy_commands_is_light_too(imported, name: str) -> None:  # type: ignore[no-untyped-def]
    modules = imported(name, "--help")
    assert modules.isdisjoint({"torch", "torchvision", "numpy", "PIL", "pytest", "_pytest"})
    assert modules.isdisjoint({"prompt_toolkit", "watchfiles"})
