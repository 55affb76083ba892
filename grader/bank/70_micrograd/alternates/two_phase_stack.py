"""Post-order with a stack of (value, finished?) pairs; gradients set before each walk, leaves keep what they had."""

import math
import random


def lift(x):
    return x if isinstance(x, Value) else Value(x)


class Value:
    def __init__(self, data):
        self.data = data
        self.grad = 0.0
        self.sources = []

    @classmethod
    def of(cls, data, *sources):
        value = cls(data)
        value.sources = sources
        return value

    def __add__(self, other):
        other = lift(other)
        return Value.of(self.data + other.data, (self, lambda g: g), (other, lambda g: g))

    def __iadd__(self, other):
        return self + other

    def __neg__(self):
        return Value.of(-self.data, (self, lambda g: -g))

    def __mul__(self, other):
        other = lift(other)
        a, b = self.data, other.data
        return Value.of(a * b, (self, lambda g: g * b), (other, lambda g: g * a))

    def __pow__(self, n):
        x = self.data
        return Value.of(x**n, (self, lambda g: g * n * x ** (n - 1)))

    def __sub__(self, other):
        return self + (-lift(other))

    def __truediv__(self, other):
        return self * lift(other) ** -1

    def __radd__(self, other):
        return lift(other) + self

    def __rmul__(self, other):
        return lift(other) * self

    def __rsub__(self, other):
        return lift(other) - self

    def __rtruediv__(self, other):
        return lift(other) / self

    def relu(self):
        if self.data <= 0:
            return Value.of(0.0, (self, lambda g: 0.0))
        return Value.of(self.data, (self, lambda g: g))

    def tanh(self):
        t = math.tanh(self.data)
        return Value.of(t, (self, lambda g: g * (1 - t**2)))

    def backward(self):
        order, done, stack = [], set(), [(self, False)]
        while stack:
            value, finished = stack.pop()
            if finished:
                order.append(value)
            elif id(value) not in done:
                done.add(id(value))
                stack.append((value, True))
                stack.extend((source, False) for source, _ in value.sources)
        old = {id(v): v.grad for v in order if not v.sources}
        for v in order:
            v.grad = 0.0
        self.grad = 1.0
        for v in reversed(order):
            for source, pass_on in v.sources:
                source.grad += pass_on(v.grad)
        for v in order:
            v.grad += old.get(id(v), 0.0)


class Neuron:
    def __init__(self, inputs, relu=True):
        self.w, self.b, self.relu = [], Value(0), relu
        for _ in range(inputs):
            self.w.append(Value(random.uniform(-1, 1)))

    def __call__(self, x):
        s = Value(0)
        for w, v in zip(self.w, x, strict=False):
            s += w * v
        s += self.b
        return s.relu() if self.relu else s

    def parameters(self):
        return [*self.w, self.b]


class Layer:
    def __init__(self, inputs, outputs, relu=True):
        self.neurons = []
        for _ in range(outputs):
            self.neurons.append(Neuron(inputs, relu))

    def __call__(self, x):
        out = []
        for n in self.neurons:
            out.append(n(x))
        return out

    def parameters(self):
        return [p for n in self.neurons for p in n.parameters()]


class MLP:
    def __init__(self, inputs, sizes):
        self.layers = []
        for k, size in enumerate(sizes, 1):
            self.layers.append(Layer(inputs, size, relu=k < len(sizes)))
            inputs = size

    def __call__(self, x):
        out = x
        for layer in self.layers:
            out = layer(out)
        return out[0] if len(out) == 1 else out

    def parameters(self):
        return [p for layer in self.layers for p in layer.parameters()]

    def zero_grad(self):
        for p in self.parameters():
            p.grad = 0


def hinge_loss(net, points, labels, alpha=1e-4):
    loss = 0
    for point, label in zip(points, labels, strict=False):
        loss = loss + (1 - label * net(point)).relu() / len(points)
    for p in net.parameters():
        loss = loss + alpha * p * p
    return loss


def train(net, points, labels, steps, alpha=1e-4):
    losses = []
    for k in range(steps):
        net.zero_grad()
        loss = hinge_loss(net, points, labels, alpha)
        loss.backward()
        losses.append(loss.data)
        lr = 1 - 0.9 * k / steps
        for p in net.parameters():
            p.data = p.data - lr * p.grad
    return losses
