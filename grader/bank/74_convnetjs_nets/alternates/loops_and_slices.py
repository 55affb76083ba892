"""One image at a time, slices everywhere, an optimizer written out."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def scale(images):
    return images.to(torch.float32).div(255.0).sub(0.5)


def init_(net):
    def start(module):
        if isinstance(module, nn.Conv2d):
            kh, kw = module.kernel_size
            fan_in = module.in_channels // module.groups * kh * kw
            bias = 0.1
        elif isinstance(module, nn.Linear):
            fan_in, bias = module.in_features, 0.0
        else:
            return
        with torch.no_grad():
            module.weight.copy_(torch.randn_like(module.weight) / fan_in**0.5)
            if module.bias is not None:
                module.bias.fill_(bias)

    net.apply(start)


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
    pieces = []
    for image in images:
        top = int(torch.randint(0, image.shape[1] - size + 1, ()))
        left = int(torch.randint(0, image.shape[2] - size + 1, ()))
        pieces.append(image[:, top : top + size, left : left + size])
    return torch.stack(pieces)


def jitter(images, most=2):
    out = torch.zeros_like(images)
    size = images.shape[-1]
    for i, image in enumerate(images):
        down, right = torch.randint(-most, most + 1, (2,)).tolist()
        if torch.rand(()) < 0.5:
            image = torch.flip(image, dims=(-1,))
        rows, columns = size - abs(down), size - abs(right)
        piece = image[:, max(0, -down) : max(0, -down) + rows, max(0, -right) : max(0, -right) + columns]
        out[i, :, max(0, down) : max(0, down) + rows, max(0, right) : max(0, right) + columns] = piece
    return out


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


def average(model, views):
    before = model.training
    model.eval()
    total = 0
    with torch.no_grad():
        for view in views:
            total = total + torch.exp(F.log_softmax(model(view), dim=-1))
    model.train(before)
    return total / len(views)


class Adadelta:
    def __init__(self, model, l2, rho=0.95, eps=1e-6):
        self.params, self.l2, self.rho, self.eps = list(model.parameters()), l2, rho, eps
        self.squares = [torch.zeros_like(p) for p in self.params]
        self.moves = [torch.zeros_like(p) for p in self.params]

    def zero_grad(self):
        for p in self.params:
            p.grad = None

    @torch.no_grad()
    def step(self):
        for p, square, moved in zip(self.params, self.squares, self.moves, strict=True):
            if p.grad is None:
                continue
            g = p.grad + self.l2 * p if p.dim() > 1 else p.grad
            square.mul_(self.rho).add_((1 - self.rho) * g**2)
            dx = -torch.sqrt((moved + self.eps) / (square + self.eps)) * g
            moved.mul_(self.rho).add_((1 - self.rho) * dx**2)
            p.add_(dx)


def make_optimizer(model, l2):
    return Adadelta(model, l2)


def train(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    augment: Callable[[Tensor], Tensor],
    epochs: int,
    batch_size: int,
    l2: float,
) -> None:
    """Trains the model in place on raw images (uint8, N×C×H×W), each batch scaled and augmented anew."""
    optimizer = make_optimizer(model, l2)
    model.train()
    for _ in range(epochs):
        for batch in torch.randperm(len(images)).split(batch_size):
            # Augmented here and not once before: an image looks different in every epoch.
            logits = model(augment(scale(images[batch])))
            loss = F.cross_entropy(logits, labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
