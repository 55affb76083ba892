"""No pooling: strided 5×5 and 3×3 convolutions, leaky ReLU, He initialisation, RMSprop halved twice; own Dataset class."""

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

MEAN = (0.4914, 0.4822, 0.4465)
STD = (0.2470, 0.2435, 0.2616)


def normalize(images):
    images = images / 255
    images -= torch.tensor(MEAN).reshape(1, 3, 1, 1)
    images /= torch.tensor(STD).reshape(1, 3, 1, 1)
    return images


class Pictures(Dataset):
    def __init__(self, images, labels):
        self.images, self.labels = images, labels

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        return self.images[i], self.labels[i]


class CNN(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(
            [nn.Conv2d(3, 24, 5, stride=2, padding=2), nn.Conv2d(24, 48, 3, stride=2, padding=1),
             nn.Conv2d(48, 64, 3, stride=2, padding=1)]
        )
        self.out = nn.LazyLinear(10)  # 64·4·4 inputs
        for layer in self.layers:
            nn.init.kaiming_normal_(layer.weight, a=0.1)
            nn.init.zeros_(layer.bias)

    def forward(self, x):
        batch = x.shape[0]
        for layer in self.layers:
            x = nn.functional.leaky_relu(layer(x), 0.1)
        return self.out(x.reshape(batch, -1))


def train(model, images, labels, epochs):
    loader = DataLoader(Pictures(images, labels), batch_size=40, shuffle=True, num_workers=0)
    optimizer = torch.optim.RMSprop(model.parameters(), lr=8e-4)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(
        optimizer, milestones=sorted({max(1, epochs // 2), max(1, 3 * epochs // 4)}), gamma=0.3
    )
    criterion = nn.CrossEntropyLoss()
    model.train()
    for _ in range(epochs):
        for x, y in loader:
            loss = criterion(model(normalize(x)), y)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        scheduler.step()
    model.eval()


def predict(model, images):
    training = model.training
    model.train(False)
    classes = []
    with torch.inference_mode():
        for x in DataLoader(images, batch_size=512):
            classes += model(normalize(x)).argmax(dim=1).tolist()
    model.train(training)
    return torch.tensor(classes)
