"""The terminal, through prompt_toolkit: keys go into the queue, frames come out. Knows no exercise.

Whatever ends the session, the alternate screen, the cursor and the modes are given back as they were.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import io
import signal
import sys
from collections.abc import Callable
from typing import Any, Final

from prompt_toolkit.application import Application
from prompt_toolkit.application.run_in_terminal import run_in_terminal
from prompt_toolkit.formatted_text import ANSI, StyleAndTextTuples, to_formatted_text
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.keys import Keys
from prompt_toolkit.layout import Layout, Window
from prompt_toolkit.layout.controls import UIContent, UIControl

ESCAPE_SECONDS: Final = 0.05
"""How long a lone Esc is waited on for the rest of an arrow key's sequence."""

_NAMED: Final = {
    Keys.Up: "up",
    Keys.Down: "down",
    Keys.PageUp: "pageup",
    Keys.PageDown: "pagedown",
    Keys.Home: "home",
    Keys.End: "end",
    Keys.ControlM: "enter",
    Keys.ControlJ: "enter",
    Keys.Escape: "escape",
    Keys.Backspace: "backspace",
    Keys.ControlU: "c-u",
    Keys.ControlZ: "c-z",
    Keys.ControlC: "c-c",
    Keys.SIGINT: "<sigint>",
}
HUNG_UP: Final = 129
_SIGNALS: Final = ("SIGTERM", "SIGHUP")


class Terminal:
    """A full-screen program that shows the lines that `draw` returns for a width and a height."""

    def __init__(
        self,
        draw: Callable[[int, int], list[str]],
        on_key: Callable[[str], None],
        on_stop: Callable[[int], None],
    ) -> None:
        self._draw = draw
        self._on_stop = on_stop
        self._away = False
        self._crash: BaseException | None = None
        self._app: Application[None] = Application(
            layout=Layout(Window(_Lines(self._text), wrap_lines=False, always_hide_cursor=True)),
            key_bindings=_bindings(on_key),
            full_screen=True,
            mouse_support=False,
            min_redraw_interval=0.05,  # the judge's events come in bursts; the eye needs no more frames
            enable_page_navigation_bindings=False,
        )
        self._app.ttimeoutlen = ESCAPE_SECONDS
        self._app.timeoutlen = ESCAPE_SECONDS

    async def run(self, loop_of_events: Callable[[], Any]) -> None:
        """Show the screen while `loop_of_events()`, a coroutine, runs. Raises what it, or drawing, raised."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: self._fail(context.get("exception")))
        for name in _SIGNALS:
            number = getattr(signal, name, None)
            if number is not None:
                with contextlib.suppress(NotImplementedError):
                    loop.add_signal_handler(number, self._on_stop, 128 + number)
        task: asyncio.Task[None] | None = None

        async def work() -> None:
            try:
                await loop_of_events()
            except asyncio.CancelledError:
                raise
            except BaseException as error:
                self._fail(error)
            else:
                self._leave()

        def begin() -> None:
            nonlocal task
            task = asyncio.ensure_future(work())

        said = io.StringIO()
        try:
            with contextlib.redirect_stderr(said):  # a warning in the midst of the screen would shift it
                await self._app.run_async(pre_run=begin, set_exception_handler=False)
        except EOFError:  # nobody is there any more
            pass
        finally:
            sys.stderr.write(said.getvalue())
            if task is not None:
                task.cancel()
                with contextlib.suppress(BaseException):
                    await task
        if self._crash is not None:
            raise self._crash

    def show(self) -> None:
        """Draw anew, soon."""
        self._app.invalidate()

    async def outside(self, work: Callable[[], None]) -> None:
        """Run `work` in a thread with the terminal as it was before the program; the screen returns afterwards."""
        self._away = True
        try:
            await run_in_terminal(work, in_executor=True)
        finally:
            self._away = False

    @property
    def away(self) -> bool:
        """Whether another program has the terminal."""
        return self._away

    def suspend(self) -> None:
        """Ctrl-Z: back to the shell, where the system knows that."""
        if hasattr(signal, "SIGTSTP"):
            self._app.suspend_to_background()

    def _text(self) -> list[str]:
        """The screen's lines. A mistake in drawing ends the program; inside prompt_toolkit it would hang it."""
        if self._crash is not None:
            return []
        try:
            size = self._app.output.get_size()
            return self._draw(size.columns, size.rows)
        except Exception as error:
            self._fail(error)
            return []

    def _fail(self, error: BaseException | None) -> None:
        if self._crash is None:
            self._crash = error or RuntimeError("the event loop failed")
        self._leave()

    def _leave(self) -> None:
        future = self._app.future
        if future is not None and not future.done():
            self._app.exit()


def _bindings(on_key: Callable[[str], None]) -> KeyBindings:
    bindings = KeyBindings()

    def press(name: str) -> Callable[[KeyPressEvent], None]:
        return lambda event: on_key(name)

    for key, name in _NAMED.items():
        bindings.add(key, eager=True)(press(name))

    @bindings.add(Keys.Any)
    def _(event: KeyPressEvent) -> None:
        on_key(event.data)

    @bindings.add(Keys.BracketedPaste)
    def _(event: KeyPressEvent) -> None:
        for letter in event.data[:100]:
            on_key(letter)

    return bindings


class _Lines(UIControl):
    """Shows lines with ANSI styles as they are: no cursor, no wrapping, nothing to edit."""

    def __init__(self, lines: Callable[[], list[str]]) -> None:
        self._lines = lines

    def create_content(self, width: int, height: int) -> UIContent:
        lines = self._lines()
        return UIContent(lambda n: _parsed(lines[n]), line_count=len(lines), show_cursor=False)

    def is_focusable(self) -> bool:
        return True


@functools.lru_cache(maxsize=256)
def _parsed(line: str) -> StyleAndTextTuples:
    return to_formatted_text(ANSI(line))
