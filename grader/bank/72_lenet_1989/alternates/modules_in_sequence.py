"""LeNet, 1989: every layer a module of its own."""

import torch
from torch import nn
from torch.nn import functional as F


def digits_1989(images):
    x = images.to(torch.float32).div(127.5).sub(1)
    return F.interpolate(x, (16, 16), mode="bilinear")


def targets(labels):
    t = torch.full((len(labels), 10), -1.0)
    t[torch.arange(len(labels)), labels] = 1.0
    return t


class UnitBias(nn.Module):
    def __init__(self, *shape):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(shape))

    def forward(self, x):
        return x + self.bias


class Planes(nn.Module):
    """Some of the planes of the input."""

    def __init__(self, chosen):
        super().__init__()
        self.chosen = chosen

    def forward(self, x):
        return x[:, self.chosen]


class SideBySide(nn.ModuleList):
    def forward(self, x):
        return torch.cat([branch(x) for branch in self], dim=1)


def group(chosen):
    return nn.Sequential(Planes(chosen), nn.Conv2d(8, 4, 5, stride=2, bias=False))


class LeNet1989(nn.Module):
    def __init__(self):
        super().__init__()
        self.h1 = nn.Sequential(
            nn.ConstantPad2d(2, -1.0), nn.Conv2d(1, 12, 5, stride=2, bias=False), UnitBias(12, 8, 8), nn.Tanh()
        )
        self.h2 = nn.Sequential(
            nn.ConstantPad2d(2, -1.0),
            SideBySide([group(list(range(8))), group(list(range(4, 12))), group([0, 1, 2, 3, 8, 9, 10, 11])]),
            UnitBias(12, 4, 4),
            nn.Tanh(),
        )
        self.h3 = nn.Sequential(nn.Flatten(), nn.Linear(192, 30), nn.Tanh())
        self.out = nn.Sequential(nn.Linear(30, 10), nn.Tanh())
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                fan_in = module.weight[0].numel()
                nn.init.uniform_(module.weight, -2.4 / fan_in**0.5, 2.4 / fan_in**0.5)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)
        nn.init.constant_(self.out[0].bias, -1.0)

    def forward(self, x):
        return self.out(self.h3(self.h2(self.h1(x))))


def train_pass(model, images, wanted, lr=0.03, batch_size=1):
    model.train()
    sgd = torch.optim.SGD(model.parameters(), lr)
    criterion = nn.MSELoss()
    seen, running = 0, 0.0
    for start in range(0, len(images), batch_size):
        xb, yb = images[start : start + batch_size], wanted[start : start + batch_size]
        loss = criterion(model(xb), yb)
        sgd.zero_grad()
        loss.backward()
        sgd.step()
        running += loss.item() * xb.shape[0]
        seen += xb.shape[0]
    return running / seen


def misses(model, images, labels):
    model.eval()
    with torch.inference_mode():
        return (model(images).max(1).indices != labels).sum().item()
