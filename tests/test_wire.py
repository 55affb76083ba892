"""What leaves a worker is read exactly or refused: round trips, and frames bent in every way."""

from __future__ import annotations

import contextlib
import json
import math
from typing import Any

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from grader.checking.expectations import same
from grader.checking.values import Opaque
from grader.sandbox import wire
from grader.sandbox.watch import _is_error

QUICK = settings(max_examples=150, deadline=None)

texts = st.text(max_size=20) | st.just("\ud800 lone surrogate")
scalars = st.none() | st.booleans() | st.integers(-(2**200), 2**200) | st.floats(allow_nan=False) | texts
tensors = hnp.arrays(
    st.sampled_from([np.float32, np.float64, np.int64, np.uint8, np.int8, np.bool_, np.complex64]),
    hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
    elements={"allow_nan": False},
).map(lambda a: torch.from_numpy(np.array(a)))
values = st.recursive(
    scalars | tensors,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(texts | st.integers(-5, 5), inner, max_size=4)
    ),
    max_leaves=12,
)


def frame(value: Any, **header: Any) -> bytearray:
    return bytearray(b"".join(wire.pack({"kind": "value", **header}, value)))


def read(data: bytes | bytearray) -> list[tuple[dict[str, Any], Any]]:
    reader = wire.Reader()
    reader.feed(bytes(data))
    return list(reader.frames())


@QUICK
@given(values)
def test_plain_data_arrives_as_it_was_sent(value: Any) -> None:
    ((header, found),) = read(frame(value))
    assert header == {"kind": "value"}
    assert same(found, value)


@QUICK
@given(st.lists(values, min_size=1, max_size=3), st.integers(1, 50))
def test_frames_arrive_whole_however_the_bytes_are_cut(sent: list[Any], size: int) -> None:
    data = b"".join(bytes(frame(v)) for v in sent)
    reader = wire.Reader()
    found = []
    for start in range(0, len(data), size):
        reader.feed(data[start : start + size])
        found += [value for _, value in reader.frames()]
    assert len(found) == len(sent)
    assert all(same(a, b) for a, b in zip(found, sent, strict=True))
    assert not reader.waiting


@QUICK
@given(values, st.data())
def test_a_bent_frame_is_read_or_refused_and_nothing_else(value: Any, data: st.DataObject) -> None:
    bent = frame(value)
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(bent) - 1))
        action = data.draw(st.sampled_from(["flip", "cut", "insert"]))
        if action == "flip":
            bent[at] = data.draw(st.integers(0, 255))
        elif action == "cut" and len(bent) > 1:
            del bent[at : at + data.draw(st.integers(1, 8))]
        else:
            bent[at:at] = data.draw(st.binary(max_size=8))
        if not bent:
            return
    with contextlib.suppress(wire.Malformed):
        read(bent)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["nan", "inf", "float32", "bool", "<f4", "|O", ">f8", "complex64"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["T", "a", "y", "s", "l", "t", "d", "f", "o", "x"]), inner, max_size=4)
    ),
    max_leaves=15,
)


@settings(max_examples=400, deadline=None)
@given(json_values, st.lists(st.integers(-3, 40) | st.none() | st.text(max_size=2), max_size=3), st.binary(max_size=40))
def test_a_made_up_header_is_read_or_refused(value: Any, sizes: list[Any], payload: bytes) -> None:
    text = json.dumps({"kind": "value", "value": value, "sizes": sizes}).encode()
    data = wire.HEAD.pack(wire.MAGIC, len(text), len(payload)) + text + payload
    with contextlib.suppress(wire.Malformed):
        read(data)


