"""How far down is the spot? A small network reads a picture in four strips, and gives one number.

    python 22_batch_mixing.py

Repaired, it prints about this (the figures vary a little with the machine):

    epoch 1: loss 0.1277
    ...
    epoch 8: loss 0.0023
    mean error on new images: 0.046
"""

import torch
from torch import nn
from torch.nn import functional as F

SIZE = 16
STRIPS = 4
WIDTH = 16
BATCH_SIZE = 32
LEARNING_RATE = 3e-3
EPOCHS = 8


def make_images(count, seed):
    """Noisy pictures (N, 1, 16, 16) of one bright spot; how far down it is, (N,), from 0 (top) to 1 (bottom)."""
    g = torch.Generator().manual_seed(seed)
    heights = torch.rand(count, generator=g)
    down = torch.arange(SIZE)[:, None] - (SIZE - 1) * heights[:, None, None]  # (N, 16, 1)
    across = torch.arange(SIZE) - (SIZE - 1) * torch.rand(count, 1, 1, generator=g)  # (N, 1, 16)
    images = torch.exp(-(down**2 + across**2) / 6)
    images += 0.2 * torch.randn(images.shape, generator=g)
    return images[:, None], heights


class StripNet(nn.Module):
    """One layer reads every strip; the head puts together what it has found."""

    def __init__(self):
        super().__init__()
        self.read = nn.Linear(SIZE // STRIPS * SIZE, WIDTH)
        self.head = nn.Sequential(nn.Linear(STRIPS * WIDTH, 32), nn.ReLU(), nn.Linear(32, 1))

    def forward(self, images):
        """(N, 1, 16, 16) → (N, 1)"""
        strips = torch.stack(images.chunk(STRIPS, dim=2))  # (4, N, 1, 4, 16)
        found = F.relu(self.read(strips.flatten(2)))  # (4, N, 16)
        found = found.transpose(0, 1).reshape(len(images), -1)
        return self.head(found)


def train_step(model, optimizer, images, heights):
    """One update; returns the mean squared error that the batch had before it."""
    optimizer.zero_grad()
    errors = model(images).squeeze() - heights.squeeze()  # even for N = 1: () against () has one square
    loss = (errors**2).mean()
    loss.backward()
    optimizer.step()
    return loss.item()


@torch.no_grad()
def mean_error(model, images, heights, batch_size=50):
    """How far off the model is, on average."""
    guesses = torch.cat([model(batch) for batch in images.split(batch_size)])
    return (guesses.squeeze() - heights).abs().mean().item()  # after cat, so (N, 1) or, for one, ()


def fit(images, heights, epochs=EPOCHS):
    """Trains a new network in shuffled batches; returns it, and the mean loss of an image for each epoch."""
    model = StripNet()
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    losses = []
    for _ in range(epochs):
        total = 0.0
        for chosen in torch.randperm(len(images)).split(BATCH_SIZE):
            total += train_step(model, optimizer, images[chosen], heights[chosen]) * len(chosen)
        losses.append(total / len(images))
    return model, losses


if __name__ == "__main__":
    torch.set_num_threads(1)  # the network is so small that several threads only get into each other's way
    torch.manual_seed(0)
    model, losses = fit(*make_images(1500, seed=1))
    for epoch, loss in enumerate(losses, start=1):
        print(f"epoch {epoch}: loss {loss:.4f}")
    print(f"mean error on new images: {mean_error(model, *make_images(500, seed=2)):.3f}")
