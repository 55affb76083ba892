"""What is said of a wrong tensor to those who ask for details."""

from __future__ import annotations

import pytest
import torch

from grader.checking import Mismatch, Opaque, expect_close, expect_equal, expect_shape
from grader.checking.details import corner, of_pair, of_tensor


def details(action, *values) -> dict[str, str]:  # type: ignore[no-untyped-def]
    with pytest.raises(Mismatch) as caught:
        action(*values, because="It matters.")
    return dict(caught.value.details)


def test_values_that_differ_are_measured_and_located() -> None:
    expected = torch.arange(6.0).reshape(2, 3)
    actual = expected.clone()
    actual[1, 1] += 2.0
    rows = details(expect_close, actual, expected)
    assert rows["shape"] == "(2, 3), as expected"
    assert rows["dtype"] == "float32, as expected"
    assert rows["device"] == "cpu"
    assert rows["max absolute error"] == "2"
    assert rows["max relative error"] == "0.5"
    assert rows["differ"] == "1 of 6 values"
    assert rows["first mismatch"] == "at [1, 1]: 6, expected 4"
    assert rows["corner of yours"].splitlines() == ["0  1  2", "3  6  5"]
    assert rows["corner expected"].splitlines() == ["0  1  2", "3  4  5"]


def test_what_is_not_finite_is_counted_and_leaves_the_errors_readable() -> None:
    rows = details(expect_close, torch.tensor([1.0, float("nan"), 3.5]), torch.tensor([1.0, 2.0, 3.0]))
    assert rows["not finite"] == "1 of yours"
    assert rows["max absolute error"] == "0.5"


def test_a_wrong_shape_or_type_shows_what_came() -> None:
    assert details(expect_shape, torch.zeros(3, 4), (3, 5))["shape"] == "(3, 4)"
    rows = details(expect_equal, torch.zeros(2), torch.zeros(2, dtype=torch.int64))
    assert rows["dtype"] == "float32, expected int64"


def test_large_tensors_are_cut() -> None:
    assert corner(torch.zeros(2, 9, 9)) == "\n".join(["0  0  0  0"] * 4) + " …"


def test_what_is_no_tensor_has_no_details() -> None:
    assert of_pair(Opaque("Tensor"), torch.zeros(1)) == of_tensor(None) == of_pair([1.0], 1.0) == ()


@pytest.mark.parametrize(
    "tensor",
    [
        torch.zeros(0, 3),
        torch.zeros(2, 0, 3),
        torch.tensor(True),
        torch.tensor(2**63 - 1),
        torch.zeros(2, dtype=torch.complex64),
        torch.zeros(2, dtype=torch.float8_e4m3fn),
        torch.full((2, 2), float("inf")),
    ],
    ids=str,
)
def test_no_tensor_makes_it_fail(tensor: torch.Tensor) -> None:
    for other in (tensor, torch.ones_like(tensor), torch.zeros(3)):
        rows = dict(of_pair(tensor, other))
        assert rows["shape"].startswith(str(tuple(tensor.shape)))
