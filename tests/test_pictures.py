"""What a check shows of the candidate's results: on the screen, in watch mode, as files, and in reports."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image

from grader.errors import ContentError
from grader.judge.pictures import contact_sheet
from tests import tiny_kit
from tests.conftest import Places, Practice
from tests.terminals import Terminal

WRONG = "import torch\n\n\ndef add(a, b):\n    return a - b\n"


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny kit, whose first check shows a red and a blue picture before it judges."""
    bank = tiny_kit.write(tmp_path_factory.mktemp("pictured"))
    checks = bank / tiny_kit.ADD / "checks.py"
    text = checks.read_text("utf-8")
    head, rest = text.split("def test_sum(sandbox):\n")
    show = """\
def test_sum(sandbox):
    colours = torch.zeros(2, 3, 4, 4)
    colours[0, 0] = colours[1, 2] = 1
    sandbox.picture("Red, then blue", colours)
"""
    checks.write_text(f"import torch\n\n{head}{show}{rest}", "utf-8")
    return bank


@pytest.fixture
def practice(bank: Path) -> Iterator[Practice]:
    found = Places()
    made = found.make(bank=bank)
    assert made("init", made.home).returncode == 0
    shutil.copy(bank.parent / "solutions" / f"{tiny_kit.ADD}.py", made.home / "exercises")
    yield made
    found.remove()


def _kept(practice: Practice) -> list[Path]:
    return sorted((practice.home / ".practice" / "pictures" / tiny_kit.ADD).glob("*"))


def test_a_terminal_shows_two_pixels_in_a_character(practice: Practice) -> None:
    environ = practice.environ | {"COLORTERM": "truecolor"}
    terminal = Terminal([*practice.command, "check", "01"], environ, practice.home)
    assert terminal.end() == 0
    assert "Red, then blue" in terminal.text
    assert sum(line == "▀" * 9 for line in terminal.lines) == 2, "two rows of characters for four of pixels"
    assert b"38;2;255;0;0" in terminal.raw and b"48;2;0;0;255" in terminal.raw


@pytest.mark.parametrize(("environ", "row"), [({"NO_COLOR": "1"}, "░░░░"), ({"LANG": "C"}, None)])
def test_without_colour_it_is_drawn_in_shades(practice: Practice, environ: dict[str, str], row: str | None) -> None:
    environ = practice.environ | environ | ({} if row else {"PYTHONIOENCODING": "ascii", "NO_COLOR": "1"})
    terminal = Terminal([*practice.command, "check", "01"], environ, practice.home)
    assert terminal.end() == 0
    at = terminal.lines.index("Red, then blue")
    shown = terminal.lines[at + 1 : at + 3]
    assert b"38;2" not in terminal.raw
    assert shown == [row, row] if row else all(len(line) == 9 and line.isascii() for line in shown)


def test_every_attempt_keeps_its_pictures_large_enough_to_see(practice: Practice) -> None:
    done = practice("check", "01")
    assert done.returncode == 0
    (practice.home / "exercises" / f"{tiny_kit.ADD}.py").write_text(WRONG, "utf-8")
    assert practice("check", "01").returncode == 1
    assert [path.name for path in _kept(practice)] == ["1-sum.png", "2-sum.png"]
    assert ".practice/pictures/01_tiny_add/1-sum.png" in done.stdout + done.stderr
    with Image.open(_kept(practice)[0]) as image:
        assert image.size == (9 * 56, 4 * 56)
        assert image.getpixel((0, 0)) == (255, 0, 0) and image.getpixel((9 * 56 - 1, 0)) == (0, 0, 255)


def test_reports_carry_them(practice: Practice, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    card = json.loads(practice("check", "01", "--solution", "--json", "--html", page).stdout)
    (picture,) = card["checks"][0]["pictures"]
    assert (picture["title"], picture["width"], picture["height"]) == ("Red, then blue", 9, 4)
    with Image.open(io.BytesIO(base64.b64decode(picture["png"]))) as image:
        assert image.format == "PNG" and image.size == (9, 4)
    assert f"data:image/png;base64,{picture['png']}" in page.read_text("utf-8")
    assert _kept(practice) == [], "the reference is no attempt"


def test_watch_has_a_key_for_them(practice: Practice) -> None:
    terminal = Terminal([*practice.command, "watch", "01"], practice.environ, practice.home)
    try:
        assert "p pictures" in terminal.until(lambda text: "Score 100/100" in text and "q quit" in text)
        terminal.press("p")
        shown = terminal.until("Red, then blue")
        assert re.search(r"▀{9}\n▀{9}", shown)
        assert "p pictures" not in shown and "Esc back" in shown
        terminal.press("q")
        assert terminal.end() == 0
    finally:
        terminal.kill()
    assert len(_kept(practice)) == 1


def test_a_folder_that_cannot_be_written_costs_no_verdict(practice: Practice) -> None:
    (practice.home / ".practice").mkdir(exist_ok=True)
    (practice.home / ".practice" / "pictures").write_text("in the way", "utf-8")
    done = practice("check", "01")
    assert done.returncode == 0
    assert "The pictures were not kept" in done.stderr and "Traceback" not in done.stderr
    assert [row["score"] for row in json.loads(practice("history", "01", "--json").stdout)] == [100]


@pytest.mark.parametrize(
    "images",
    [None, *(torch.zeros(shape) for shape in ((4,), (2, 2, 4, 4), (65, 4, 4), (0, 4, 4), (1, 600, 4)))],
)
def test_what_is_no_picture_is_a_mistake_of_the_check(images: object) -> None:
    with pytest.raises(ContentError, match="Zebra"):
        contact_sheet("Zebra", images, per_row=8)


def test_values_are_clipped_and_rows_are_filled_from_the_left() -> None:
    images = torch.stack([torch.full((2, 2), value) for value in (-1.0, 0.5, float("nan"), 7.0, float("inf"))])
    sheet = contact_sheet("Greys", images, per_row=3)
    with Image.open(io.BytesIO(base64.b64decode(sheet.png))) as image:
        assert image.mode == "L" and image.size == (sheet.width, sheet.height) == (8, 5)
        assert [image.getpixel((x, 0)) for x in (0, 3, 6)] == [0, 128, 0]
        assert [image.getpixel((x, 3)) for x in (0, 3)] == [255, 255]
        assert 0 < image.getpixel((2, 0)) == image.getpixel((7, 4)) < 128, "lines and what is left over are dark grey"
