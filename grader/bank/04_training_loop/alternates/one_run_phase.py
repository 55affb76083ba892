"""One helper for both phases, with set_grad_enabled; the checkpoint as bytes in memory; zero_grad late."""

import io

import numpy as np
import torch
from torch.nn.utils import clip_grad_norm_


def run_phase(model, loader, loss_fn, optimizer=None, clip_norm=None):
    training = optimizer is not None
    model.train(training)
    total_loss = total_correct = total = 0
    with torch.set_grad_enabled(training):
        for batch_inputs, batch_targets in loader:
            logits = model(batch_inputs)
            loss = loss_fn(logits, batch_targets)
            if training:
                if not np.isfinite(loss.item()):
                    raise FloatingPointError(f"loss = {loss.item()}")
                optimizer.zero_grad()  # anywhere before backward will do
                loss.backward()
                if clip_norm is not None:
                    clip_grad_norm_(model.parameters(), max_norm=clip_norm)
                optimizer.step()
            n = batch_targets.shape[0]
            total_loss += loss.detach().item() * n
            total_correct += logits.detach().argmax(-1).eq(batch_targets).sum().item()
            total += n
    if not total:
        raise ValueError("empty loader")
    return float(total_loss / total), total_correct / total


class EarlyStopping:
    """Remembers the best loss and its weights, and says when enough is enough."""

    def __init__(self, patience):
        self.patience, self.best, self.count, self.bytes = patience, None, 0, None

    def update(self, loss, model):
        if not np.isnan(loss) and (self.best is None or loss < self.best):
            self.best, self.count = loss, 0
            buffer = io.BytesIO()
            torch.save(model.state_dict(), buffer)
            self.bytes = buffer.getvalue()
        else:
            self.count += 1
        return self.patience is not None and self.count >= self.patience

    def restore(self, model):
        if self.bytes is not None:
            model.load_state_dict(torch.load(io.BytesIO(self.bytes)))


def fit(model, train_loader, val_loader, optimizer, loss_fn, *, epochs, scheduler=None, clip_norm=None, patience=None):
    before = model.training
    stopper = EarlyStopping(patience)
    train_losses, val_losses, val_accuracies, lrs = [], [], [], []
    try:
        for epoch in range(1, epochs + 1):
            lrs.append(scheduler.get_last_lr()[0] if scheduler else optimizer.param_groups[0]["lr"])
            train_loss, _ = run_phase(model, train_loader, loss_fn, optimizer, clip_norm)
            val_loss, val_accuracy = run_phase(model, val_loader, loss_fn)
            train_losses.append(train_loss)
            val_losses.append(val_loss)
            val_accuracies.append(val_accuracy)
            print(f"epoch {epoch}: train {train_loss:.4f}  val {val_loss:.4f}  acc {val_accuracy:.3f}")
            stop = stopper.update(val_loss, model)
            if scheduler is not None:
                scheduler.step()
            if stop:
                break
        stopper.restore(model)
    finally:
        model.train(before)
    return {"train_loss": train_losses, "val_loss": val_losses, "val_accuracy": val_accuracies, "lr": lrs}
