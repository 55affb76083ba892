"""A whole kit of two tiny exercises, written into a folder: for tests that aren't about any real exercise.

`PRACTICE_BANK` pointed at the bank makes the command line use it; the references lie beside it.
"""

from __future__ import annotations

from pathlib import Path

ADD = "01_tiny_add"
MAX = "02_tiny_max"

_ADD_TOML = '''\
id = "01_tiny_add"
track = "core"
kind = "implement"
difficulty = 1
minutes = 5
topics = ["addition"]
datasets = []
needs = []

[title]
en = "Add two tensors [really]"

[limits]
cpu_seconds = 5

[[hints]]
en = "Nudge: think of `+`."

[[hints]]
en = "Approach: tensors add element by element."

[[hints]]
en = "Code: `return a + b`."

[[follow_ups]]
question.en = "What is broadcasting?"
answer.en = """
Dimensions of size 1 are stretched to fit."""

[[follow_ups]]
question.en = "Is it in place?"
answer.en = "No: a new tensor is made."
'''

_ADD_STATEMENT = """\
# Add

Write `add(a, b)`, which returns the **sum** of two tensors.

```python
add(torch.ones(2), torch.ones(2))  # tensor([2., 2.])
```
"""

_ADD_SOLUTION = '''\
"""Adding."""

import torch


def add(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """The sum of `a` and `b`, of their broadcast shape."""
    # solution: begin one expression
    return a + b  # a new tensor
    # solution: end


def twice(a: torch.Tensor) -> torch.Tensor:
    # solution: begin
    return add(a, a)
    # solution: end
'''

_ADD_PROBES = """\
def total(candidate, a, b):
    return candidate.add(a, b)
"""

_ADD_CHECKS = """\
import torch

from grader.checking import check, expect_close

from . import probes


@check("The sum is right", points=60, why="Adding is asked first.")
def test_sum(sandbox):
    a, b = torch.arange(3.0), torch.full((3,), 2.5)
    expect_close(sandbox.run(probes.total, a, b), a + b, because="Addition is element by element.")


@check("Shapes broadcast", points=40, why="Broadcasting is asked next.", after=["test_sum"])
def test_broadcast(sandbox):
    a, b = torch.ones(2, 1), torch.ones(3)
    expect_close(sandbox.run(probes.total, a, b), a + b, because="Sizes of 1 are stretched.")
"""

_MAX_TOML = """\
id = "02_tiny_max"
track = "debug"
kind = "debug"
difficulty = 2
minutes = 10
topics = []
datasets = []
needs = []
title = { en = "Repair the maximum" }

[verify]
planted = ["test_largest"]

[[hints]]
en = "Look at the sign."

[[follow_ups]]
question.en = "What of NaN?"
answer.en = "It wins."
"""

_MAX_STUB = '''\
"""A broken maximum."""


def largest(values):
    return min(values)


if __name__ == "__main__":
    print(largest([9, 10]))
'''

_MAX_SOLUTION = '''\
"""A maximum."""


def largest(values):
    return max(values)


if __name__ == "__main__":
    print(largest([9, 10]))
'''

_MAX_PROBES = """\
def largest(candidate, values):
    return candidate.largest(values)
"""

_MAX_CHECKS = """\
from grader.checking import check, expect_equal

from . import probes


@check("The largest is found", points=100, why="A sign error is quickly made.")
def test_largest(sandbox):
    expect_equal(sandbox.run(probes.largest, [1, 3, 2]), 3, because="That is what a maximum is.")
"""

FILES = {
    f"bank/{ADD}/exercise.toml": _ADD_TOML,
    f"bank/{ADD}/statement.md": _ADD_STATEMENT,
    f"bank/{ADD}/probes.py": _ADD_PROBES,
    f"bank/{ADD}/checks.py": _ADD_CHECKS,
    f"bank/{MAX}/exercise.toml": _MAX_TOML,
    f"bank/{MAX}/statement.md": "# Repair\n\n`largest(values)` returns the largest.\n",
    f"bank/{MAX}/probes.py": _MAX_PROBES,
    f"bank/{MAX}/checks.py": _MAX_CHECKS,
    f"bank/{MAX}/stub.py": _MAX_STUB,
    f"solutions/{ADD}.py": _ADD_SOLUTION,
    f"solutions/{MAX}.py": _MAX_SOLUTION,
}


def write(folder: Path) -> Path:
    """Write the kit into `folder`; return its bank."""
    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder / "bank"
