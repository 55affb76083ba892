"""Clears once before the loop and then after each step; sums on tensors without a graph; a while loop."""

import collections
import math

import torch


@torch.no_grad()
def evaluate(model, loader, loss_fn):
    model.eval()
    loss = torch.zeros((), dtype=torch.float64)
    correct = torch.zeros((), dtype=torch.int64)
    n = 0
    for images, labels in loader:
        out = model(images)
        loss += loss_fn(out, labels).double() * labels.size(0)
        correct += torch.eq(torch.argmax(out, 1), labels).sum()
        n += labels.size(0)
    if n == 0:
        raise ValueError("nothing to validate on")
    return (loss / n).item(), (correct / n).item()


def fit(model, train_loader, val_loader, optimizer, loss_fn, *, epochs, scheduler=None, clip_norm=None, patience=None):
    entered_training = model.training
    history = collections.defaultdict(list, {k: [] for k in ("train_loss", "val_loss", "val_accuracy", "lr", "epoch")})
    best, snapshot, since = math.inf, {}, 0
    epoch = 0
    model.zero_grad()
    while epoch < epochs and (patience is None or since < patience):
        epoch += 1
        model.train(True)
        running, n = torch.zeros((), dtype=torch.float64), 0
        lr = float(optimizer.param_groups[0]["lr"])
        for images, labels in train_loader:
            out = model(images)
            loss = loss_fn(out, labels)
            if not math.isfinite(loss):
                raise FloatingPointError("non-finite loss")
            loss.backward()
            if clip_norm is not None:
                grads = [p.grad for p in model.parameters() if p.grad is not None]
                norm = torch.sqrt(sum(g.pow(2).sum() for g in grads))
                if norm > clip_norm:
                    for g in grads:
                        g.mul_(clip_norm / norm)
            optimizer.step()
            optimizer.zero_grad(set_to_none=False)
            running += loss.detach() * labels.size(0)
            n += labels.size(0)
        if n == 0:
            raise ValueError("nothing to train on")
        val_loss, val_accuracy = evaluate(model, val_loader, loss_fn)
        if scheduler is not None:
            scheduler.step()
        history["epoch"].append(float(epoch))
        history["train_loss"].append(float(running / n))
        history["val_loss"].append(val_loss)
        history["val_accuracy"].append(val_accuracy)
        history["lr"].append(lr)
        if val_loss < best:
            best, since = val_loss, 0
            snapshot = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
        else:
            since += 1
    if snapshot:
        model.load_state_dict(snapshot)
    model.train(entered_training)
    return dict(history)