@pytest.mark.parametrize(
    "text",
    [
        b"[" * 100_000,
        b'{"kind":"value","sizes":[],"value":' + b'{"l":[' * 5000 + b"]}" * 5000 + b"}",
        b'{"kind":"value","sizes":[],"value":NaN}',
        b'{"kind":"value","sizes":[],"value":' + b"9" * 10_000 + b"}",
        b'{"kind":"value","sizes":{},"value":1}',
        b"null",
        b"\xff\xfe",
        b"",
    ],
    ids=["nested", "nested values", "NaN", "long number", "sizes", "null", "not UTF-8", "empty"],
)
def test_a_hostile_header_is_refused(text: bytes) -> None:
    with pytest.raises(wire.Malformed):
        read(wire.HEAD.pack(wire.MAGIC, len(text), 0) + text)


def test_sizes_are_limited_before_anything_is_kept() -> None:
    for header, payload in ((wire.MAX_HEADER + 1, 0), (10, wire.MAX_PAYLOAD_IN + 1), (10, 2**63)):
        with pytest.raises(wire.Malformed):
            read(wire.HEAD.pack(wire.MAGIC, header, payload))


def test_shape_and_bytes_have_to_agree() -> None:
    good = {"T": 0, "y": "float32", "s": [2, 2]}
    for change in (
        {"s": [2, 3]},
        {"s": [2**40, 2**40]},
        {"s": [-2, -2]},
        {"y": "float64"},
        {"T": 1},
        {"T": -1},
        {"y": "object"},
    ):
        text = json.dumps({"sizes": [16], "value": {**good, **change}}).encode()
        with pytest.raises(wire.Malformed):
            read(wire.HEAD.pack(wire.MAGIC, len(text), 16) + text + bytes(16))


class Liar(torch.Tensor):
    pass


class Yes(float):
    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = float.__hash__


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (torch.zeros(2).as_subclass(Liar), "Liar"),
        (Yes(1.0), "Yes"),
        (torch.zeros(2, device="meta"), "torch.Tensor"),
        (torch.eye(2).to_sparse(), "torch.Tensor"),
        (object(), "object"),
        (np.float32(1.0), "numpy.float32"),
        ({1.5: 2}, "dict"),
        ({"set"}, "set"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_what_is_not_plain_data_arrives_as_a_name(value: Any, name: str) -> None:
    ((_, found),) = read(frame(value))
    assert isinstance(found, Opaque)
    assert name in found.type_name


def test_a_float_of_numpy_counts_as_a_float() -> None:
    ((_, found),) = read(frame([np.float64(0.5), math.nan, -math.inf]))
    assert found[0] == 0.5 and type(found[0]) is float
    assert math.isnan(found[1]) and found[2] == -math.inf


def test_tensors_lose_their_graph_and_their_strides_but_no_value() -> None:
    source = torch.arange(6.0).reshape(2, 3).t().requires_grad_()
    expanded = torch.ones(1, 3).expand(2, 3)
    ((_, found),) = read(
        frame([source, expanded, torch.nn.Parameter(torch.ones(2)), torch.tensor(2.0, dtype=torch.bfloat16)])
    )
    assert torch.equal(found[0], source.detach()) and not found[0].requires_grad
    assert torch.equal(found[1], expanded)
    assert type(found[2]) is torch.Tensor
    assert found[3].dtype == torch.bfloat16


def test_the_judge_sends_plain_data_only() -> None:
    with pytest.raises(wire.Unsendable):
        wire.pack({"kind": "run"}, [object()], strict=True)


@QUICK
@given(
    st.dictionaries(
        st.sampled_from(["type", "kinds", "message", "frames", "notes", "filename", "attribute", "syntax", "errno"]),
        json_values | st.lists(st.lists(st.integers() | st.text(max_size=3), max_size=4), max_size=2),
    )
)
def test_an_account_of_an_exception_is_taken_or_refused(error: dict[str, Any]) -> None:
    """What is taken can be explained without an exception of ours."""
    from grader.judge.explain import account_for
    from grader.judge.scorecard import VERDICTS
    from grader.sandbox.watch import Outcome

    if _is_error(error):
        for during in ("loading", "running"):
            assert account_for(Outcome(error=error, during=during)).verdict in VERDICTS
