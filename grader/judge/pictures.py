"""Turns tensors into pictures for people to look at. Nothing here judges."""

from __future__ import annotations

import base64
import io
from typing import Any, Final

from grader.errors import ContentError
from grader.judge.scorecard import Picture

MOST_IMAGES: Final = 64
MOST_PIXELS: Final = 512
"""The longest side of a sheet."""
_GAP: Final = 40
"""How bright the lines between images are, of 255: neither black nor white, which the images themselves use."""


def contact_sheet(title: str, images: Any, per_row: int) -> Picture:
    """The images in rows, with a line of one pixel between them.

    Args:
        images: tensor N×H×W (grey) or N×3×H×W; uint8, or floating with 0 black and 1 white (clipped, NaN black).

    Raises:
        ContentError: it is no such tensor, or too large for a sheet.
    """
    import torch
    from PIL import Image

    if not isinstance(images, torch.Tensor) or images.dim() not in (3, 4) or per_row < 1:
        raise ContentError(f"a picture needs a tensor N×H×W or N×3×H×W and a row to put it in: {title}")
    pixels = images.detach().cpu()
    if pixels.dim() == 3:
        pixels = pixels.unsqueeze(1)
    count, channels, height, width = pixels.shape
    if channels not in (1, 3) or not 1 <= count <= MOST_IMAGES or not height or not width:
        raise ContentError(f"a picture shows 1 to {MOST_IMAGES} grey or RGB images, not {tuple(images.shape)}: {title}")
    if pixels.dtype is not torch.uint8:
        pixels = pixels.double().nan_to_num(0.0).clamp(0, 1).mul(255).round().to(torch.uint8)
    columns = min(per_row, count)
    rows = -(-count // columns)
    size = (rows * (height + 1) - 1, columns * (width + 1) - 1)
    if max(size) > MOST_PIXELS:
        raise ContentError(f"{size[1]}×{size[0]} pixels are more than fit a picture: {title}")
    sheet = torch.full((channels, *size), _GAP, dtype=torch.uint8)
    for n, image in enumerate(pixels):
        top, left = n // columns * (height + 1), n % columns * (width + 1)
        sheet[:, top : top + height, left : left + width] = image
    array = sheet[0].numpy() if channels == 1 else sheet.permute(1, 2, 0).contiguous().numpy()
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return Picture(title, size[1], size[0], base64.b64encode(file.getvalue()).decode("ascii"))
