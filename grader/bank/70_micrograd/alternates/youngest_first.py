"""Every value gets a number when it is made; parents are older than their children, so the youngest goes first."""

import functools
import heapq
import itertools
import operator
from math import tanh
from random import random

_ages = itertools.count()


class Value:
    __slots__ = ("age", "data", "grad", "inputs")

    def __init__(self, data, inputs=()):
        self.data, self.grad, self.inputs = float(data), 0.0, inputs
        self.age = next(_ages)

    def __add__(self, other):
        if isinstance(other, Value):
            return Value(self.data + other.data, [(self, 1), (other, 1)])
        return Value(self.data + other, [(self, 1)])

    def __mul__(self, other):
        if isinstance(other, Value):
            return Value(self.data * other.data, [(self, other.data), (other, self.data)])
        return Value(self.data * other, [(self, other)])

    def __sub__(self, other):
        if isinstance(other, Value):
            return Value(self.data - other.data, [(self, 1), (other, -1)])
        return Value(self.data - other, [(self, 1)])

    def __truediv__(self, other):
        if isinstance(other, Value):
            q = self.data / other.data
            return Value(q, [(self, 1 / other.data), (other, -q / other.data)])
        return Value(self.data / other, [(self, 1 / other)])

    def __pow__(self, n):
        return Value(self.data**n, [(self, n * self.data ** (n - 1) if n != 0 else 0.0)])

    def __rsub__(self, other):
        return Value(other - self.data, [(self, -1)])

    def __rtruediv__(self, other):
        return Value(other / self.data, [(self, -other / self.data**2)])

    def __neg__(self):
        return Value(-self.data, [(self, -1)])

    __radd__ = __add__
    __rmul__ = __mul__

    def relu(self):
        return Value(self.data, [(self, 1)]) if self.data > 0 else Value(0, [(self, 0)])

    def tanh(self):
        t = tanh(self.data)
        return Value(t, [(self, (1 - t) * (1 + t))])

    def backward(self):
        waiting = {self.age: [self, 1.0]}
        heap = [-self.age]
        while heap:
            value, gradient = waiting.pop(-heapq.heappop(heap))
            value.grad += gradient
            for parent, slope in value.inputs:
                if parent.age in waiting:
                    waiting[parent.age][1] += slope * gradient
                else:
                    waiting[parent.age] = [parent, slope * gradient]
                    heapq.heappush(heap, -parent.age)


class Neuron:
    def __init__(self, inputs, relu=True):
        self.relu = relu
        self.params = [Value(2 * random() - 1) for _ in range(inputs)] + [Value(0)]

    def __call__(self, x):
        out = self.params[-1]
        for i in range(len(x)):
            out = out + x[i] * self.params[i]
        if self.relu:
            out = out.relu()
        return out

    def parameters(self):
        return list(self.params)


class Layer:
    def __init__(self, inputs, outputs, relu=True):
        self.neurons = tuple(Neuron(inputs, relu=relu) for _ in range(outputs))

    def __call__(self, x):
        return [n(x) for n in self.neurons]

    def parameters(self):
        out = []
        for n in self.neurons:
            out.extend(n.parameters())
        return out


class MLP:
    def __init__(self, inputs, sizes):
        self.hidden = []
        for size in sizes[:-1]:
            self.hidden.append(Layer(inputs, size))
            inputs = size
        self.out = Layer(inputs, sizes[-1], relu=False)

    def __call__(self, x):
        for layer in self.hidden:
            x = layer(x)
        y = self.out(x)
        if len(y) > 1:
            return y
        return y[0]

    def parameters(self):
        return functools.reduce(operator.iadd, (layer.parameters() for layer in [*self.hidden, self.out]), [])

    def zero_grad(self):
        for p in self.parameters():
            p.grad = 0.0


def hinge_loss(net, points, labels, alpha=1e-4):
    total = Value(0)
    for x, y in zip(points, labels, strict=False):
        total += (1 - net(x) * y).relu()
    penalty = Value(0)
    for p in net.parameters():
        penalty += p**2
    return total / len(points) + penalty * alpha


def train(net, points, labels, steps, alpha=1e-4):
    losses = []
    net.zero_grad()
    for k in range(steps):
        loss = hinge_loss(net, points, labels, alpha)
        losses.append(loss.data)
        loss.backward()
        for p in net.parameters():
            p.data = p.data - (1 - 0.9 * k / steps) * p.grad
        net.zero_grad()
    return losses
