"""The format in which plain data crosses the sandbox's boundary: length-prefixed frames, never pickles.

A frame is a 16-byte head (magic, header length, payload length), a JSON header, and the raw bytes of tensors.
The reader trusts nothing: whatever it can't read exactly raises `Malformed`.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator
from typing import Any, Final

from grader.checking.values import Opaque

HEAD: Final = struct.Struct("!4sIQ")
MAGIC: Final = b"PrV1"
MAX_HEADER: Final = 8 << 20
MAX_PAYLOAD_IN: Final = 256 << 20
"""Most bytes of tensors that the judge takes from one worker's frame."""
MAX_DEPTH: Final = 40
MAX_TEXT: Final = 1 << 20
MAX_DIMENSIONS: Final = 16


class Malformed(Exception):
    """A frame that can't be read exactly."""


class Unsendable(Exception):
    """A value of the judge's own that isn't plain data."""


def _dtypes() -> dict[str, Any]:
    import torch

    names = (
        "float16 bfloat16 float32 float64 int8 uint8 int16 int32 int64 bool complex64 complex128 uint16 uint32 uint64"
    )
    return {name: getattr(torch, name) for name in names.split() if hasattr(torch, name)}


# --- writing -------------------------------------------------------------------------------------------


class _Encoder:
    def __init__(self, *, strict: bool) -> None:
        self.strict = strict
        self.buffers: list[memoryview] = []

    def encode(self, value: Any, depth: int = 0) -> Any:
        kind = type(value)
        if value is None or kind is bool or kind is str:
            return value if kind is not str or len(value) <= MAX_TEXT else value[:MAX_TEXT]
        if kind is int:
            return value if value.bit_length() <= 256 else self.opaque(value)
        if kind is float or (kind.__module__ == "numpy" and kind.__name__ == "float64"):
            number = float(value)
            return number if math.isfinite(number) else {"f": repr(number)}
        if depth > MAX_DEPTH:
            return self.opaque(value)
        if kind is list or kind is tuple:
            return {"l" if kind is list else "t": [self.encode(v, depth + 1) for v in value]}
        if kind is dict or (self.strict and isinstance(value, dict)):  # a state_dict is an OrderedDict
            if all(type(k) in (str, int) for k in value):
                return {"d": [[k, self.encode(v, depth + 1)] for k, v in value.items()]}
            odd = next(type(k).__name__ for k in value if type(k) not in (str, int))
            return self.opaque(value, f"with a key of type {odd}; keys have to be str or int")
        if kind.__module__ == "numpy" and kind.__name__ == "ndarray":
            return self.array(value)
        return self.tensor(value)

    def array(self, value: Any) -> Any:
        import numpy as np

        if value.dtype.kind not in "fiubc" or not value.dtype.isnative or value.ndim > MAX_DIMENSIONS:
            return self.opaque(value)
        data = np.ascontiguousarray(value)
        return {
            "a": self.buffer(data.reshape(-1).view(np.uint8)),
            "y": value.dtype.str,
            "s": list(value.shape),
        }

    def tensor(self, value: Any) -> Any:
        import torch

        if type(value) not in (torch.Tensor, torch.nn.Parameter):
            return self.opaque(value)
        name = str(value.dtype).removeprefix("torch.")
        plain = value.device.type == "cpu" and value.layout is torch.strided and not value.is_quantized
        if not plain or name not in _dtypes() or value.dim() > MAX_DIMENSIONS:
            where = f"{name} tensor on device {value.device}, {value.layout}"
            return {"o": ["torch.Tensor", where]} if not self.strict else self.opaque(value)
        flat = value.detach().resolve_conj().resolve_neg().contiguous()
        flat = flat.as_strided((flat.numel(),), (1,))
        return {"T": self.buffer(flat.view(torch.uint8).numpy()), "y": name, "s": list(value.shape)}

    def buffer(self, array: Any) -> int:
        self.buffers.append(memoryview(array).cast("B") if array.size else memoryview(b""))
        return len(self.buffers) - 1

    def opaque(self, value: Any, text: str | None = None) -> Any:
        kind = type(value)
        name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
        if self.strict:
            raise Unsendable(f"{name} is not plain data: send tensors, numbers, strings, lists and dicts")
        try:
            text = repr(value)[:500] if text is None else text[:500]
        except BaseException:
            text = ""
        return {"o": [name[:200], text]}


def pack(header: dict[str, Any], value: Any = None, *, strict: bool = False) -> list[memoryview]:
    """A frame as a list of buffers, so that big tensors aren't copied.

    `header` holds plain JSON data; `value` anything. With `strict`, what isn't plain data raises `Unsendable`;
    otherwise it is replaced by an `Opaque` stand-in.
    """
    encoder = _Encoder(strict=strict)
    body = {**header, "value": encoder.encode(value), "sizes": []}
    body["sizes"] = [len(b) for b in encoder.buffers]
    text = json.dumps(body, separators=(",", ":"), allow_nan=False).encode()
    if len(text) > MAX_HEADER:
        raise Unsendable("the value is too large")
    payload = sum(body["sizes"])
    return [memoryview(HEAD.pack(MAGIC, len(text), payload)), memoryview(text), *encoder.buffers]


