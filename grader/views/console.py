"""The one place where consoles are made, so that colour, width and encoding are decided once.

rich honours NO_COLOR, FORCE_COLOR, COLUMNS and whether the stream is a terminal; nothing else is read here.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TextIO

from rich.console import Console
from rich.text import Text
from rich.theme import Theme

if TYPE_CHECKING:
    from grader.errors import PracticeError

_THEME = Theme(
    {
        "command": "bold cyan",
        "path": "cyan",
        "quiet": "dim",
        "good": "green",
        "bad": "red",
        "markdown.code": "cyan",  # not on black, which is wrong on a light terminal
        "markdown.code_block": "cyan",
    }
)


def console(*, stderr: bool = False) -> Console:
    """The console on stdout, for what was asked for; on stderr for all that is said beside it."""
    return Console(theme=_THEME, highlight=False, emoji=False, stderr=stderr)


def canvas(stream: TextIO, width: int, height: int) -> Console:
    """A console like the one on stdout that draws into `stream` instead: for what another part puts on the screen."""
    real = console()
    return Console(
        file=stream,
        theme=_THEME,
        highlight=False,
        emoji=False,
        force_terminal=True,
        color_system=real.color_system or "standard",  # type: ignore[arg-type]
        no_color=real.no_color,
        width=width,
        height=height,
        legacy_windows=False,
    )


def prose() -> Console:
    """Where remarks go: below the payload on a terminal, to stderr when stdout is piped into something."""
    return console(stderr=not sys.stdout.isatty())


def complain(error: PracticeError) -> None:
    """Say an error and what to do next."""
    say("Error", error.message, error.hint, style="bold red")


def warn(message: str, hint: str | None = None) -> None:
    """Say something that didn't stop the command."""
    say("Warning", message, hint, style="bold yellow")


def say(label: str, message: str, hint: str | None, *, style: str) -> None:
    """`Label: message` on stderr, with the hint below it. Neither is taken for markup."""
    from grader.views.text import clean

    stream = console(stderr=True)
    stream.print(Text.assemble((f"{label}: ", style), clean(message)), soft_wrap=True)
    if hint:
        stream.print(with_commands(clean(hint)), soft_wrap=True)


def with_commands(sentence: str) -> Text:
    """The sentence with its `commands` in colour."""
    text = Text()
    for number, part in enumerate(sentence.split("`")):
        text.append(f"`{part}`" if number % 2 else part, style="command" if number % 2 else "")
    return text
