"""CIFAR-10 from raw pixels to predictions: normalise, build, train, predict.

CIFAR-10 holds 60,000 colour photographs of 32×32 pixels in ten classes. A linear model reaches 37 % on it,
guessing 10 %. The network below has 33,946 parameters and reaches about 64 % after 10,000 images × 4 epochs,
in ten seconds of one CPU thread.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Mean and standard deviation of each colour channel over all training pixels, for pixels scaled to 0…1.
MEAN = (0.4914, 0.4822, 0.4465)
STD = (0.2470, 0.2435, 0.2616)


def normalize(images: Tensor) -> Tensor:
    """Turn raw pixels into what the network reads.

    `images`: uint8, N×3×32×32, values 0…255. Returns float32 of the same shape: scaled to 0…1, then each
    channel has its constant of `MEAN` subtracted and is divided by its constant of `STD`.
    """
    # solution: begin scale to 0..1, then (pixel - MEAN) / STD per channel
    # Constants and not the batch's own statistics: an image must look the same to the network whatever
    # other images it travels with, in training and ever after.
    mean = torch.tensor(MEAN).view(1, 3, 1, 1)  # (1, 3, 1, 1) lines up with the channel axis of N×3×H×W
    std = torch.tensor(STD).view(1, 3, 1, 1)
    return (images.float() / 255 - mean) / std
    # solution: end


class CNN(nn.Module):
    """Three convolution blocks and a linear classifier: N×3×32×32 normalised floats to N×10 logits."""

    def __init__(self) -> None:
        super().__init__()
        # solution: begin the layers: convolutions, then a linear classifier
        # No bias in front of a batch norm: the norm subtracts the mean and the bias with it.
        self.conv1 = nn.Conv2d(3, 16, kernel_size=3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(16)
        self.conv2 = nn.Conv2d(16, 32, kernel_size=3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(32)
        self.conv3 = nn.Conv2d(32, 64, kernel_size=3, padding=1, bias=False)
        self.norm3 = nn.BatchNorm2d(64)
        # padding=1 keeps the size, each pooling halves it: 32 -> 16 -> 8 -> 4
        self.classifier = nn.Linear(64 * 4 * 4, 10)
        # solution: end

    def forward(self, x: Tensor) -> Tensor:
        # solution: begin from N×3×32×32 to N×10 raw logits, keeping N as it is
        # Pooling right after the convolution, before norm and ReLU, saves three quarters of their work.
        # A max commutes with ReLU, so only the norm's statistics differ.
        x = F.relu(self.norm1(F.max_pool2d(self.conv1(x), 2)))  # N×16×16×16
        x = F.relu(self.norm2(F.max_pool2d(self.conv2(x), 2)))  # N×32×8×8
        x = F.relu(self.norm3(F.max_pool2d(self.conv3(x), 2)))  # N×64×4×4
        # flatten(1) names the axis to keep. view(-1, 64*4*4) keeps a product, and a wrong number in it
        # re-cuts the batch without a word.
        x = x.flatten(1)  # N×1024
        # Raw logits: cross_entropy applies log-softmax itself.
        return self.classifier(x)  # N×10
        # solution: end


def train(model: nn.Module, images: Tensor, labels: Tensor, epochs: int) -> None:
    """Train `model` in place for `epochs` passes over raw `images` (uint8, N×3×32×32) and `labels` (int64, N)."""
    # solution: begin loop over shuffled batches: your optimizer, your learning-rate schedule
    batch_size, peak_lr = 64, 1e-2
    n = len(images)
    steps = epochs * -(-n // batch_size)  # batches per epoch, rounded up: the last one is smaller
    optimizer = torch.optim.AdamW(model.parameters(), lr=peak_lr)
    # The length of the schedule comes from the work to do, so that it ends low however long the run is.
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=peak_lr, total_steps=steps)

    model.train()
    for _ in range(epochs):
        order = torch.randperm(n)  # a new order each epoch, one for images and labels alike
        for batch in order.split(batch_size):
            # Normalising per batch: the whole set as floats would take four times the memory of its bytes.
            logits = model(normalize(images[batch]))
            loss = F.cross_entropy(logits, labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()  # this schedule counts steps, not epochs
    # solution: end


def predict(model: nn.Module, images: Tensor) -> Tensor:
    """Return the class id (int64, N) that `model` gives to each of the raw `images` (uint8, N×3×32×32)."""
    # solution: begin eval mode, no gradients, at most 1,000 images at a time, mode restored
    was_training = model.training
    model.eval()  # batch norm uses its running statistics, dropout is off
    with torch.no_grad():  # a different matter from eval(): no graph is recorded
        classes = [model(normalize(batch)).argmax(dim=1) for batch in images.split(500)]
    model.train(was_training)
    return torch.cat(classes)
    # solution: end
