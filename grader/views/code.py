"""Source code and differences in the terminal, highlighted. Piped, they stay byte for byte what they are."""

from __future__ import annotations

from difflib import unified_diff

from rich.console import Console


def show_code(console: Console, text: str, language: str = "python") -> None:
    """Highlight `text` for a terminal; write it unchanged when somebody else reads."""
    if not console.is_terminal:
        console.file.write(text if text.endswith("\n") else f"{text}\n")
        return
    from rich.syntax import Syntax

    console.print(Syntax(text, language, theme="ansi_dark", background_color="default", word_wrap=True))


def difference(before: str, after: str, *, before_name: str, after_name: str) -> str:
    """A unified diff that `patch` reads, empty when both are equal."""
    lines = unified_diff(before.splitlines(keepends=True), after.splitlines(keepends=True), before_name, after_name)
    unended = "\n\\ No newline at end of file\n"
    return "".join(line if line.endswith("\n") else line + unended for line in lines)
