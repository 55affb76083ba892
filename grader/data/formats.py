"""The file formats of the real sets, from bytes to arrays: IDX, CIFAR-10's batches, and images.

Bytes come from anywhere, so nothing here trusts them: sizes are checked before they are used, and a pickle may
build arrays and nothing else.
"""

from __future__ import annotations

import codecs
import io
import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from grader.errors import PracticeError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Bytes = NDArray[np.uint8]
    Labels = NDArray[np.int64]

IDX_UNSIGNED_BYTE = 0x08
CIFAR_SHAPE = (3, 32, 32)


def idx(content: bytes, name: Path, dimensions: int) -> Bytes:
    """The array of an IDX file of unsigned bytes: N×H×W for images (3 dimensions), N for labels (1)."""
    header = 4 + 4 * dimensions
    if len(content) < header or content[:4] != bytes([0, 0, IDX_UNSIGNED_BYTE, dimensions]):
        kind = "images" if dimensions == 3 else "labels"
        raise damaged(name, f"it doesn't start as an IDX file of {kind} does")
    shape = [int.from_bytes(content[at : at + 4], "big") for at in range(4, header, 4)]
    expected = 1
    for each in shape:
        expected *= each
    if len(content) - header != expected:
        raise damaged(name, f"{expected} bytes should follow its header, {len(content) - header} do")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


class _ArraysOnly(pickle.Unpickler):
    """An unpickler that can build numpy arrays, and can't be made to call anything else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("_codecs", "encode"):
            return codecs.encode
        if module == "numpy" and name in ("ndarray", "dtype"):
            return getattr(np, name)
        if module in ("numpy.core.multiarray", "numpy._core.multiarray") and name == "_reconstruct":
            return _empty_array
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


def _empty_array(kind: type, shape: tuple[int, ...], dtype: Any) -> Any:
    """What `_reconstruct` does: an array without content, which the pickle fills next."""
    if kind is not np.ndarray or dtype not in (b"b", "b") or shape != (0,):
        raise pickle.UnpicklingError("it asks for an unusual array")
    return np.ndarray(shape, np.int8)


def cifar_batch(content: bytes, name: Path) -> tuple[Bytes, Labels]:
    """Images N×3×32×32 and labels of one pickled batch of CIFAR-10."""
    try:
        entry = _ArraysOnly(io.BytesIO(content), encoding="bytes").load()
    except Exception as error:  # a hostile or broken pickle raises anything at all
        raise damaged(name, f"it isn't a batch of CIFAR-10 ({error})") from error
    if not isinstance(entry, dict):
        raise damaged(name, "it isn't a batch of CIFAR-10 (a dictionary)")
    data, labels = (entry.get(key, entry.get(key.encode())) for key in ("data", "labels"))
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != 3072:
        raise damaged(name, "its data isn't an array of N×3072 bytes")
    if not isinstance(labels, list) or not all(type(each) is int and 0 <= each < 10 for each in labels):
        raise damaged(name, "its labels aren't a list of numbers from 0 to 9")
    if len(labels) != len(data):
        raise damaged(name, f"it has {len(data)} images, but {len(labels)} labels")
    return data.reshape(-1, *CIFAR_SHAPE), np.array(labels, dtype=np.int64)


def cifar_binary(content: bytes, name: Path) -> tuple[Bytes, Labels]:
    """Images N×3×32×32 and labels of one batch of CIFAR-10's binary version: rows of label and pixels."""
    if not content or len(content) % 3073:
        raise damaged(name, f"{len(content)} bytes aren't whole rows of 3073")
    rows = np.frombuffer(content, np.uint8).reshape(-1, 3073)
    return rows[:, 1:].reshape(-1, *CIFAR_SHAPE), rows[:, 0].astype(np.int64)


def picture(content: bytes, name: Path, shape: tuple[int, int, int]) -> Bytes:
    """An image file as an array C×H×W; one of another size than `shape` raises `PracticeError`."""
    from PIL import Image, UnidentifiedImageError

    channels, height, width = shape
    try:
        with Image.open(io.BytesIO(content)) as image:
            size = image.size  # known from the header: a huge image is never decoded
            pixels = np.asarray(image.convert("L" if channels == 1 else "RGB")) if size == (width, height) else None
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise damaged(name, "it can't be decoded as an image") from error
    if pixels is None:
        raise PracticeError(
            f"{name} has {size[0]}×{size[1]} pixels, not {width}×{height}.",
            hint="The images of a class folder must have the size of the original data set.",
        )
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)


def damaged(name: Path, reason: str) -> PracticeError:
    """The error for content that isn't what the file's name says."""
    return PracticeError(f"{name} is damaged: {reason}.", hint="Get the file anew, then run the command again.")
