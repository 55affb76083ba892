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
    # solution: begin one update per batch; return the mean training loss per example
    model.train()  # dropout drops, batch norm uses the batch's own statistics
    total, seen = 0.0, 0
    for inputs, targets in loader:
        # First, so that nothing left on .grad, by the last batch or by the caller, joins this update.
        optimizer.zero_grad()
        outputs = model(inputs)  # (N, K)
        loss = loss_fn(outputs, targets)  # (), the mean over this batch
        # Before backward: one update with NaN gradients would turn every weight into NaN.
        if not torch.isfinite(loss):
            raise FloatingPointError(f"the training loss is {loss.item()}; try a smaller learning rate")
        loss.backward()
        if clip_norm is not None:
            # One norm over all parameters: the step gets shorter and keeps its direction.
            torch.nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
        optimizer.step()
        # .item() leaves the graph behind; the weight makes a short last batch count for its size only.
        total += loss.item() * len(targets)
        seen += len(targets)
    if seen == 0:
        raise ValueError("train_loader gave no batches")
    return total / seen
    # solution: end


def validation_phase(model, loader, loss_fn):
    """Measure without changing anything; returns (mean loss per example, accuracy), two floats."""
    # solution: begin no updates, no graph; return the mean loss and the accuracy
    model.eval()  # dropout is off, batch norm uses its running statistics and leaves them alone
    loss_sum, correct, count = 0.0, 0, 0
    with torch.no_grad():  # eval() is about layers, no_grad() about the graph: neither implies the other
        for inputs, targets in loader:
            outputs = model(inputs)
            loss_sum += loss_fn(outputs, targets).item() * len(targets)
            correct += (outputs.argmax(dim=1) == targets).sum().item()
            count += len(targets)
    if count == 0:
        raise ValueError("val_loader gave no batches")
    return loss_sum / count, correct / count
    # solution: end


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
    # solution: begin per epoch: train, validate, schedule, keep the best, maybe stop
    was_training = model.training
    history = {"train_loss": [], "val_loss": [], "val_accuracy": [], "lr": []}
    best_loss, best_state, bad_epochs = math.inf, None, 0

    for _ in range(epochs):
        history["lr"].append(optimizer.param_groups[0]["lr"])  # before the scheduler changes it
        train_loss = train_phase(model, train_loader, optimizer, loss_fn, clip_norm)
        val_loss, val_accuracy = validation_phase(model, val_loader, loss_fn)
        if scheduler is not None:
            scheduler.step()  # once per epoch, after the optimizer's steps
        history["train_loss"].append(train_loss)
        history["val_loss"].append(val_loss)
        history["val_accuracy"].append(val_accuracy)

        # A strict comparison: a tie keeps the earlier epoch, and NaN is never an improvement.
        if val_loss < best_loss:
            best_loss, bad_epochs = val_loss, 0
            # state_dict() hands out the live tensors; without a copy the "best" would go on training.
            # It holds the buffers too, which batch norm needs as much as its weights.
            best_state = copy.deepcopy(model.state_dict())
        else:
            bad_epochs += 1
        if patience is not None and bad_epochs >= patience:
            break

    if best_state is not None:  # None after zero epochs, or when no validation loss was a number
        model.load_state_dict(best_state)
    model.train(was_training)
    return history
    # solution: end
