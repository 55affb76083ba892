"""Networks as sequences of named layers, batches from a DataLoader."""

from collections import OrderedDict

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def scale(images):
    return (images / 255.0) - 0.5


@torch.no_grad()
def init_(net):
    for layer in net.modules():
        match layer:
            case nn.Conv2d():
                layer.weight.normal_(0, (1 / layer.weight[0].numel()) ** 0.5)
                if layer.bias is not None:
                    layer.bias.fill_(0.1)
            case nn.Linear():
                layer.weight.normal_(0, (1 / layer.in_features) ** 0.5)
                if layer.bias is not None:
                    layer.bias.zero_()


class MnistNet(nn.Sequential):
    def __init__(self):
        layers = OrderedDict(
            conv1=nn.Conv2d(1, 8, 5, padding="same"),
            pool1=nn.MaxPool2d(2),
            relu1=nn.ReLU(),
            conv2=nn.Conv2d(8, 16, 5, padding="same"),
            pool2=nn.MaxPool2d(3),
            relu2=nn.ReLU(),
            flat=nn.Flatten(),
            fc=nn.Linear(256, 10),
        )
        super().__init__(layers)
        init_(self)


class CifarNet(nn.Sequential):
    def __init__(self):
        super().__init__()
        for i, (before, after) in enumerate(((3, 16), (16, 20), (20, 20)), start=1):
            self.add_module(f"conv{i}", nn.Conv2d(before, after, (5, 5), padding=(2, 2)))
            self.add_module(f"relu{i}", nn.ReLU())
            self.add_module(f"pool{i}", nn.MaxPool2d(kernel_size=2, stride=2))
        self.add_module("flatten", nn.Flatten(1))
        self.add_module("fc", nn.Linear(320, 10))
        init_(self)


def random_crop(images, size):
    # All places as a view, (N, C, rows, columns, size, size), then one of them for each image.
    places = images.unfold(2, size, 1).unfold(3, size, 1)
    n, _, rows, columns = places.shape[:4]
    which = torch.randint(rows * columns, (n,))
    return places[torch.arange(n), :, which // columns, which % columns].clone()


def jitter(images, most=2):
    padded = nn.functional.pad(images, (most, most, most, most))
    moved = random_crop(padded, images.size(-1))
    coins = torch.randint(0, 2, (images.size(0),)).bool()
    moved[coins] = moved[coins].flip(-1)
    return moved


def mnist_views(images):
    return [images[..., :24, :24], images[..., :24, 4:], images[..., 4:, :24], images[..., 4:, 4:]]


def cifar_views(images):
    up = torch.zeros_like(images)
    up[..., :-2, :-2] = images[..., 2:, 2:]
    down = torch.zeros_like(images)
    down[..., 2:, 2:] = images[..., :-2, :-2]
    plain = [images, up, down]
    return plain + [torch.flip(view, [-1]) for view in plain]


def average(model, views):
    training = model.training
    try:
        model.eval()
        with torch.inference_mode():
            probabilities = [torch.softmax(model(view), -1) for view in views]
    finally:
        model.train(training)
    return sum(probabilities) / len(probabilities)


def make_optimizer(model, l2):
    decays = {True: [], False: []}
    for p in model.parameters():
        decays[p.dim() > 1].append(p)
    optimizer = torch.optim.Adadelta(decays[True], lr=1, rho=0.95, weight_decay=l2)
    optimizer.add_param_group({"params": decays[False], "weight_decay": 0})
    return optimizer


def train(model, images, labels, augment, epochs, batch_size, l2):
    loader = DataLoader(TensorDataset(images, labels), batch_size=batch_size, shuffle=True)
    optimizer = make_optimizer(model, l2)
    loss_fn = nn.CrossEntropyLoss()
    model.train()
    for epoch in range(epochs):
        for x, y in loader:
            optimizer.zero_grad(set_to_none=False)
            loss = loss_fn(model(augment(scale(x))), y)
            loss.backward()
            optimizer.step()
    return model
