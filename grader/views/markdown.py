"""Markdown in the terminal: statements, hints, model answers. Piped, the text stays as it was written."""

from __future__ import annotations

from rich.console import Console

WIDEST = 100
"""Long lines are hard to read: on a wider terminal the text keeps to this many columns."""


def show_markdown(console: Console, text: str) -> None:
    """Render `text` for a terminal; write it unchanged when somebody else reads."""
    if not console.is_terminal:
        console.print(text, markup=False, soft_wrap=True)
        return
    from rich.markdown import Markdown

    rendered = Markdown(text, code_theme="ansi_dark", hyperlinks=False)
    console.print(rendered, width=min(WIDEST, console.width))
