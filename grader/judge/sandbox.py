"""The `sandbox` that checks get: runs probes and brings back evidence, or ends the check with a precise verdict."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from grader.errors import ContentError
from grader.judge.explain import ProbeEnded, account_for
from grader.judge.scorecard import Picture
from grader.sandbox import wire
from grader.sandbox.launcher import Launcher
from grader.sandbox.limits import Limits
from grader.sandbox.watch import Exchange, Outcome

SEED = 20_240_229


class Sandbox:
    """Runs probes of one exercise beside one submission. One probe, one worker; the next one is ordered ahead."""

    def __init__(
        self,
        launcher: Launcher,
        *,
        source: str,
        probes: str,
        limits: Limits,
        slowness: Callable[[], float],
        full: bool,
        data_source: str,
        seed: int = 0,
        is_cancelled: Callable[[], bool],
        on_progress: Callable[[int, int, float | None], None],
    ) -> None:
        self.full = full
        """Whether `--full` was asked for."""
        self.source = data_source
        """`real` or `embedded`."""
        self.measures: dict[str, float] = {}
        self.notes: list[str] = []
        self.pictures: list[Picture] = []
        self.output: list[str] = []
        self._launcher = launcher
        self._candidate = source
        self._probes = probes
        self._limits = limits
        self._slowness = slowness
        self._is_cancelled = is_cancelled
        self._on_progress = on_progress
        self._seed = seed
        self._next: Exchange | None = None
        self._hurries = False

    # --- for the author of a check -------------------------------------------------------------------

    def run(
        self,
        probe: Callable[..., Any],
        *args: Any,
        seed: int = 0,
        cpu_seconds: float | None = None,
        wall_seconds: float | None = None,
        memory_mb: float | None = None,
        **kwargs: Any,
    ) -> Any:
        """Runs `probe(candidate, *args, **kwargs)` in a fresh worker and returns its evidence.

        Args:
            probe: a function of this exercise's `probes`.
            seed: for torch, NumPy and `random`, set just before the probe runs.
            cpu_seconds, wall_seconds, memory_mb: other limits than the exercise's, for this probe. Without them, and
                after another probe ran out of time, it gets a quarter: a loop that never ends is met by many checks.

        Raises:
            ProbeEnded: no evidence came; ends the check with its verdict.
        """
        try:
            frames = wire.pack(
                {"kind": "run", "probe": probe.__name__, "probes": self._probes, "seed": seed + self._seed},
                {"args": list(args), "kwargs": kwargs},
                strict=True,
            )
        except wire.Unsendable as error:
            raise ContentError(f"{probe.__name__}: {error}") from None
        limits = self._limits.with_values(
            {"cpu_seconds": cpu_seconds, "wall_seconds": wall_seconds, "memory_mb": memory_mb}
        )
        hurried = self._hurries and cpu_seconds is None and wall_seconds is None
        if hurried:
            limits = limits.hurried()
        exchange, self._next = self._next or self._order(), None
        exchange.limit(limits.scaled(self._slowness()))
        outcome = exchange.run(frames=frames, meanwhile=self.order_ahead)
        self._take(outcome)
        if outcome.killed in ("cpu", "idle", "wall"):
            self._hurries = True
            if hurried:
                self.notes.append("It got a quarter of the usual time, because an earlier check had run out of it.")
        if not outcome.has_value or outcome.denied:
            raise ProbeEnded(account_for(outcome), outcome)
        return outcome.value

    def measure(self, name: str, value: float) -> None:
        """Records a number in the scorecard: an accuracy, a loss."""
        self.measures[name] = float(value)

    def note(self, text: str) -> None:
        """Adds a line that is shown with the check, passed or not."""
        self.notes.append(text)

    def picture(self, title: str, images: Any, *, per_row: int = 8) -> None:
        """Shows what the candidate's code made: in the terminal, in reports, and as PNG beside the attempt.

        Args:
            title: what is seen, in a few words.
            images: tensor N×H×W (grey) or N×3×H×W, N at most 64; uint8, or floating with 0 black and 1 white.
            per_row: how many stand side by side.

        Raises:
            ContentError: it is no such tensor. Judge what came first.
        """
        from grader.judge.pictures import contact_sheet

        self.pictures.append(contact_sheet(title, images, per_row))

    # --- for the judge ---------------------------------------------------------------------------------

    def order_ahead(self) -> None:
        """Starts the worker of the next probe, which loads the candidate meanwhile."""
        self._next = self._order()

    def load(self) -> Outcome | None:
        """Waits until the worker ordered ahead has loaded the candidate. Returns how it ended when it can't."""
        if self._next is None:
            self.order_ahead()
        assert self._next is not None
        outcome = self._next.load()
        if outcome is not None:
            self._next = None
        return outcome

    def begin(self) -> None:
        """Forgets what belongs to the check before."""
        self.measures, self.notes, self.pictures, self.output = {}, [], [], []

    def close(self) -> None:
        if self._next is not None:
            self._next.discard()
            self._next = None

    def _order(self) -> Exchange:
        return Exchange(
            self._launcher,
            self._limits.scaled(self._slowness()),
            source=self._candidate,
            seed=SEED,
            is_cancelled=self._is_cancelled,
            on_progress=self._on_progress,
        )

    def _take(self, outcome: Outcome) -> None:
        if outcome.output:
            self.output.append(outcome.output)
        if outcome.strays and outcome.killed is None:
            self.notes.append(
                f"{outcome.strays} process(es) that your code left behind were ended"
                " (a background process must not outlive the function that starts it)."
            )