# --- reading -------------------------------------------------------------------------------------------


class Reader:
    """Cuts a stream of bytes into frames. `feed` bytes, then iterate over `frames()`."""

    def __init__(self, *, max_payload: int = MAX_PAYLOAD_IN) -> None:
        self.max_payload = max_payload
        self._data = bytearray()
        self._need: tuple[int, int] | None = None

    def feed(self, data: bytes | memoryview) -> None:
        self._data += data

    @property
    def waiting(self) -> bool:
        """True when part of a frame has come and the rest hasn't."""
        return bool(self._data)

    def frames(self) -> Iterator[tuple[dict[str, Any], Any]]:
        """Yields (header, value) of every whole frame. Raises `Malformed`."""
        while True:
            if self._need is None:
                if len(self._data) < HEAD.size:
                    return
                magic, header, payload = HEAD.unpack_from(self._data)
                if magic != MAGIC or header > MAX_HEADER or payload > self.max_payload:
                    raise Malformed("not a frame")
                self._need = (header, payload)
            header, payload = self._need
            end = HEAD.size + header + payload
            if len(self._data) < end:
                return
            frame, self._data, self._need = self._data[:end], self._data[end:], None
            yield unpack(frame, header)


def unpack(frame: bytearray, header: int) -> tuple[dict[str, Any], Any]:
    """Reads one whole frame. Raises `Malformed` and nothing else."""
    try:
        body = json.loads(bytes(frame[HEAD.size : HEAD.size + header]), parse_constant=_no_constant)
        if not isinstance(body, dict) or not isinstance(body.get("sizes"), list):
            raise Malformed("no header")
        value, sizes = body.pop("value", None), body.pop("sizes")
        return body, _Decoder(frame, HEAD.size + header, sizes).decode(value)
    except Malformed:
        raise
    except (
        ValueError,
        TypeError,
        KeyError,
        IndexError,
        RecursionError,
        OverflowError,
        RuntimeError,
    ) as error:
        raise Malformed(f"{type(error).__name__}: {error}") from None


def _no_constant(name: str) -> None:
    raise Malformed(f"{name} is not JSON")


class _Decoder:
    def __init__(self, frame: bytearray, start: int, sizes: list[Any]) -> None:
        self.frame = frame
        self.spans: list[tuple[int, int]] = []
        for size in sizes:
            if type(size) is not int or size < 0 or start + size > len(frame):
                raise Malformed("a buffer lies outside the frame")
            self.spans.append((start, size))
            start += size
        if start != len(frame):
            raise Malformed("buffers and frame differ in length")

    def decode(self, value: Any, depth: int = 0) -> Any:
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        if depth > MAX_DEPTH + 1 or not isinstance(value, dict) or not value:
            raise Malformed("a value of no known kind")
        tag = next(iter(value))
        content = value[tag]
        if tag == "f" and content in ("nan", "inf", "-inf"):
            return float(content)
        if tag in ("l", "t") and isinstance(content, list):
            items = [self.decode(v, depth + 1) for v in content]
            return items if tag == "l" else tuple(items)
        if tag == "d" and isinstance(content, list):
            return self.mapping(content, depth)
        if tag == "o" and isinstance(content, list) and [type(c) for c in content] == [str, str]:
            return Opaque(content[0], content[1])
        if tag in ("T", "a") and isinstance(value.get("s"), list):
            return self.tensor(value) if tag == "T" else self.array(value)
        raise Malformed("a value of no known kind")

    def mapping(self, content: list[Any], depth: int) -> dict[Any, Any]:
        found = {}
        for pair in content:
            if not isinstance(pair, list) or len(pair) != 2 or type(pair[0]) not in (str, int):
                raise Malformed("a dict's entry of no known kind")
            found[pair[0]] = self.decode(pair[1], depth + 1)
        return found

    def data(self, index: Any, shape: list[Any], itemsize: int) -> bytearray:
        if type(index) is not int or index < 0 or len(shape) > MAX_DIMENSIONS:
            raise Malformed("no such buffer")
        if any(type(n) is not int or n < 0 for n in shape):
            raise Malformed("a shape of no known kind")
        start, size = self.spans[index]
        if math.prod(shape) * itemsize != size:
            raise Malformed("shape and bytes differ")
        return self.frame[start : start + size]

    def tensor(self, value: dict[str, Any]) -> Any:
        import torch

        dtype, shape = _dtypes()[value["y"]], value["s"]
        data = self.data(value["T"], shape, dtype.itemsize)
        if not data:
            return torch.empty(shape, dtype=dtype)
        if dtype is torch.bool:
            return torch.frombuffer(data, dtype=torch.uint8).ne(0).reshape(shape)
        return torch.frombuffer(data, dtype=dtype).reshape(shape)

    def array(self, value: dict[str, Any]) -> Any:
        import numpy as np

        dtype = np.dtype(value["y"])
        if dtype.kind not in "fiubc" or not dtype.isnative:
            raise Malformed("an array of no known kind")
        data = self.data(value["a"], value["s"], dtype.itemsize)
        return np.frombuffer(data, dtype=dtype).reshape(value["s"])
