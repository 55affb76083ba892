"""A small trainer object behind fit; copies into a preallocated snapshot; lists the loader inside each epoch."""

from dataclasses import dataclass, field

import torch
from torch import nn


@dataclass
class History:
    train_loss: list = field(default_factory=list)
    val_loss: list = field(default_factory=list)
    val_accuracy: list = field(default_factory=list)
    lr: list = field(default_factory=list)


class Trainer:
    def __init__(self, model, optimizer, loss_fn, scheduler, clip_norm):
        self.model, self.optimizer, self.loss_fn = model, optimizer, loss_fn
        self.scheduler, self.clip_norm = scheduler, clip_norm
        self.device = next(model.parameters()).device
        self.snapshot = None

    def train_step(self, x, y):
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss_fn(self.model.forward(x.to(self.device)), y.to(self.device))
        value = loss.item()
        if not torch.isfinite(loss).all():
            raise FloatingPointError(value)
        loss.backward()
        if self.clip_norm is not None:
            norm = nn.utils.get_total_norm([p.grad for p in self.model.parameters() if p.grad is not None])
            nn.utils.clip_grads_with_norm_(self.model.parameters(), self.clip_norm, norm)
        self.optimizer.step()
        return value * len(x)

    def train_epoch(self, loader):
        self.model.train()
        batches = list(loader)  # small data: one pass, held for this epoch only
        if len(batches) == 0:
            raise ValueError("train_loader is empty")
        return sum(self.train_step(x, y) for x, y in batches) / sum(len(y) for _, y in batches)

    def validate(self, loader):
        self.model.eval()
        scores, truth, loss = [], [], 0.0
        with torch.no_grad():
            for x, y in loader:
                scores.append(self.model(x.to(self.device)))
                truth.append(y.to(self.device))
                loss += self.loss_fn(scores[-1], truth[-1]).item() * len(y)
        if not truth:
            raise ValueError("val_loader is empty")
        scores, truth = torch.cat(scores), torch.cat(truth)
        return loss / len(truth), (scores.argmax(1) == truth).float().mean().item()

    def remember(self):
        state = self.model.state_dict()
        if self.snapshot is None:
            self.snapshot = {k: torch.empty_like(v) for k, v in state.items()}
        for k, v in state.items():
            self.snapshot[k].copy_(v)


def fit(model, train_loader, val_loader, optimizer, loss_fn, *, epochs, scheduler=None, clip_norm=None, patience=None):
    trainer = Trainer(model, optimizer, loss_fn, scheduler, clip_norm)
    was_training, history, best = model.training, History(), (float("inf"), 0)
    for epoch in range(1, epochs + 1):
        history.lr += [optimizer.param_groups[0]["lr"]]
        history.train_loss += [trainer.train_epoch(train_loader)]
        if scheduler is not None:
            scheduler.step()
        loss, accuracy = trainer.validate(val_loader)
        history.val_loss += [loss]
        history.val_accuracy += [accuracy]
        if loss < best[0]:
            best = (loss, epoch)
            trainer.remember()
        elif patience is not None and epoch - best[1] == patience:
            break
    if trainer.snapshot is not None:
        model.load_state_dict(trainer.snapshot)
    model.train(was_training)
    return vars(history)
