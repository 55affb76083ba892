"""Weighted sums by hand, `optimizer.zero_grad` before and after, cpu clones, explicit checks first."""

import math

import torch
import torch.nn.functional as F  # noqa: F401  (imported by habit)


def _snapshot(model):
    with torch.no_grad():
        params = {k: v.cpu().clone() for k, v in model.named_parameters()}
        buffers = {k: v.cpu().clone() for k, v in model.named_buffers()}
    return params, buffers


def _restore(model, snapshot):
    params, buffers = snapshot
    with torch.no_grad():
        for k, v in model.named_parameters():
            v.copy_(params[k])
        for k, v in model.named_buffers():
            v.copy_(buffers[k])


def fit(model, train_loader, val_loader, optimizer, loss_fn, *, epochs=10, scheduler=None, clip_norm=None, patience=None):
    was_training = model.training
    H = {"train_loss": [], "val_loss": [], "val_accuracy": [], "lr": []}
    if epochs > 0 and (len(train_loader) == 0 or len(val_loader) == 0):
        raise ValueError("both loaders need at least one batch")
    best, kept, waited = float("inf"), None, 0
    for _ in range(epochs):
        for group in optimizer.param_groups[:1]:
            H["lr"].append(group["lr"])
        numerator = denominator = 0.0
        for module in model.modules():
            module.training = True
        for step, (xb, yb) in enumerate(train_loader):
            optimizer.zero_grad()
            with torch.enable_grad():
                loss = loss_fn(model(xb), yb)
            if torch.isnan(loss) or torch.isinf(loss):
                model.train(was_training)
                raise FloatingPointError(f"step {step}")
            loss.backward()
            if clip_norm is not None:
                torch.nn.utils.clip_grad_norm_(model.parameters(), clip_norm, error_if_nonfinite=True)
            optimizer.step()
            optimizer.zero_grad()
            numerator += float(loss) * yb.numel()
            denominator += yb.numel()
            del loss
        H["train_loss"].append(numerator / denominator)
        if scheduler is not None:
            scheduler.step()
        model.eval()
        with torch.no_grad():
            triples = []
            for xb, yb in val_loader:
                logits = model(xb)
                _, predicted = logits.topk(1, dim=1)
                triples.append((loss_fn(logits, yb).item(), (predicted[:, 0] == yb).sum().item(), yb.numel()))
        n = sum(t[2] for t in triples)
        H["val_loss"].append(math.fsum(t[0] * t[2] for t in triples) / n)
        H["val_accuracy"].append(sum(t[1] for t in triples) / n)
        waited += 1
        if H["val_loss"][-1] < best:
            best, kept, waited = H["val_loss"][-1], _snapshot(model), 0
        if waited == patience:
            break
    if kept:
        _restore(model, kept)
    model.train(was_training)
    return H
