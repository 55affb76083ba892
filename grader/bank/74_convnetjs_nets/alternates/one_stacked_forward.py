"""Views go through the model together; gather instead of fancy indexing; the loss by hand."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def scale(images: Tensor) -> Tensor:
    """Bytes 0…255 to float32 -0.5…0.5, of the same shape."""
    return images.float() / 255 - 0.5


def init_(net: nn.Module) -> None:
    """Sets the start of all Conv2d and Linear of the net, in place: N(0, 1/fan_in); biases 0.1 and 0."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            # How many numbers one output adds up: input channels times kernel area. A sum of fan_in products has
            # fan_in times their variance, so 1/fan_in keeps the scale of the signal.
            fan_in = module.weight[0].numel()
            nn.init.normal_(module.weight, std=fan_in**-0.5)
            if module.bias is not None:
                # A little above 0 in front of a ReLU: most units are on at first and get a gradient.
                nn.init.constant_(module.bias, 0.1 if isinstance(module, nn.Conv2d) else 0.0)


class MnistNet(nn.Module):
    """N×1×24×24 to N×10 logits, 5,994 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, kernel_size=5, padding=2)
        self.conv2 = nn.Conv2d(8, 16, kernel_size=5, padding=2)
        self.fc = nn.Linear(16 * 4 * 4, 10)
        init_(self)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)  # N×8×12×12
        x = F.max_pool2d(F.relu(self.conv2(x)), 3)  # N×16×4×4: the stride is the kernel's size
        return self.fc(x.flatten(1))  # N×10 logits


class CifarNet(nn.Module):
    """N×3×32×32 to N×10 logits, 22,466 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, kernel_size=5, padding=2)
        self.conv2 = nn.Conv2d(16, 20, kernel_size=5, padding=2)
        self.conv3 = nn.Conv2d(20, 20, kernel_size=5, padding=2)
        self.fc = nn.Linear(20 * 4 * 4, 10)
        init_(self)

    def forward(self, x: Tensor) -> Tensor:
        for conv in (self.conv1, self.conv2, self.conv3):
            x = F.max_pool2d(F.relu(conv(x)), 2)  # 32 -> 16 -> 8 -> 4
        return self.fc(x.flatten(1))  # N×10 logits


def random_crop(images, size):
    n, channels, height, width = images.shape
    top = torch.floor(torch.rand(n) * (height - size + 1)).long()
    left = torch.floor(torch.rand(n) * (width - size + 1)).long()
    rows = (top[:, None] + torch.arange(size)).view(n, 1, size, 1).expand(n, channels, size, width)
    columns = (left[:, None] + torch.arange(size)).view(n, 1, 1, size).expand(n, channels, size, size)
    return images.gather(2, rows).gather(3, columns)


def jitter(images, most=2):
    n, _, height, width = images.shape
    down = torch.randint(-most, most + 1, (n,)).view(n, 1, 1, 1)
    right = torch.randint(-most, most + 1, (n,)).view(n, 1, 1, 1)
    turned = torch.rand(n, 1, 1, 1) < 0.5
    row = torch.arange(height).view(1, 1, height, 1) - down
    column = torch.arange(width).view(1, 1, 1, width) - right
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    column = torch.where(turned, width - 1 - column, column)
    row, column = row.clamp(0, height - 1), column.clamp(0, width - 1)
    moved = images.gather(2, row.expand_as(images)).gather(3, column.expand_as(images))
    return moved * inside


def mnist_views(images: Tensor) -> list[Tensor]:
    """The four corners, 24×24 each, of images N×1×28×28: top left, top right, bottom left, bottom right."""
    return [images[:, :, top : top + 24, left : left + 24] for top in (0, 4) for left in (0, 4)]


def cifar_views(images: Tensor) -> list[Tensor]:
    """The images as they are, moved up left by 2, moved down right by 2; then the same three mirrored."""
    framed = F.pad(images, [2, 2, 2, 2])
    size = images.shape[3]
    # The crop that starts further down and right shows the image moved up and left.
    moved = [framed[:, :, at : at + size, at : at + size] for at in (2, 4, 0)]
    return moved + [view.flip(3) for view in moved]


@torch.no_grad()
def average(model, views):
    mode = model.training
    model.train(False)
    logits = model(torch.cat(list(views)))
    model.train(mode)
    return logits.softmax(-1).view(len(views), -1, logits.shape[-1]).mean(0)


def make_optimizer(model: nn.Module, l2: float) -> torch.optim.Optimizer:
    """Adadelta as in the demos, for all parameters; ½ · l2 · w² for weights, nothing for biases."""
    weights = [p for p in model.parameters() if p.ndim > 1]
    biases = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": weights, "weight_decay": l2}, {"params": biases, "weight_decay": 0.0}]
    # PyTorch's defaults are another recipe (rho=0.9); lr=1 because Adadelta finds the size of its steps itself.
    return torch.optim.Adadelta(groups, lr=1.0, rho=0.95, eps=1e-6)


def train(model, images, labels, augment, epochs, batch_size, l2):
    model.train()
    optimizer = make_optimizer(model, l2)
    n = images.size(0)
    for _ in range(epochs):
        order = torch.rand(n).argsort()
        for start in range(0, n, batch_size):
            chosen = order[start : start + batch_size]
            log_p = model(augment(scale(images[chosen]))).log_softmax(1)
            loss = -log_p.gather(1, labels[chosen, None]).mean()
            for p in model.parameters():
                p.grad = None
            loss.backward()
            optimizer.step()
