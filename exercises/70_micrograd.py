"""A scalar autograd engine and a network on top of it: `loss.backward()`, from nothing but Python.

Every operation makes a new Value that remembers what it was computed from and the slope towards each of them. These
memories form a graph; backward walks through it from the result to the leaves, multiplying slopes along each path
and adding where paths meet.

    x = Value(3.0)
    y = x * x + 2 * x
    y.backward()
    x.grad                                       # 2 x + 2 = 8.0

    net = MLP(2, [16, 16, 1])                    # 337 parameters
    losses = train(net, points, labels, steps=20)
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence


class Value:
    """A number that knows where it came from. `data`: the number; `grad`: d(result) / d(this), 0 at first."""

    def __init__(self, data: float, parents: tuple[Value, ...] = (), slopes: tuple[float, ...] = ()) -> None:
        """`parents` and `slopes` are yours to rename or replace; only `Value(number)` is called from outside."""
        raise NotImplementedError("TODO: self.data and self.grad, and whatever backward will need")

    def __repr__(self) -> str:
        return f"Value(data={self.data}, grad={self.grad})"

    def __add__(self, other: Value | float) -> Value:
        raise NotImplementedError("TODO: a new Value: the sum")

    def __mul__(self, other: Value | float) -> Value:
        raise NotImplementedError("TODO: a new Value: the product")

    def __pow__(self, exponent: float) -> Value:
        """`exponent` is a plain number."""
        raise NotImplementedError("TODO: a new Value: the power")

    def relu(self) -> Value:
        """max(0, x). The slope at 0 counts as 0."""
        raise NotImplementedError("TODO: a new Value: 0 where the number is negative")

    def tanh(self) -> Value:
        raise NotImplementedError("TODO: a new Value: the hyperbolic tangent")

    def backward(self) -> None:
        """Adds d(self) / d(v) to `v.grad` for every v that self depends on, and for self."""
        raise NotImplementedError(
            "TODO: from self to the leaves, each after all that was computed from it"
        )

    # Everything else follows from the above, its gradient included.

    def __neg__(self) -> Value:
        raise NotImplementedError("TODO: minus this")

    def __sub__(self, other: Value | float) -> Value:
        raise NotImplementedError("TODO: the difference")

    def __truediv__(self, other: Value | float) -> Value:
        raise NotImplementedError("TODO: the quotient")

    # Python asks these when the left operand is a number, which doesn't know what to do with a Value.

    def __radd__(self, other: float) -> Value:
        raise NotImplementedError("TODO: number + this")

    def __rmul__(self, other: float) -> Value:
        raise NotImplementedError("TODO: number * this")

    def __rsub__(self, other: float) -> Value:
        raise NotImplementedError("TODO: number - this")

    def __rtruediv__(self, other: float) -> Value:
        raise NotImplementedError("TODO: number / this")


def _value(number: Value | float) -> Value:
    """A helper, yours to use or to delete: a plain number becomes a leaf of the graph."""
    raise NotImplementedError("TODO: wrap plain numbers")


class Neuron:
    """w · x + b, with a ReLU unless `relu` is False. `w`: list of Values, `b`: a Value."""

    def __init__(self, inputs: int, relu: bool = True) -> None:
        raise NotImplementedError("TODO: weights uniform in -1 … 1, the bias 0")

    def __call__(self, x: Sequence[Value | float]) -> Value:
        raise NotImplementedError("TODO: the weighted sum and the bias, then the ReLU")

    def parameters(self) -> list[Value]:
        """The weights, then the bias."""
        raise NotImplementedError("TODO: weights, then bias")


class Layer:
    """`outputs` neurons, each of which sees the whole input."""

    def __init__(self, inputs: int, outputs: int, relu: bool = True) -> None:
        raise NotImplementedError("TODO: the neurons")

    def __call__(self, x: Sequence[Value | float]) -> list[Value]:
        """A list, of one element if there is one neuron."""
        raise NotImplementedError("TODO: what each neuron says")

    def parameters(self) -> list[Value]:
        """Neuron by neuron."""
        raise NotImplementedError("TODO: those of all neurons")


class MLP:
    """Layers of these sizes; ReLU after each but the last, whose answers may be negative."""

    def __init__(self, inputs: int, sizes: Sequence[int]) -> None:
        raise NotImplementedError("TODO: the layers; the last one is linear")

    def __call__(self, x: Sequence[Value | float]) -> Value | list[Value]:
        """A Value if the last layer has one neuron, else a list."""
        raise NotImplementedError("TODO: through all layers")

    def parameters(self) -> list[Value]:
        """Layer by layer."""
        raise NotImplementedError("TODO: those of all layers")

    def zero_grad(self) -> None:
        """Sets the gradients of all parameters to 0."""
        raise NotImplementedError("TODO: every parameter's grad")


def hinge_loss(net: MLP, points: Sequence[Sequence[float]], labels: Sequence[int], alpha: float = 1e-4) -> Value:
    """Mean of max(0, 1 - label · score), labels -1 or 1, plus `alpha` times the sum of all squared parameters."""
    raise NotImplementedError("TODO: the mean over the points, then the penalty")


def train(
    net: MLP, points: Sequence[Sequence[float]], labels: Sequence[int], steps: int, alpha: float = 1e-4
) -> list[float]:
    """Gradient descent with all points in each step, the rate falling from 1 to 0.1. The loss before each step."""
    raise NotImplementedError("TODO: loss, zero_grad, backward, a step with rate 1 - 0.9 k / steps")
