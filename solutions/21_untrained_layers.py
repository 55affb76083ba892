"""A network that has learnt some textures is taught six others. Its first filters stay; all behind them learns.

    python 21_untrained_layers.py

Repaired, it prints about this (the figures vary a little with the machine):

    epoch 1: loss 0.937
    ...
    epoch 5: loss 0.062
    accuracy on new images: 98.2%
"""

import math

import torch
from torch import nn
from torch.nn import functional as F

SIZE = 16
CLASSES = 6
FILTERS = 8
BATCH_SIZE = 32
LEARNING_RATE = 0.05
MOMENTUM = 0.9
WEIGHT_DECAY = 1e-3
EPOCHS = 5


def make_images(count, seed):
    """Noisy stripes in three directions, narrow and wide: images (N, 1, 16, 16), labels (N,) from 0 to 5."""
    g = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES, (count,), generator=g)
    angle = math.pi / 3 * (labels % 3) + 0.2 * torch.randn(count, generator=g)
    frequency = torch.where(labels < 3, 1.1, 1.7)
    phase = 2 * math.pi * torch.rand(count, generator=g)
    down, across = torch.arange(SIZE)[:, None], torch.arange(SIZE)
    along = down * angle.sin()[:, None, None] + across * angle.cos()[:, None, None]  # (N, 16, 16)
    images = torch.sin(frequency[:, None, None] * along + phase[:, None, None])
    images += torch.randn(images.shape, generator=g)
    return images[:, None], labels


class Block(nn.Module):
    """Adds what a convolution has found to what was there."""

    def __init__(self, width):
        super().__init__()
        self.conv = nn.Conv2d(width, width, kernel_size=3, padding=1)

    def forward(self, x):
        return x + F.relu(self.conv(x))


class TextureNet(nn.Module):
    """stem → two blocks → neck → norm → fc"""

    def __init__(self, num_classes):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, FILTERS, kernel_size=5, padding=2), nn.ReLU(), nn.MaxPool2d(2))
        # A plain list would hide the blocks from parameters(), state_dict(), to() and train().
        self.blocks = nn.ModuleList([Block(FILTERS), Block(FILTERS)])
        self.neck = nn.Linear(FILTERS, 32)
        self.norm = nn.LayerNorm(32)
        self.fc = nn.Linear(32, num_classes)
        self.features = None

    def forward(self, images):
        """(N, 1, 16, 16) → (N, num_classes)"""
        x = self.stem(images)  # (N, 8, 8, 8)
        for block in self.blocks:
            x = block(x)
        x = F.relu(self.neck(x.mean(dim=(2, 3))))  # (N, 32)
        # For plots, so without the graph. Only this copy is detached: x itself goes on to the loss, and backward
        # has to find its way from there to the neck and the blocks.
        self.features = x.detach()
        return self.fc(self.norm(x))


def load_pretrained():
    """Stands for a checkpoint that knows 20 textures: a stem with edge filters in eight directions."""
    model = TextureNet(num_classes=20)
    direction = 2 * math.pi / FILTERS * torch.arange(FILTERS)[:, None, None]
    down, across = torch.arange(-2.0, 3.0)[:, None], torch.arange(-2.0, 3.0)
    slope = down * direction.sin() + across * direction.cos()  # (8, 5, 5)
    with torch.no_grad():
        model.stem[0].weight[:, 0] = 0.3 * slope * torch.exp(-(down**2 + across**2) / 3)
        model.stem[0].bias.zero_()
    return model


def adapt(model, num_classes):
    """Makes a trained network ready for other classes, and returns the optimizer.

    The stem keeps its filters. Everything behind it is to learn.
    """
    for name, parameter in model.named_parameters():
        parameter.requires_grad = not name.startswith("stem.")
    # First the new layer, then the optimizer: it holds the tensors that it was given, not the names.
    model.fc = nn.Linear(model.fc.in_features, num_classes)
    return torch.optim.SGD(model.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)


def train(model, optimizer, images, labels, epochs=EPOCHS):
    """Trains in shuffled batches; returns the mean loss of an image, for each epoch."""
    losses = []
    for _ in range(epochs):
        total = 0.0
        for chosen in torch.randperm(len(images)).split(BATCH_SIZE):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(images[chosen]), labels[chosen])
            loss.backward()
            optimizer.step()
            total += loss.item() * len(chosen)
        losses.append(total / len(images))
    return losses


if __name__ == "__main__":
    torch.set_num_threads(1)  # the network is so small that several threads only get into each other's way
    torch.manual_seed(0)
    model = load_pretrained()
    optimizer = adapt(model, CLASSES)
    images, labels = make_images(1500, seed=1)
    for epoch, loss in enumerate(train(model, optimizer, images, labels), start=1):
        print(f"epoch {epoch}: loss {loss:.3f}")
    images, labels = make_images(500, seed=2)
    with torch.no_grad():
        right = (model(images).argmax(dim=1) == labels).float().mean()
    print(f"accuracy on new images: {right:.1%}")
