"""What evidence looks like on the judge's side, and how to say it in a line.

Imports torch lazily, so that light processes may import the package.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

LONGEST = 160


@dataclass(frozen=True)
class Opaque:
    """Stands for a value that may not leave the sandbox: only its type's name and a short text arrive."""

    type_name: str
    text: str = ""

    def __str__(self) -> str:
        return f"{article(self.type_name)}" + (f" ({shorten(self.text, 80)})" if self.text else "")


def article(noun: str) -> str:
    """`a float`, `an int`."""
    return f"{'an' if noun[:1].lower() in 'aeiou' else 'a'} {noun}"


def shorten(text: str, longest: int = LONGEST) -> str:
    """At most `longest` characters, on one line."""
    text = " ".join(text.split())
    return text if len(text) <= longest else text[: longest - 1] + "…"


def describe(value: Any) -> str:
    """A value in a few words, for *actual* and *expected*: tensors by shape, dtype and a few numbers."""
    if value is None:
        return "None"
    if isinstance(value, Opaque):
        return str(value)
    if type(value).__name__ == "Tensor":
        return _describe_tensor(value)
    if type(value).__name__ == "ndarray":
        return f"a NumPy array of shape {tuple(value.shape)} and dtype {value.dtype}"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, (list, tuple)):
        kind = "list" if isinstance(value, list) else "tuple"
        if len(value) > 12 or any(type(v).__name__ == "Tensor" for v in value):
            inner = ", ".join(describe(v) for v in value[:3])
            return shorten(f"a {kind} of {len(value)}: {inner}{', …' if len(value) > 3 else ''}")
        opening, closing = ("[", "]") if kind == "list" else ("(", ")")
        return shorten(opening + ", ".join(describe(v) for v in value) + closing)
    if isinstance(value, dict):
        return shorten("{" + ", ".join(f"{k!r}: {describe(v)}" for k, v in list(value.items())[:8]) + "}")
    return shorten(repr(value))


def _describe_tensor(tensor: Any) -> str:
    kind = str(tensor.dtype).removeprefix("torch.")
    head = f"a tensor of shape {tuple(tensor.shape)}, {kind}"
    if 0 < tensor.numel() <= 8:
        numbers = ", ".join(describe(v) for v in tensor.flatten().tolist())
        return f"{head}: [{numbers}]"
    return head
