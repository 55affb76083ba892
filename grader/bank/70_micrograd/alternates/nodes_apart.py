"""The graph is kept apart from the numbers: values point to nodes, and only what needs a gradient gets one."""

from __future__ import annotations

import math
import random
from collections import Counter, deque
from dataclasses import dataclass, field


@dataclass(eq=False)
class Node:
    owner: Value
    edges: list[tuple[Node, float]] = field(default_factory=list)


@dataclass(eq=False)
class Value:
    data: float
    grad: float = 0.0
    node: Node = field(init=False, repr=False)

    def __post_init__(self):
        self.node = Node(self)

    def _made(self, data, *edges):
        out = Value(data)
        out.node.edges = [(v.node, slope) for v, slope in edges]
        return out

    def _binary(self, other, data, left, right):
        if isinstance(other, Value):
            return self._made(
                data(self.data, other.data), (self, left(self.data, other.data)), (other, right(self.data, other.data))
            )
        if not isinstance(other, (int, float)):
            return NotImplemented
        return self._made(data(self.data, other), (self, left(self.data, other)))

    def __add__(self, other):
        return self._binary(other, lambda a, b: a + b, lambda a, b: 1.0, lambda a, b: 1.0)

    def __radd__(self, other):
        return self.__add__(other)

    def __sub__(self, other):
        return self._binary(other, lambda a, b: a - b, lambda a, b: 1.0, lambda a, b: -1.0)

    def __rsub__(self, other):
        return Value(other) - self

    def __mul__(self, other):
        return self._binary(other, lambda a, b: a * b, lambda a, b: b, lambda a, b: a)

    def __rmul__(self, other):
        return self.__mul__(other)

    def __truediv__(self, other):
        return self._binary(other, lambda a, b: a / b, lambda a, b: 1 / b, lambda a, b: -a / (b * b))

    def __rtruediv__(self, other):
        return Value(other) / self

    def __neg__(self):
        return 0 - self

    def __pow__(self, n):
        return self._made(self.data**n, (self, n * self.data**n / self.data if self.data else float(n == 1)))

    def relu(self):
        positive = self.data > 0
        return self._made(self.data * positive, (self, float(positive)))

    def tanh(self):
        t = math.tanh(self.data)
        return self._made(t, (self, 1 - t * t))

    def backward(self):
        users, queue = Counter(), deque([self.node])
        seen = {id(self.node)}
        while queue:
            for parent, _ in queue.popleft().edges:
                users[id(parent)] += 1
                if id(parent) not in seen:
                    seen.add(id(parent))
                    queue.append(parent)
        gradient = {id(self.node): 1.0}
        queue.append(self.node)
        while queue:
            node = queue.popleft()
            g = gradient[id(node)]
            node.owner.grad += g
            for parent, slope in node.edges:
                gradient[id(parent)] = gradient.get(id(parent), 0.0) + slope * g
                users[id(parent)] -= 1
                if users[id(parent)] == 0:
                    queue.append(parent)


class Neuron:
    def __init__(self, inputs: int, relu: bool = True):
        self.weights = [Value(random.uniform(-1.0, 1.0)) for _ in range(inputs)]
        self.bias = Value(0.0)
        self.activation = Value.relu if relu else (lambda v: v)

    def __call__(self, x):
        assert len(x) == len(self.weights)
        return self.activation(sum(w * v for w, v in zip(self.weights, x, strict=False)) + self.bias)

    def parameters(self):
        yield_all = list(self.weights)
        yield_all.append(self.bias)
        return yield_all


class Layer(list):
    def __init__(self, inputs: int, outputs: int, relu: bool = True):
        super().__init__(Neuron(inputs, relu) for _ in range(outputs))

    def __call__(self, x):
        return [n(x) for n in self]

    def parameters(self):
        return [p for n in self for p in n.parameters()]


class MLP:
    def __init__(self, inputs, sizes):
        pairs = list(zip([inputs, *sizes], sizes, strict=False))
        self.layers = [Layer(i, o) for i, o in pairs[:-1]] + [Layer(*pairs[-1], relu=False)]
        self._parameters = [p for layer in self.layers for p in layer.parameters()]

    def __call__(self, x):
        for layer in self.layers:
            x = layer(x)
        if len(x) == 1:
            (x,) = x
        return x

    def parameters(self):
        return self._parameters

    def zero_grad(self):
        for p in self._parameters:
            p.grad = 0


def hinge_loss(net, points, labels, alpha=0.0001):
    terms = []
    for point, label in zip(points, labels, strict=False):
        margin = net(point) * label
        terms.append((-margin + 1).relu())
    squares = [p * p for p in net.parameters()]
    return (1 / len(terms)) * sum(terms) + sum(squares) * alpha


def train(net, points, labels, steps, alpha=0.0001):
    losses, params = [], net.parameters()
    for k in range(steps):
        for p in params:
            p.grad = 0.0
        loss = hinge_loss(net, points, labels, alpha)
        loss.backward()
        losses += [float(loss.data)]
        for p in params:
            p.data += -(1.0 - k * 0.9 / steps) * p.grad
    return losses
