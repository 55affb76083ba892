"""Pictures in the terminal: two pixels in each character, one above the other; and as files for other viewers."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Final

from PIL import Image
from rich.console import Console
from rich.text import Text

from grader.files import write_atomic
from grader.judge.scorecard import Picture, Scorecard
from grader.views import text as words
from grader.views.text import clean

_SHADES: Final = " ░▒▓█"
_ASCII_SHADES: Final = " .:-=+*#%@"
_FILE_SIDE: Final = 512
"""A file's pixels are enlarged by a whole factor until its longer side comes near this."""


def show_pictures(console: Console, card: Scorecard) -> None:
    """Each picture under its title, shrunk where the console is narrower than it."""
    for picture in card.pictures:
        console.print()
        console.print(Text(clean(picture.title), style="bold"))
        for line in drawn(console, picture):
            console.print(line, soft_wrap=True)


def drawn(console: Console, picture: Picture) -> list[Text]:
    """The picture in half blocks; in shades of grey where there is no colour, in letters where there are no blocks."""
    image = _opened(picture).convert("RGB")
    if image.width > console.width:
        image = image.resize((console.width, max(1, image.height * console.width // image.width)), Image.Resampling.BOX)
    if console.color_system is None or console.no_color or not words.encodes(console.encoding, "▀"):
        return _shaded(image, _SHADES if words.encodes(console.encoding, _SHADES) else _ASCII_SHADES)
    lines = []
    for top in range(0, image.height, 2):
        line = Text()
        for x in range(image.width):
            upper = f"rgb({','.join(map(str, _pixel(image, x, top)))})"
            below = f" on rgb({','.join(map(str, _pixel(image, x, top + 1)))})" if top + 1 < image.height else ""
            line.append("▀", style=upper + below)
        lines.append(line)
    return lines


def save_pictures(card: Scorecard, folder: Path, attempt: int) -> list[Path]:
    """Write each picture as `ATTEMPT-check.png` into `folder`; the files.

    Raises PracticeError saying what the system said.
    """
    saved: list[Path] = []
    for record in card.checks:
        for n, picture in enumerate(record.pictures):
            name = f"{attempt}-{record.id.removeprefix('test_')}" + (f"-{n + 1}" if n else "")
            saved.append(folder / f"{name}.png")
            write_atomic(saved[-1], _enlarged(picture))
    return saved


def _enlarged(picture: Picture) -> bytes:
    image = _opened(picture)
    factor = max(1, _FILE_SIDE // max(image.size))
    file = io.BytesIO()
    image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST).save(file, "PNG")
    return file.getvalue()


def _opened(picture: Picture) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(picture.png)))


def _pixel(image: Image.Image, x: int, y: int) -> tuple[int, int, int]:
    red, green, blue = image.getpixel((x, y))  # type: ignore[misc]
    return red, green, blue


def _shaded(image: Image.Image, shades: str) -> list[Text]:
    """A character is twice as high as it is wide, so it stands for two pixels."""
    small = image.convert("L").resize((image.width, max(1, -(-image.height // 2))), Image.Resampling.BOX)
    rows = [[small.getpixel((x, y)) for x in range(small.width)] for y in range(small.height)]
    return [Text("".join(shades[min(len(shades) - 1, int(v) * len(shades) // 256)] for v in row)) for row in rows]  # type: ignore[arg-type]
