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
        # solution: begin self.data and self.grad, and whatever backward will need
        self.data = data
        self.grad = 0.0
        self._parents = parents  # what this was computed from; none for a leaf
        self._slopes = slopes  # d(this) / d(parent), one for each: for scalars a number, known on the way forward
        # solution: end

    def __repr__(self) -> str:
        return f"Value(data={self.data}, grad={self.grad})"

    def __add__(self, other: Value | float) -> Value:
        # solution: begin a new Value: the sum
        other = _value(other)
        return Value(self.data + other.data, (self, other), (1.0, 1.0))
        # solution: end

    def __mul__(self, other: Value | float) -> Value:
        # solution: begin a new Value: the product
        other = _value(other)
        return Value(self.data * other.data, (self, other), (other.data, self.data))
        # solution: end

    def __pow__(self, exponent: float) -> Value:
        """`exponent` is a plain number."""
        # solution: begin a new Value: the power
        return Value(self.data**exponent, (self,), (exponent * self.data ** (exponent - 1),))
        # solution: end

    def relu(self) -> Value:
        """max(0, x). The slope at 0 counts as 0."""
        # solution: begin a new Value: 0 where the number is negative
        return Value(max(self.data, 0.0), (self,), (1.0 if self.data > 0 else 0.0,))
        # solution: end

    def tanh(self) -> Value:
        # solution: begin a new Value: the hyperbolic tangent
        t = math.tanh(self.data)  # written with exp, it would overflow beyond 700
        return Value(t, (self,), (1 - t * t,))
        # solution: end

    def backward(self) -> None:
        """Adds d(self) / d(v) to `v.grad` for every v that self depends on, and for self."""
        # solution: begin from self to the leaves, each after all that was computed from it
        uses = {self: 0}  # how often each value was used on the way to self: so many gradients will arrive
        found = [self]
        while found:  # a loop with a list of its own: Python's stack ends after a thousand calls
            for parent in found.pop()._parents:
                if parent not in uses:
                    uses[parent] = 0
                    found.append(parent)
                uses[parent] += 1

        # The gradients of this call alone: what `.grad` holds of an earlier one was passed on then.
        grads = dict.fromkeys(uses, 0.0)
        grads[self] = 1.0
        ready = [self]
        while ready:
            value = ready.pop()
            value.grad += grads[value]
            for parent, slope in zip(value._parents, value._slopes, strict=True):
                grads[parent] += slope * grads[value]  # +=: the contributions of several paths add up
                uses[parent] -= 1
                if uses[parent] == 0:  # complete: only now may it be passed on
                    ready.append(parent)
        # solution: end

    # Everything else follows from the above, its gradient included.

    def __neg__(self) -> Value:
        # solution: begin minus this
        return self * -1
        # solution: end

    def __sub__(self, other: Value | float) -> Value:
        # solution: begin the difference
        return self + -other
        # solution: end

    def __truediv__(self, other: Value | float) -> Value:
        # solution: begin the quotient
        return self * _value(other) ** -1
        # solution: end

    # Python asks these when the left operand is a number, which doesn't know what to do with a Value.

    def __radd__(self, other: float) -> Value:
        # solution: begin number + this
        return self + other
        # solution: end

    def __rmul__(self, other: float) -> Value:
        # solution: begin number * this
        return self * other
        # solution: end

    def __rsub__(self, other: float) -> Value:
        # solution: begin number - this
        return -self + other
        # solution: end

    def __rtruediv__(self, other: float) -> Value:
        # solution: begin number / this
        return other * self**-1
        # solution: end


def _value(number: Value | float) -> Value:
    """A helper, yours to use or to delete: a plain number becomes a leaf of the graph."""
    # solution: begin wrap plain numbers
    return number if isinstance(number, Value) else Value(number)
    # solution: end


