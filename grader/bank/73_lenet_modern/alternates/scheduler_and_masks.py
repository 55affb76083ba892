"""With LambdaLR for the rate, an own mask for dropout, and shifts by nine masks."""

import torch
from torch import nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import LambdaLR


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
        self.kind, self.p = activation, dropout
        with torch.no_grad():
            self.b4.zero_()

    def g(self, sums):
        return sums.clamp(min=0) if self.kind == "relu" else sums.tanh()

    def forward(self, x):
        x = self.g(self.sums2(self.g(self.sums1(x))))
        if self.training and self.p:
            keep = torch.bernoulli(torch.full_like(x, 1 - self.p))
            x = x * keep / (1 - self.p)
        return self.sums4(self.g(self.sums3(x)))


def loss(logits, labels):
    return (logits.logsumexp(1) - logits.gather(1, labels[:, None]).squeeze(1)).mean()


def optimizer_for(model, lr=3e-4):
    return torch.optim.AdamW(model.parameters(), lr, weight_decay=1e-2, betas=(0.9, 0.999))


def rate(number, passes, first=3e-4, last=1e-4):
    return float(torch.linspace(first, last, passes, dtype=torch.float64)[number])


def shifted(images):
    sheet = F.pad(images, (1, 1, 1, 1), value=-1)
    move = torch.randint(9, (len(images), 1, 1, 1))
    result = images.clone()
    for k in range(9):
        y, x = divmod(k, 3)
        result = torch.where(move == k, sheet[..., y : y + 16, x : x + 16], result)
    return result


def train_pass(model, images, labels, optimizer, batch_size=1, augment=None):
    augment = augment or (lambda batch: batch)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(images, labels), batch_size=batch_size)
    model.train()
    total = torch.zeros((), dtype=torch.float64)
    for x, y in loader:
        model.zero_grad()
        value = loss(model(augment(x)), y)
        value.backward()
        optimizer.step()
        total += value.detach() * y.numel()
    return total.div(len(images)).item()


def fit(model, images, labels, passes=80, batch_size=1, first=3e-4, last=1e-4, augment=shifted):
    optimizer = optimizer_for(model, first)
    schedule = LambdaLR(optimizer, lambda k: rate(min(k, passes - 1), passes, first, last) / first)
    losses = []
    for _ in range(passes):
        losses.append(train_pass(model, images, labels, optimizer, batch_size, augment))
        schedule.step()
    return losses


def misses(model, images, labels):
    before = model.training
    model.eval()
    wrong = 0
    with torch.inference_mode():
        for x, y in zip(images.split(256), labels.split(256)):
            wrong += int((model(x).topk(1).indices[:, 0] != y).sum())
    model.train(before)
    return wrong
