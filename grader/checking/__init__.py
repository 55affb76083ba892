"""What the author of an exercise imports in `checks.py`: the `check` mark and the expectations.

Small on purpose. Every expectation raises `Mismatch` with *expected*, *actual* and *because*, and optionally
*looks like*: the misconception that the evidence resembles. Nothing here knows about the sandbox.
For `probes.py`, import `grader.checking.probing` instead.
"""

from __future__ import annotations

from grader.checking.expectations import (
    Mismatch,
    expect,
    expect_at_least,
    expect_at_most,
    expect_close,
    expect_dtype,
    expect_equal,
    expect_finite,
    expect_number,
    expect_sequence,
    expect_shape,
    expect_tensor,
    expect_type,
    fail,
)
from grader.checking.marks import CheckMark, check
from grader.checking.misconceptions import misconception, resembles
from grader.checking.values import Opaque, describe

__all__ = [
    "CheckMark",
    "Mismatch",
    "Opaque",
    "check",
    "describe",
    "expect",
    "expect_at_least",
    "expect_at_most",
    "expect_close",
    "expect_dtype",
    "expect_equal",
    "expect_finite",
    "expect_number",
    "expect_sequence",
    "expect_shape",
    "expect_tensor",
    "expect_type",
    "fail",
    "misconception",
    "resembles",
]
