"""The two-convolution network of many tutorials, where 64·6·6 is right; DataLoader, Adam, cosine per epoch."""

import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim
from torch.utils.data import DataLoader, TensorDataset

MEAN = (0.4914, 0.4822, 0.4465)
STD = (0.2470, 0.2435, 0.2616)


def normalize(images):
    x = images.to(torch.float32).div(255)
    return (x - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


class CNN(nn.Module):
    def __init__(self):
        super(CNN, self).__init__()
        self.conv1 = nn.Conv2d(3, 16, 3)
        self.conv2 = nn.Conv2d(16, 64, 3)
        self.fc1 = nn.Linear(64 * 6 * 6, 64)
        self.fc2 = nn.Linear(64, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = x.view(-1, 64 * 6 * 6)
        x = F.relu(self.fc1(x))
        return self.fc2(x)


def train(model, images, labels, epochs, batch_size=64, lr=2e-3):
    device = torch.device("cpu")
    model.to(device)
    loader = DataLoader(TensorDataset(normalize(images), labels), batch_size=batch_size, shuffle=True)
    criterion = nn.CrossEntropyLoss()
    optimizer = optim.Adam(model.parameters(), lr=lr)
    scheduler = optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs)
    history = []
    for epoch in range(epochs):
        model.train()
        running = 0.0
        for inputs, targets in loader:
            inputs, targets = inputs.to(device), targets.to(device)
            optimizer.zero_grad()
            outputs = model(inputs)
            loss = criterion(outputs, targets)
            loss.backward()
            optimizer.step()
            running += loss.item() * inputs.size(0)
        scheduler.step()
        history.append(running / len(loader.dataset))
        if epoch % 10 == 0:
            print(f"epoch {epoch + 1}: {history[-1]:.4f}")
    return history


def predict(model, images):
    was_training = model.training
    model.eval()
    result = []
    with torch.no_grad():
        for i in range(0, len(images), 256):
            outputs = model(normalize(images[i : i + 256]))
            _, predicted = torch.max(outputs, 1)
            result.append(predicted)
    model.train(was_training)
    return torch.cat(result)
