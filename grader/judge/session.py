"""One grading, from request to scorecard, in the judge's own process.

The zygote is forked before anything of the exercise is loaded; from then on this process holds what must stay
hidden (checks, expected values, held-out labels) and never runs a line of the candidate's code.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grader.errors import ContentError, PracticeError
from grader.judge import loading
from grader.judge.explain import Account, account_for
from grader.judge.machine import slowness
from grader.judge.request import Request
from grader.judge.sandbox import Sandbox
from grader.judge.scorecard import (
    CheckFinished,
    CheckRecord,
    Event,
    Finished,
    Progress,
    Scorecard,
    Started,
)
from grader.sandbox import kernel
from grader.sandbox.launcher import choose
from grader.sandbox.limits import Limits

Emit = Callable[[Event], None]


def grade(request: Request, emit: Emit, is_cancelled: Callable[[], bool] = lambda: False) -> Scorecard:
    """Runs all checks and returns the scorecard, announcing everything through `emit`.

    Raises ContentError when the exercise itself is broken. Has to be called in a process that has run no tensor
    operation and started no thread.
    """
    began = time.monotonic()
    launcher = choose()(secret_folders(request))
    kernel.hide_memory()
    try:
        card = _Session(request, emit, launcher, is_cancelled, began).run()
    finally:
        launcher.close()
    emit(Finished(card))
    return card


def secret_folders(request: Request) -> list[str]:
    """What no worker may read, wherever it lies."""
    package = Path(__file__).resolve().parent.parent
    bank = Path(request.bank)
    folders = [bank, Path(request.solutions), Path(request.datasets), Path(request.state), package]
    folders.append(Path(request.path).parent)
    return [str(f) for f in folders]


@dataclass(frozen=True)
class Data:
    """The fixture `data`: called with a name it loads that set from the source that is graded on."""

    datasets: Path
    source: str | None

    def __call__(self, name: str) -> Any:
        from grader.data import prepared

        if self.source is None:
            raise ContentError(f"the exercise does not declare the data set {name}")
        return prepared.load(self.datasets, name, self.source)

    def weights(self, name: str) -> Path | None:
        """The file of the pretrained weights that `practice data download` fetched, or None."""
        file = self.datasets / "weights" / f"{name}.pth"
        return file if file.is_file() else None


class _Session:
    def __init__(
        self, request: Request, emit: Emit, launcher: Any, is_cancelled: Callable[[], bool], began: float
    ) -> None:
        self.request = request
        self.emit = emit
        self.launcher = launcher
        self.is_cancelled = is_cancelled
        self.began = began
        self.plugin: Any = None

    def run(self) -> Scorecard:
        request = self.request
        from grader.catalog import Catalog

        exercise = Catalog.load(Path(request.bank)).get(request.exercise)
        source = self.data_source(exercise.datasets)
        probes = (exercise.folder / "probes.py").read_text(encoding="utf-8")
        sandbox = Sandbox(
            self.launcher,
            source=request.source,
            probes=probes,
            limits=Limits().with_values(dict(exercise.limits)),
            slowness=slowness,
            full=request.full,
            data_source=source or "none",
            seed=request.seed,
            is_cancelled=self.is_cancelled,
            on_progress=self.progress,
        )
        try:
            if request.problem is None:
                sandbox.order_ahead()
            checks = loading.load_checks(exercise.folder)
            declared = loading.declared(checks)
            self.emit(Started(tuple((c.id, c.mark.title, c.mark.points) for c in declared), source or "none"))
            account, output = self.load(sandbox)
            records = (
                self.unloadable(declared, account, output)
                if account is not None
                else self.judge(exercise.folder, checks, declared, sandbox, source)
            )
        finally:
            sandbox.close()
        return Scorecard(
            exercise=exercise.id,
            file=request.path,
            sha256=request.sha256,
            data=source or "none",
            checks=records,
            seconds=time.monotonic() - self.began,
            full=request.full,
            problem=account.actual if account is not None else None,
        )

    def data_source(self, datasets: tuple[str, ...]) -> str | None:
        """`real` when every set of the exercise is prepared, or asked for; else `embedded`."""
        if not datasets:
            return None
        if self.request.data is not None:
            return self.request.data
        from grader.data.prepared import available

        here = [available(Path(self.request.datasets), name) for name in datasets]
        return "real" if all(h["real"] for h in here) else "embedded"

    def load(self, sandbox: Sandbox) -> tuple[Account | None, str]:
        """Loads the candidate once; the account says why it can't be."""
        if self.request.problem is not None:
            return Account(
                "not-loadable",
                "a Python file in UTF-8",
                self.request.problem,
                "Nothing in the file could be run.",
            ), ""
        outcome = sandbox.load()
        if outcome is None:
            return None, ""
        return account_for(outcome), outcome.output

    def unloadable(
        self, declared: tuple[loading.DeclaredCheck, ...], account: Account, output: str
    ) -> tuple[CheckRecord, ...]:
        """The records when nothing could run: the first carries the account, all the same verdict."""
        records = []
        for index, check in enumerate(declared):
            words: dict[str, Any] = {"actual": account.actual.splitlines()[0]}
            if index == 0:
                words = {
                    "expected": account.expected,
                    "actual": account.actual,
                    "because": account.because,
                    "looks_like": account.looks_like,
                    "location": account.location,
                    "output": output[:65536],
                }
            record = CheckRecord(
                check.id, check.mark.title, account.verdict, 0, check.mark.points, why=check.mark.why, **words
            )
            records.append(record)
            self.emit(CheckFinished(record))
        return tuple(records)

    def judge(
        self,
        folder: Path,
        checks: Any,
        declared: tuple[loading.DeclaredCheck, ...],
        sandbox: Sandbox,
        source: str | None,
    ) -> tuple[CheckRecord, ...]:
        import pytest

        from grader.judge.plugin import JudgePlugin

        self.plugin = plugin = JudgePlugin(
            checks,
            declared,
            sandbox,
            self.data_loader(source),
            self.emit,
            until_failure=self.request.until_failure,
        )
        for variable in [v for v in os.environ if v.startswith("PYTEST_")]:
            del os.environ[variable]
        os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
        os.chdir(folder)
        code = pytest.main(
            [
                str(folder / "checks.py"),
                "-c",
                os.devnull,
                f"--rootdir={folder}",
                "--noconftest",
                "--import-mode=importlib",
                "-p",
                "no:cacheprovider",
                "-p",
                "no:terminal",
                "-p",
                "no:capture",
                "-p",
                "no:logging",
                "-p",
                "no:warnings",
                "-p",
                "no:faulthandler",
                "-p",
                "no:doctest",
                "-p",
                "no:junitxml",
                "-p",
                "no:pastebin",
                "-p",
                "no:setuponly",
                "-p",
                "no:stepwise",
            ],
            plugins=[plugin],
        )
        missing = [c for c in declared if c.id not in plugin.records]
        for check in missing:
            plugin._finish(
                plugin.record(
                    check.id,
                    "grader-error",
                    actual=f"the check never ran (pytest ended with {int(code)}) {plugin.collect_error}".strip(),
                )
            )
        return tuple(plugin.records[c.id] for c in declared)

    def data_loader(self, source: str | None) -> Data:
        return Data(Path(self.request.datasets), source)

    def progress(self, done: int, total: int, loss: float | None) -> None:
        if self.plugin is not None:
            self.emit(Progress(self.plugin.current, done, total, loss))


__all__ = ["PracticeError", "grade"]
