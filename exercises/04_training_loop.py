"""A complete training loop: the one function that every PyTorch project ends up writing.

`fit` trains, validates, schedules, clips, stops early and hands the model back with its best weights.
Read it from the bottom: `fit` holds the decisions made once per epoch, the two phases above it hold what
happens once per batch.
"""

import copy
import math

import torch


def train_phase(model, loader, optimizer, loss_fn, clip_norm=None):
    """One pass of updates over `loader`; returns the mean training loss per example, a float."""
    raise NotImplementedError(
        "TODO: one update per batch; return the mean training loss per example"
    )


def validation_phase(model, loader, loss_fn):
    """Measure without changing anything; returns (mean loss per example, accuracy), two floats."""
    raise NotImplementedError("TODO: no updates, no graph; return the mean loss and the accuracy")


def fit(
    model,
    train_loader,
    val_loader,
    optimizer,
    loss_fn,
    *,
    epochs,
    scheduler=None,
    clip_norm=None,
    patience=None,
):
    """Train `model` and leave it with the weights of its best epoch.

    Returns a dict of four lists, one Python float per epoch that ran:
    "train_loss", "val_loss", "val_accuracy" (0 to 1) and "lr" (the rate this epoch trained with).
    Raises ValueError for an empty loader, FloatingPointError for a training loss that isn't finite.
    """
    raise NotImplementedError(
        "TODO: per epoch: train, validate, schedule, keep the best, maybe stop"
    )
