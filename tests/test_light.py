"""Lines, tables and short markdown for commands that can't wait for rich."""

from __future__ import annotations

import io

import pytest

from grader.views.light import Screen, cells, clipped, markdown, screen, table


def written(width: int | None, color: bool = False) -> tuple[Screen, io.StringIO]:
    stream = io.StringIO()
    return Screen(stream, color, width), stream


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "environ", "color"),
    [
        (Terminal(), {}, True),
        (Terminal(), {"NO_COLOR": "1"}, False),
        (Terminal(), {"NO_COLOR": ""}, True),
        (Terminal(), {"TERM": "dumb"}, False),
        (io.StringIO(), {}, False),
        (io.StringIO(), {"FORCE_COLOR": "1"}, True),
        (io.StringIO(), {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
    ],
)
def test_colour_follows_the_terminal_and_the_environment(
    stream: io.StringIO, environ: dict[str, str], color: bool
) -> None:
    assert screen(stream, environ).color is color


def test_only_a_terminal_or_columns_bound_the_width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    assert screen(io.StringIO(), {}).width is None
    assert screen(io.StringIO(), {"COLUMNS": "50"}).width == 50
    assert screen(Terminal(), {}).width == 50


def test_wide_and_combining_characters_are_measured() -> None:
    assert (cells("abc"), cells("数字"), cells("u\u0308")) == (3, 4, 1)
    assert clipped("数字数字", 5) == "数字…"


def test_a_table_keeps_its_columns_in_line() -> None:
    on, stream = written(30)
    rows = [[("a", ""), ("one two three four five", ""), ("9", "good")], [("数", ""), ("x", ""), ("10", "")]]
    table(on, ["Name", "Text", "Best"], rows, right=[2])
    assert stream.getvalue().splitlines() == [
        "Name  Text                Best",
        "a     one two three four     9",
        "      five",
        "数    x                     10",
    ]


def test_markdown_is_wrapped_and_code_is_kept() -> None:
    on, stream = written(24)
    text = "# Title\n\nSome `code here` and **bold** words.\n\n- first item of\n  two lines\n- second\n\n"
    markdown(on, text + "```python\nif x:\n    y  # as it is, however long it is\n```\n\n    z = 1\n      w = 2\n")
    assert stream.getvalue().splitlines() == [
        "Title",
        "",
        "Some `code here` and",
        "bold words.",
        "",
        "- first item of two",
        "  lines",
        "- second",
        "",
        "  if x:",
        "      y  # as it is, however long it is",
        "",
        "  z = 1",
        "    w = 2",
        "",
    ]


def test_markdown_in_colour_needs_no_backticks() -> None:
    on, stream = written(80, color=True)
    markdown(on, "Use `x.sum()`, **now**.")
    assert stream.getvalue().rstrip("\n") == "Use \x1b[36mx.sum()\x1b[0m, \x1b[1mnow\x1b[0m."


def test_where_nobody_looks_markdown_stays_as_written() -> None:
    on, stream = written(None)
    text = "A `b`\n\n```\nc\n```"
    markdown(on, text)
    assert stream.getvalue() == text + "\n"
