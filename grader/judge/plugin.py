"""The pytest plugin by which the judge runs checks: gates, fixtures, and a record for each declared check.

The scorecard's list comes from the declarations; what never ran stays recorded as a fault of the grader.
"""

from __future__ import annotations

import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from _pytest.runner import runtestprotocol

from grader.checking.expectations import Mismatch
from grader.errors import PracticeError
from grader.judge.explain import ProbeEnded
from grader.judge.loading import DeclaredCheck
from grader.judge.sandbox import Sandbox
from grader.judge.scorecard import CheckFinished, CheckRecord, CheckStarted, Event, Verdict
from grader.sandbox.watch import Cancelled

STOPPED = "an earlier check"


class _CheckFile(pytest.Module):
    """The already loaded module, so that pytest doesn't import it a second time."""

    loaded: types.ModuleType

    def _getobj(self) -> types.ModuleType:
        return self.loaded


class JudgePlugin:
    """Collects one module's checks and turns their ends into records."""

    def __init__(
        self,
        checks: types.ModuleType,
        declared: tuple[DeclaredCheck, ...],
        sandbox: Sandbox,
        data: Callable[..., Any],
        emit: Callable[[Event], None],
        *,
        until_failure: bool = False,
    ) -> None:
        self.records: dict[str, CheckRecord] = {}
        self.current = ""
        self.collect_error = ""
        self._checks = checks
        self._marks = {c.id: c.mark for c in declared}
        self._sandbox = sandbox
        self._data = data
        self._emit = emit
        self._until_failure = until_failure
        self._error: BaseException | None = None

    # --- fixtures --------------------------------------------------------------------------------------

    @pytest.fixture
    def sandbox(self) -> Sandbox:
        """Runs probes; see `grader.judge.sandbox.Sandbox`."""
        return self._sandbox

    @pytest.fixture
    def data(self) -> Callable[..., Any]:
        """Loads data sets by name; see `grader.data.prepared`."""
        return self._data

    # --- collection ------------------------------------------------------------------------------------

    @pytest.hookimpl(tryfirst=True)
    def pytest_pycollect_makemodule(self, module_path: Path, parent: pytest.Collector) -> _CheckFile:
        node = _CheckFile.from_parent(parent, path=module_path)
        node.loaded = self._checks
        return node

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.collect_error = str(report.longrepr)[-2000:]

    # --- running ---------------------------------------------------------------------------------------

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool:
        name = item.name
        blocker = self._blocker(name)
        if blocker is not None:
            self._finish(self.record(name, "blocked", blocked_by=blocker))
            return True
        self.current = name
        self._emit(CheckStarted(name))
        self._sandbox.begin()
        self._error = None
        began = time.monotonic()
        runtestprotocol(item, nextitem=nextitem, log=False)
        if isinstance(self._error, Cancelled):
            raise self._error
        self._finish(self._judge(name, self._error, time.monotonic() - began))
        return True

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
        if call.excinfo is not None and self._error is None:
            self._error = call.excinfo.value
        return (yield)

    def _blocker(self, name: str) -> str | None:
        for before in self._marks[name].after:
            if not self.records[before].passed:
                return before
        if self._until_failure:
            return next((r.id for r in self.records.values() if not r.passed), None)
        return None

    def _finish(self, record: CheckRecord) -> None:
        self.records[record.id] = record
        self._emit(CheckFinished(record))

    # --- judging ---------------------------------------------------------------------------------------

    def record(self, name: str, verdict: Verdict, **more: Any) -> CheckRecord:
        """A record of a declared check; points only for a pass."""
        mark = self._marks[name]
        points = mark.points if verdict == "passed" else 0
        return CheckRecord(name, mark.title, verdict, points, mark.points, why=mark.why, **more)

    def _judge(self, name: str, error: BaseException | None, seconds: float) -> CheckRecord:
        common: dict[str, Any] = {
            "seconds": round(seconds, 4),
            "output": "\n".join(self._sandbox.output)[:65536],
            "measures": dict(self._sandbox.measures),
            "notes": tuple(dict.fromkeys(self._sandbox.notes)),
            "pictures": tuple(self._sandbox.pictures),
        }
        if error is None:
            return self.record(name, "passed", **common)
        if isinstance(error, Mismatch):
            return self.record(
                name,
                "failed",
                expected=error.expected,
                actual=error.actual,
                because=error.because,
                looks_like=error.looks_like,
                details=error.details,
                **common,
            )
        if isinstance(error, ProbeEnded):
            a = error.account
            return self.record(
                name,
                a.verdict,
                expected=a.expected,
                actual=a.actual,
                because=a.because,
                looks_like=a.looks_like,
                location=a.location,
                **common,
            )
        if isinstance(error, AssertionError):
            return self.record(name, "failed", actual=str(error) or "an assertion failed", **common)
        because = _NOT_YOURS if isinstance(error, PracticeError) else _OUR_FAULT
        return self.record(name, "grader-error", actual=_say(error), because=because, **common)


_NOT_YOURS = "It is about the kit's files on this machine, not about your code; it does not count against you."
_OUR_FAULT = (
    "This is a mistake in the kit, not in your code; it does not count against you."
    " Please report it with the output of `practice check --debug`."
)


def _say(error: BaseException) -> str:
    if isinstance(error, PracticeError):
        return error.message + (f" {error.hint}" if error.hint else "")
    where = ""
    trace = error.__traceback__
    while trace is not None:
        where = f" ({Path(trace.tb_frame.f_code.co_filename).name}, line {trace.tb_lineno})"
        trace = trace.tb_next
    return f"{type(error).__name__}: {error}{where}"
