"""Ten kinds of coloured shapes, and a small network that learns to tell them apart.

    python 20_four_bugs.py

Repaired, it prints about this (the figures vary a little with the machine):

    epoch 1: loss 1.573, accuracy on new images 52.6%
    ...
    epoch 6: loss 0.146, accuracy on new images 100.0%
"""

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

SIZE = 16
CLASSES = 10
BATCH_SIZE = 32
LEARNING_RATE = 0.02
EPOCHS = 6

COLOURS = [(1.0, 0.2, 0.2), (0.2, 1.0, 0.2), (0.2, 0.2, 1.0), (1.0, 1.0, 0.2), (0.2, 1.0, 1.0)]


def make_images(count, seed):
    """Images as a camera delivers them, (N, 16, 16, 3), and labels (N,): twice the colour, plus one for a cross."""
    g = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES, (count,), generator=g)
    images = 0.3 * torch.rand(count, SIZE, SIZE, 3, generator=g)
    middle = torch.randint(5, 11, (count, 2, 1, 1), generator=g)
    radius = torch.randint(3, 5, (count, 1, 1), generator=g)
    down = (torch.arange(SIZE)[:, None] - middle[:, 0]).abs()  # (N, 16, 1)
    across = (torch.arange(SIZE) - middle[:, 1]).abs()  # (N, 1, 16)
    disc = down**2 + across**2 <= radius**2
    cross = ((down == 0) | (across == 0)) & (down <= radius) & (across <= radius)
    shape = torch.where(labels[:, None, None] % 2 == 1, cross, disc)
    colour = torch.tensor(COLOURS)[labels // 2]  # (N, 3)
    images += 0.7 * shape[..., None] * colour[:, None, None]
    return images, labels


class Net(nn.Module):
    """Two convolutions with batch norm, dropout, one linear layer."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, kernel_size=3, padding=1)
        self.bn1 = nn.BatchNorm2d(16)
        self.conv2 = nn.Conv2d(16, 32, kernel_size=3, padding=1)
        self.bn2 = nn.BatchNorm2d(32)
        self.dropout = nn.Dropout(0.5)
        self.fc = nn.Linear(32 * 4 * 4, CLASSES)

    def forward(self, images):
        """(N, 16, 16, 3) → (N, 10)"""
        x = torch.einsum("nhwc->nchw", images)
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 2)  # (N, 16, 8, 8)
        x = F.max_pool2d(F.relu(self.bn2(self.conv2(x))), 2)  # (N, 32, 4, 4)
        x = self.dropout(x.flatten(1))
        return F.log_softmax(self.fc(x), dim=1)  # softmax of a log-softmax is the softmax again: no floor


def train_one_epoch(model, loader, optimizer, loss_fn):
    """One update for each batch; returns the mean loss of an example."""
    model.train(True)
    total, seen = 0.0, 0
    for images, labels in loader:
        for p in model.parameters():
            p.grad = None
        loss = loss_fn(model(images), labels)
        loss.backward()
        optimizer.step()
        total += loss.item() * len(labels)
        seen += len(labels)
    return total / seen


@torch.no_grad()
def evaluate(model, loader):
    """The share of images that the model gets right."""
    model.train(False)
    right, seen = 0, 0
    for images, labels in loader:
        right += (model(images).argmax(dim=1) == labels).sum().item()
        seen += len(labels)
    return right / seen


def fit(train_set, test_set, epochs=EPOCHS):
    """Trains a new network on (images, labels); returns it, and (loss, accuracy on the test set) by epoch."""
    train_loader = DataLoader(TensorDataset(*train_set), batch_size=BATCH_SIZE, shuffle=True)
    test_loader = DataLoader(TensorDataset(*test_set), batch_size=100)
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)
    loss_fn = nn.CrossEntropyLoss()
    history = []
    for _ in range(epochs):
        loss = train_one_epoch(model, train_loader, optimizer, loss_fn)
        history.append((loss, evaluate(model, test_loader)))
    return model, history


if __name__ == "__main__":
    torch.set_num_threads(1)  # the network is so small that several threads only get into each other's way
    torch.manual_seed(0)
    _, history = fit(make_images(1000, seed=1), make_images(500, seed=2))
    for epoch, (loss, accuracy) in enumerate(history, start=1):
        print(f"epoch {epoch}: loss {loss:.3f}, accuracy on new images {accuracy:.1%}")
