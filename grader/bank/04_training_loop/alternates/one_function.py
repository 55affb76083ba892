"""Everything in one function; deepcopy of the whole model; gradients dropped by hand; torch metrics."""

from copy import deepcopy

import torch
from torch import nn


def fit(
    model: nn.Module,
    train_loader,
    val_loader,
    optimizer,
    loss_fn,
    *,
    epochs: int,
    scheduler=None,
    clip_norm: float | None = None,
    patience: int | None = None,
):
    mode = model.training
    keys = ["train_loss", "val_loss", "val_accuracy", "lr"]
    history = dict((key, []) for key in keys)
    best_model, best_epoch = None, -1
    for epoch in range(epochs):
        lr = optimizer.param_groups[0]["lr"]

        model.train()
        losses, sizes = [], []
        for x, y in train_loader:
            for p in model.parameters():
                p.grad = None
            loss = loss_fn(model(x), y)
            losses.append(loss.item())
            sizes.append(x.shape[0])
            if losses[-1] != losses[-1] or abs(losses[-1]) == float("inf"):
                raise FloatingPointError("loss diverged in epoch %d" % epoch)
            loss.backward()
            if clip_norm:
                nn.utils.clip_grad_norm_([p for p in model.parameters() if p.grad is not None], clip_norm)
            optimizer.step()
        if not sizes:
            raise ValueError("empty train loader")
        train_loss = sum(a * b for a, b in zip(losses, sizes)) / sum(sizes)

        # scheduler before validation is fine: the optimizer has made all its steps
        if scheduler:
            scheduler.step()

        model.eval()
        val_losses, hits, sizes = [], 0, []
        with torch.inference_mode():
            for x, y in val_loader:
                logits = model(x)
                val_losses.append(float(loss_fn(logits, y)))
                hits += int((logits.max(dim=-1).indices == y).sum())
                sizes.append(len(x))
        if not sizes:
            raise ValueError("empty validation loader")
        val_loss = sum(a * b for a, b in zip(val_losses, sizes)) / sum(sizes)

        for key, value in zip(keys, (train_loss, val_loss, hits / sum(sizes), lr)):
            history[key].append(value)

        earlier = [v for v in history["val_loss"][:-1] if v == v]
        if val_loss == val_loss and (not earlier or val_loss < min(earlier)):
            best_epoch, best_model = epoch, deepcopy(model)
        if patience is not None and epoch - best_epoch >= patience:
            break

    if best_model is not None:
        model.load_state_dict(best_model.state_dict())
    model.train(mode)
    return history
