"""Shifts by unfolding the sheet into its nine windows; AdamW written out as a class of its own."""

import torch
from torch import nn
from torch.nn import functional as F


class LeNet1989(nn.Module):
    def __init__(self):
        super().__init__()

        def uniform(fan_in, *shape):
            bound = 2.4 / fan_in**0.5
            return nn.Parameter(torch.empty(shape).uniform_(-bound, bound))

        self.w1, self.b1 = uniform(25, 12, 1, 5, 5), nn.Parameter(torch.zeros(12, 8, 8))
        self.w2, self.b2 = uniform(200, 12, 8, 5, 5), nn.Parameter(torch.zeros(12, 4, 4))
        self.w3, self.b3 = uniform(192, 192, 30), nn.Parameter(torch.zeros(30))
        self.w4, self.b4 = uniform(30, 30, 10), nn.Parameter(torch.full((10,), -1.0))

    def sums1(self, x):
        return F.conv2d(F.pad(x, (2, 2, 2, 2), value=-1.0), self.w1, stride=2) + self.b1

    def sums2(self, x):
        x = F.pad(x, (2, 2, 2, 2), value=-1.0)
        seen = torch.cat([x[:, 0:8], x[:, 4:12], x[:, 0:4], x[:, 8:12]], dim=1)
        return F.conv2d(seen, self.w2, stride=2, groups=3) + self.b2

    def sums3(self, x):
        return x.flatten(1) @ self.w3 + self.b3

    def sums4(self, x):
        return x @ self.w4 + self.b4

    def forward(self, x):
        x = torch.tanh(self.sums1(x))
        x = torch.tanh(self.sums2(x))
        x = torch.tanh(self.sums3(x))
        return torch.tanh(self.sums4(x))


class LeNetModern(LeNet1989):
    def __init__(self, activation="tanh", dropout=0.0):
        super().__init__()
        nn.init.constant_(self.b4, 0.0)
        self.activation = {"tanh": F.tanh, "relu": F.relu}[activation]
        self.dropout = nn.Dropout(p=dropout, inplace=False)

    def features(self, x):
        for sums in self.sums1, self.sums2:
            x = self.activation(sums(x))
        return self.dropout(x)

    def forward(self, x):
        return self.sums4(self.activation(self.sums3(self.features(x))))


def loss(logits, labels):
    return F.cross_entropy(logits, F.one_hot(labels, 10).to(logits.dtype))


class Decoupled(torch.optim.Optimizer):
    def __init__(self, params, lr):
        super().__init__(params, {"lr": lr, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.01})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                s = self.state[p]
                if not s:
                    s.update(t=0, m=torch.zeros_like(p), v=torch.zeros_like(p))
                s["t"] += 1
                s["m"].lerp_(p.grad, 0.1)
                s["v"].mul_(0.999).addcmul_(p.grad, p.grad, value=0.001)
                m, v = s["m"] / (1 - 0.9 ** s["t"]), s["v"] / (1 - 0.999 ** s["t"])
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.sub_(group["lr"] * m / (v.sqrt() + group["eps"]))


def optimizer_for(model, lr=3e-4):
    return Decoupled(model.parameters(), lr)


def rate(number, passes, first=3e-4, last=1e-4):
    if passes < 2:
        return first
    return (first * (passes - 1 - number) + last * number) / (passes - 1)


def shifted(images):
    windows = F.pad(images, (1,) * 4, "constant", -1).unfold(2, 16, 1).unfold(3, 16, 1)  # (N, 1, 3, 3, 16, 16)
    chosen = torch.randint(0, 9, (len(images),))
    return windows.flatten(2, 3)[torch.arange(len(images)), :, chosen].clone()


def train_pass(model, images, labels, optimizer, batch_size=1, augment=None):
    model.train()
    seen, running = 0, 0.0
    for x, y in zip(torch.split(images, batch_size), torch.split(labels, batch_size)):
        if augment is not None:
            x = augment(x)
        value = loss(model(x), y)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        seen += len(y)
        running += (value.item() - running) * len(y) / seen  # a running mean
    return running


def fit(model, images, labels, passes=80, batch_size=1, first=3e-4, last=1e-4, augment=shifted):
    opt, out = optimizer_for(model, first), []
    while len(out) < passes:
        opt.param_groups[0]["lr"] = rate(len(out), passes, first, last)
        out.append(train_pass(model, images, labels, opt, batch_size=batch_size, augment=augment))
    return out


def misses(model, images, labels):
    training = model.training
    with torch.no_grad():
        wrong = model.eval()(images).argmax(1).ne(labels).sum()
    model.train(training)
    return int(wrong)
