"""What is said of a wrong tensor to those who ask for details."""

from __future__ import annotations

import math

import pytest
import torch

from grader.checking import Mismatch, Opaque, expect_close, expect_equal, expect_shape, expect_type, probing
from grader.checking.details import corner, of_pair, of_tensor
from grader.judge.explain import account_for
from grader.sandbox import wire
from grader.sandbox.candidate import describe_error
from grader.sandbox.watch import Outcome


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


def said(action, *values, **more) -> tuple[str, str]:  # type: ignore[no-untyped-def]
    with pytest.raises(Mismatch) as caught:
        action(*values, because="It matters.", **more)
    return caught.value.expected, caught.value.actual


@pytest.mark.parametrize(
    ("actual", "words"),
    [
        ([1.0, 2.5, 4.0], "2.5; 2 of 3 values differ, by up to 1"),
        ([1.0, math.inf, 4.0], "inf; 2 of 3 values differ, by up to 1; at 1 of them one of the two is infinite or NaN"),
        ([1.0, math.nan, 3.0], "nan; 1 of 3 values differ; at 1 of them one of the two is infinite or NaN"),
        ([1.0, -math.inf, math.nan], "-inf; 2 of 3 values differ; at 2 of them one of the two is infinite or NaN"),
    ],
)
def test_what_is_not_finite_has_no_difference(actual: list[float], words: str) -> None:
    assert said(expect_close, torch.tensor(actual), torch.tensor([1.0, 2.0, 3.0])) == ("2 at index [1]", words)


def test_an_infinite_value_that_was_expected_is_no_difference() -> None:
    expected = torch.tensor([math.inf, 2.0, math.nan])
    assert said(expect_close, torch.tensor([math.inf, 3.0, math.nan]), expected) == (
        "2 at index [1]",
        "3; 1 of 3 values differ, by up to 1",
    )


def test_a_dict_that_is_no_plain_one_says_what_is_odd_about_it() -> None:
    reader = wire.Reader()
    reader.feed(b"".join(wire.pack({"kind": "value"}, {torch.tensor(3): 0.5})))
    ((_, found),) = reader.frames()
    expected, actual = said(expect_type, found, dict)
    assert expected == "a dict of plain keys and values"
    assert actual == "a dict (with a key of type Tensor; keys have to be str or int)"
    assert said(expect_type, 1, dict) == ("a dict", "an int: 1")
    assert said(expect_type, Opaque("numpy.float32", "0.5"), float) == ("a float", "a numpy.float32 (0.5)")


def test_a_truth_value_is_named() -> None:
    assert said(expect_equal, False, True, name="the storage stays") == (
        "the storage stays: True",
        "the storage stays: False",
    )


@pytest.mark.parametrize(
    ("actual", "expected", "words"),
    [
        (
            torch.tensor([[3] * 9, [3, 3, 5, 3, 3, 3, 3, 3, 1]]),
            torch.full((2, 9), 3),
            ("3 at index [1, 2]", "5; 2 of 18 values differ, by up to 2"),
        ),
        (
            {"weight": torch.zeros(3, 4), "bias": torch.zeros(9) + torch.arange(9) // 8},
            {"weight": torch.zeros(3, 4), "bias": torch.zeros(9)},
            ("'bias': 0 at index [8]", "'bias': 1; 1 of 9 values differ, by up to 1"),
        ),
        ([0] * 20 + [7], [0] * 21, ("[20]: 0", "[20]: 7")),
        ([0] * 20 + [[1, 2]], [0] * 20 + [[1, 3]], ("[20]: [1, 3]", "[20]: [1, 2]")),
        (1.0000001, 1.0, ("1.0", "1.0000001")),
    ],
    ids=["tensor", "dict of tensors", "long list", "list in a list", "number"],
)
def test_values_that_read_alike_are_told_apart(actual: object, expected: object, words: tuple[str, str]) -> None:
    assert said(expect_equal, actual, expected) == words
    assert said(expect_equal, actual, expected, name="it") == (f"it: {words[0]}", f"it: {words[1]}")


def test_what_raised_says_with_which_arguments_it_was_called() -> None:
    def pick(boxes: torch.Tensor, at: int, *, rest: object) -> object:
        return boxes[at]

    with pytest.raises(IndexError) as caught:
        probing.call(pick, torch.zeros(0, 4), 2, rest=[torch.zeros(1)])
    words = account_for(Outcome(error=describe_error(caught.value), during="running")).actual
    assert words.startswith("called as pick(float32 (0, 4), 2, rest=a list of 1), it raised IndexError: index 2 is out")


def test_notes_of_others_stay_out_of_the_verdict() -> None:
    error = ValueError("one value")
    error.add_note("by the way")
    assert (
        account_for(Outcome(error=describe_error(error), during="running")).actual == "it raised ValueError: one value"
    )


@pytest.mark.parametrize(
    ("steps", "stepped", "words"),
    [
        (None, 0.0, "a loop whose condition never becomes false"),
        ((4000, 4500), 44.9, "far more work in each step than the task needs: at this pace all 4,500 would take 51 s"),
        ((40, 4500), 0.5, "a loop whose condition never becomes false"),  # and then nothing for 44 seconds
        ((300, 300), 44.9, "more steps than were asked for"),
        ((2, 5), 30.0, "far more work in each step than the task needs: at this pace all 5 would take 112 s"),
    ],
)
def test_a_timeout_tells_slow_steps_from_a_loop_without_end(
    steps: tuple[int, int] | None, stepped: float, words: str
) -> None:
    outcome = Outcome(killed="cpu", during="running", steps=steps, stepped=stepped, cpu_seconds=45.0)
    assert (account_for(outcome).looks_like or "").startswith(words)


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("unsupported operand type(s) for +: 'int' and 'Value'", "no `__radd__` in Value"),
        ("unsupported operand type(s) for ** or pow(): 'Value' and 'int'", "no `__pow__` in Value"),
        ("unsupported operand type(s) for *=: 'Value' and 'float'", "no `__mul__` in Value"),
        ("unsupported operand type(s) for *: 'float' and 'NoneType'", "None in place of a number"),
        ("unsupported operand type(s) for /: 'list' and 'int'", None),
        ("unsupported operand type(s) for +: 'Value' and 'Node'", None),
    ],
)
def test_operands_that_do_not_go_together_name_the_missing_method(message: str, words: str | None) -> None:
    account = account_for(Outcome(error=describe_error(TypeError(message)), during="running"))
    assert "library" not in account.because
    assert account.looks_like is None if words is None else (account.looks_like or "").startswith(words)
