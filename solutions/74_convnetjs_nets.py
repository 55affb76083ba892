"""The two networks of the ConvNetJS demos, with what trained and tested them in a browser in 2014.

Five thousand parameters read MNIST, twenty-two thousand read CIFAR-10. Half of the result comes from what surrounds the
network: where the weights start, crops and shifts drawn anew for each image, and a test that asks several times.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def scale(images: Tensor) -> Tensor:
    """Bytes 0…255 to float32 -0.5…0.5, of the same shape."""
    # solution: begin pixel / 255 - 0.5
    return images.float() / 255 - 0.5
    # solution: end


def init_(net: nn.Module) -> None:
    """Sets the start of all Conv2d and Linear of the net, in place: N(0, 1/fan_in); biases 0.1 and 0."""
    # solution: begin normal weights with variance 1/fan_in, convolution biases 0.1, linear biases 0
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            # How many numbers one output adds up: input channels times kernel area. A sum of fan_in products has
            # fan_in times their variance, so 1/fan_in keeps the scale of the signal.
            fan_in = module.weight[0].numel()
            nn.init.normal_(module.weight, std=fan_in**-0.5)
            if module.bias is not None:
                # A little above 0 in front of a ReLU: most units are on at first and get a gradient.
                nn.init.constant_(module.bias, 0.1 if isinstance(module, nn.Conv2d) else 0.0)
    # solution: end


class MnistNet(nn.Module):
    """N×1×24×24 to N×10 logits, 5,994 parameters."""

    def __init__(self) -> None:
        super().__init__()
        # solution: begin conv1 to 8 maps, conv2 to 16, fc; then init_
        self.conv1 = nn.Conv2d(1, 8, kernel_size=5, padding=2)
        self.conv2 = nn.Conv2d(8, 16, kernel_size=5, padding=2)
        self.fc = nn.Linear(16 * 4 * 4, 10)
        init_(self)
        # solution: end

    def forward(self, x: Tensor) -> Tensor:
        # solution: begin conv, relu, pool 2; conv, relu, pool 3; fc
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)  # N×8×12×12
        x = F.max_pool2d(F.relu(self.conv2(x)), 3)  # N×16×4×4: the stride is the kernel's size
        return self.fc(x.flatten(1))  # N×10 logits
        # solution: end


class CifarNet(nn.Module):
    """N×3×32×32 to N×10 logits, 22,466 parameters."""

    def __init__(self) -> None:
        super().__init__()
        # solution: begin conv1 to 16 maps, conv2 to 20, conv3 to 20, fc; then init_
        self.conv1 = nn.Conv2d(3, 16, kernel_size=5, padding=2)
        self.conv2 = nn.Conv2d(16, 20, kernel_size=5, padding=2)
        self.conv3 = nn.Conv2d(20, 20, kernel_size=5, padding=2)
        self.fc = nn.Linear(20 * 4 * 4, 10)
        init_(self)
        # solution: end

    def forward(self, x: Tensor) -> Tensor:
        # solution: begin three times conv, relu, pool 2; fc
        for conv in (self.conv1, self.conv2, self.conv3):
            x = F.max_pool2d(F.relu(conv(x)), 2)  # 32 -> 16 -> 8 -> 4
        return self.fc(x.flatten(1))  # N×10 logits
        # solution: end


def random_crop(images: Tensor, size: int) -> Tensor:
    """Cuts a square out of each image, each at a place of its own: N×C×H×W to N×C×size×size."""
    # solution: begin draw a top left corner for each image, cut there
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
    # solution: end


def jitter(images: Tensor, most: int = 2) -> Tensor:
    """Mirrors each square image or not, and moves it by up to `most` pixels; what comes in from outside is 0."""
    # solution: begin a coin for each image, then a crop out of the padded images
    mirrored = torch.rand(len(images)) < 0.5
    images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
    # A frame of zeros and a crop of the old size is a shift: 2 · most + 1 places each way. On the scaled pixels 0 is
    # a middle grey.
    return random_crop(F.pad(images, [most] * 4), images.shape[3])
    # solution: end


def mnist_views(images: Tensor) -> list[Tensor]:
    """The four corners, 24×24 each, of images N×1×28×28: top left, top right, bottom left, bottom right."""
    # solution: begin four slices
    return [images[:, :, top : top + 24, left : left + 24] for top in (0, 4) for left in (0, 4)]
    # solution: end


def cifar_views(images: Tensor) -> list[Tensor]:
    """The images as they are, moved up left by 2, moved down right by 2; then the same three mirrored."""
    # solution: begin slices of the images in a frame of two zeros, then their mirror images
    framed = F.pad(images, [2, 2, 2, 2])
    size = images.shape[3]
    # The crop that starts further down and right shows the image moved up and left.
    moved = [framed[:, :, at : at + size, at : at + size] for at in (2, 4, 0)]
    return moved + [view.flip(3) for view in moved]
    # solution: end


def average(model: nn.Module, views: Sequence[Tensor]) -> Tensor:
    """The mean over the views of the model's class probabilities, (N, K)."""
    # solution: begin eval mode, no gradients, softmax of each view, their mean; mode restored
    was_training = model.training
    model.eval()
    with torch.no_grad():
        # Probabilities, not logits: each view has one vote to share out, however sure it is of itself.
        total = torch.stack([model(view).softmax(dim=1) for view in views]).mean(dim=0)
    model.train(was_training)
    return total
    # solution: end


def make_optimizer(model: nn.Module, l2: float) -> torch.optim.Optimizer:
    """Adadelta as in the demos, for all parameters; ½ · l2 · w² for weights, nothing for biases."""
    # solution: begin Adadelta with rho=0.95, eps=1e-6, lr=1 and two groups
    weights = [p for p in model.parameters() if p.ndim > 1]
    biases = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": weights, "weight_decay": l2}, {"params": biases, "weight_decay": 0.0}]
    # PyTorch's defaults are another recipe (rho=0.9); lr=1 because Adadelta finds the size of its steps itself.
    return torch.optim.Adadelta(groups, lr=1.0, rho=0.95, eps=1e-6)
    # solution: end


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
    # solution: begin one optimizer; each epoch a new order; scale, augment, mean cross-entropy, step
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
    # solution: end
