"""A shared base class, a helper that shifts, a truncated loop; modules for pooling and activation."""

from collections.abc import Callable, Sequence

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


class Stack(nn.Module):
    def __init__(self, channels, pools, features):
        super().__init__()
        self.pools = pools
        for i, (before, after) in enumerate(zip(channels, channels[1:], strict=False)):
            setattr(self, f"conv{i + 1}", nn.Conv2d(before, after, 5, 1, 2))
        self.fc = nn.Linear(features, 10)
        init_(self)

    def forward(self, x):
        for i, pool in enumerate(self.pools):
            x = getattr(self, f"conv{i + 1}")(x).clamp(min=0)
            n, c, h, w = x.shape
            x = x.view(n, c, h // pool, pool, w // pool, pool).amax((3, 5))
        return self.fc(x.reshape(x.size(0), -1))


class MnistNet(Stack):
    def __init__(self):
        super().__init__((1, 8, 16), (2, 3), 256)


class CifarNet(Stack):
    def __init__(self):
        super().__init__((3, 16, 20, 20), (2, 2, 2), 320)


def random_crop(images: Tensor, size: int) -> Tensor:
    """Cuts a square out of each image, each at a place of its own: N×C×H×W to N×C×size×size."""
    n, _, height, width = images.shape
    # The last place counts: there are H - size + 1 of them, and randint excludes its upper end.
    tops = torch.randint(height - size + 1, (n, 1))
    lefts = torch.randint(width - size + 1, (n, 1))
    # Indices instead of a loop over the images: rows (n, size, 1) and columns (n, 1, size) meet in (n, size, size).
    rows = (tops + torch.arange(size))[:, :, None]
    columns = (lefts + torch.arange(size))[:, None, :]
    image = torch.arange(n)[:, None, None]
    # Around the slice the indexed axes come first: (n, size, size, C).
    return images[image, :, rows, columns].permute(0, 3, 1, 2)


def jitter(images, most=2):
    return torch.stack([_shifted(image, most) for image in images])


def _shifted(image, most):
    if torch.bernoulli(torch.tensor(0.5)):
        image = image.flip(-1)
    down, right = (torch.randint(2 * most + 1, (2,)) - most).tolist()
    moved = image.roll((down, right), (1, 2))
    if down > 0:
        moved[:, :down] = 0
    elif down < 0:
        moved[:, down:] = 0
    if right > 0:
        moved[:, :, :right] = 0
    elif right < 0:
        moved[:, :, right:] = 0
    return moved


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


def average(model: nn.Module, views: Sequence[Tensor]) -> Tensor:
    """The mean over the views of the model's class probabilities, (N, K)."""
    was_training = model.training
    model.eval()
    with torch.no_grad():
        # Probabilities, not logits: each view has one vote to share out, however sure it is of itself.
        total = torch.stack([model(view).softmax(dim=1) for view in views]).mean(dim=0)
    model.train(was_training)
    return total


class Demo(torch.optim.Adadelta):
    """Adadelta with the L2 of the weights added to their gradients before each step."""

    def __init__(self, model, l2):
        super().__init__(model.parameters(), lr=1.0, rho=0.95, eps=1e-6)
        self.weights, self.l2 = [p for p in model.parameters() if p.ndim > 1], l2

    @torch.no_grad()
    def step(self, closure=None):
        for p in self.weights:
            if p.grad is not None:
                p.grad += self.l2 * p
        return super().step(closure)


def make_optimizer(model, l2):
    return Demo(model, l2)


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