class Neuron:
    """w · x + b, with a ReLU unless `relu` is False. `w`: list of Values, `b`: a Value."""

    def __init__(self, inputs: int, relu: bool = True) -> None:
        # solution: begin weights uniform in -1 … 1, the bias 0
        self.w = [Value(random.uniform(-1, 1)) for _ in range(inputs)]
        self.b = Value(0.0)
        self.relu = relu
        # solution: end

    def __call__(self, x: Sequence[Value | float]) -> Value:
        # solution: begin the weighted sum and the bias, then the ReLU
        total = sum((w * xi for w, xi in zip(self.w, x, strict=True)), self.b)
        return total.relu() if self.relu else total
        # solution: end

    def parameters(self) -> list[Value]:
        """The weights, then the bias."""
        # solution: begin weights, then bias
        return [*self.w, self.b]
        # solution: end


class Layer:
    """`outputs` neurons, each of which sees the whole input."""

    def __init__(self, inputs: int, outputs: int, relu: bool = True) -> None:
        # solution: begin the neurons
        self.neurons = [Neuron(inputs, relu) for _ in range(outputs)]
        # solution: end

    def __call__(self, x: Sequence[Value | float]) -> list[Value]:
        """A list, of one element if there is one neuron."""
        # solution: begin what each neuron says
        return [neuron(x) for neuron in self.neurons]
        # solution: end

    def parameters(self) -> list[Value]:
        """Neuron by neuron."""
        # solution: begin those of all neurons
        return [p for neuron in self.neurons for p in neuron.parameters()]
        # solution: end


class MLP:
    """Layers of these sizes; ReLU after each but the last, whose answers may be negative."""

    def __init__(self, inputs: int, sizes: Sequence[int]) -> None:
        # solution: begin the layers; the last one is linear
        widths = [inputs, *sizes]
        last = len(sizes) - 1
        self.layers = [Layer(widths[i], widths[i + 1], relu=i != last) for i in range(len(sizes))]
        # solution: end

    def __call__(self, x: Sequence[Value | float]) -> Value | list[Value]:
        """A Value if the last layer has one neuron, else a list."""
        # solution: begin through all layers
        for layer in self.layers:
            x = layer(x)
        return x[0] if len(x) == 1 else x
        # solution: end

    def parameters(self) -> list[Value]:
        """Layer by layer."""
        # solution: begin those of all layers
        return [p for layer in self.layers for p in layer.parameters()]
        # solution: end

    def zero_grad(self) -> None:
        """Sets the gradients of all parameters to 0."""
        # solution: begin every parameter's grad
        for p in self.parameters():
            p.grad = 0.0
        # solution: end


def hinge_loss(net: MLP, points: Sequence[Sequence[float]], labels: Sequence[int], alpha: float = 1e-4) -> Value:
    """Mean of max(0, 1 - label · score), labels -1 or 1, plus `alpha` times the sum of all squared parameters."""
    # solution: begin the mean over the points, then the penalty
    losses = [(1 - label * net(point)).relu() for point, label in zip(points, labels, strict=True)]
    # A point counts until it is on the right side by 1; then its slope is 0 and it leaves the network alone.
    return sum(losses) / len(losses) + alpha * sum(p**2 for p in net.parameters())
    # solution: end


def train(
    net: MLP, points: Sequence[Sequence[float]], labels: Sequence[int], steps: int, alpha: float = 1e-4
) -> list[float]:
    """Gradient descent with all points in each step, the rate falling from 1 to 0.1. The loss before each step."""
    # solution: begin loss, zero_grad, backward, a step with rate 1 - 0.9 k / steps
    losses = []
    for k in range(steps):
        loss = hinge_loss(net, points, labels, alpha)
        net.zero_grad()
        loss.backward()
        rate = 1 - 0.9 * k / steps
        for p in net.parameters():
            p.data -= rate * p.grad  # the number, not the Value: the step is no part of the graph
        losses.append(loss.data)
    return losses
    # solution: end
