"""What the worker runs next to the learner's code: calls it, watches it, and returns plain evidence."""

import contextlib

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.parameter import is_lazy
from torch.overrides import TorchFunctionMode

from grader.checking import probing

# --- normalize -----------------------------------------------------------------------------------------


def normalized(candidate, *batches):
    """The result of `normalize` for each batch, and the batches afterwards."""
    return {"out": [candidate.normalize(batch) for batch in batches], "inputs": list(batches)}


# --- CNN -----------------------------------------------------------------------------------------------


def logits_for_sizes(candidate, images, sizes):
    """The logits of one untrained network for batches of each size, in both modes."""
    model = candidate.CNN()
    rows = []
    for training in (False, True):
        model.train(training)
        for size in sizes:
            if training and size == 1:
                continue  # a batch norm over one value per channel raises, and rightly so
            rows.append({"size": size, "training": training, **probing.outcome(model, images[:size])})
    return rows


def new(candidate):
    """A new network; one with lazy layers has met an image, so that its parameters are there."""
    model = candidate.CNN()
    if any(is_lazy(value) for value in (*model.parameters(), *model.buffers())):
        with torch.no_grad():
            model.eval()(torch.zeros(1, 3, 32, 32))
        model.train()
    return model


def fresh(candidate):
    """A new network in eval mode, its matrices and kernels nudged: a last layer may rightly start at zero."""
    model = new(candidate).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter += 0.02 * torch.randn_like(parameter)
    return model


def is_module(candidate):
    return isinstance(candidate.CNN(), nn.Module)


def logits_of_strong_weights(candidate, images, factor):
    """Eval-mode logits of a fresh network, again with matrices and kernels `factor` times larger, then in training."""
    model = fresh(candidate)
    with torch.no_grad():
        mild = model(images)
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter *= factor
        return mild, model(images), model.train()(images)


def company(candidate, images, row):
    """Logits of a batch, of its images one by one, and the gradient of one row with respect to all images."""
    model = fresh(candidate)
    images = images.clone().requires_grad_()
    together = model(images)
    gradient = None
    if together.requires_grad:
        (gradient,) = torch.autograd.grad(together[row].square().sum(), images, allow_unused=True)
    with torch.no_grad():
        again = model(images)
        alone = [model(images[i : i + 1]) for i in range(len(images))]
    gradient = torch.zeros_like(images) if gradient is None else gradient
    return {"together": together, "again": again, "alone": alone, "gradient": gradient}


def gradients(candidate, images, labels):
    """Largest gradient of each parameter after three plain steps (so that zero-initialised scales are past zero)."""
    model = candidate.CNN().train()
    for step in range(4):
        model.zero_grad(set_to_none=True)
        F.cross_entropy(model(images), labels).backward()
        if step < 3:
            with torch.no_grad():
                for parameter in model.parameters():
                    if parameter.grad is not None:
                        parameter -= 0.05 * parameter.grad
    return [
        {
            "name": name,
            "axes": parameter.ndim,
            "trainable": parameter.requires_grad,
            "largest": None if parameter.grad is None else float(parameter.grad.abs().max()),
        }
        for name, parameter in model.named_parameters()
    ]


def transplanted(candidate, images):
    """Logits of a network and of another one that got its state_dict."""
    first, second = fresh(candidate), candidate.CNN().eval()
    with torch.no_grad():
        second.load_state_dict(first.state_dict())
        return {"first": first(images), "second": second(images)}


def first_weights(candidate):
    """All matrices and kernels of two new networks, one after the other."""
    return [
        torch.cat([parameter.detach().flatten() for parameter in new(candidate).parameters() if parameter.ndim > 1])
        for _ in range(2)
    ]


class AveragePooling(TorchFunctionMode):
    """Runs max pooling as average pooling, which is linear; all else stays as it is."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        if name in ("max_pool2d", "max_pool2d_with_indices", "_max_pool2d"):
            names = ("input", "kernel_size", "stride", "padding")
            given = {**dict(zip(names, args, strict=False)), **kwargs}
            return F.avg_pool2d(*(given[n] for n in ("input", "kernel_size")), given.get("stride") or None,
                                given.get("padding", 0))
        if name in ("adaptive_max_pool2d", "adaptive_max_pool2d_with_indices"):
            return F.adaptive_avg_pool2d(args[0], args[1] if len(args) > 1 else kwargs["output_size"])
        return func(*args, **kwargs)


REARRANGING = ("View", "Reshape", "UnsafeView", "T", "Transpose", "Permute", "Squeeze", "Unsqueeze", "Clone",
               "NativeBatchNorm")
MATRIX_PRODUCTS = ("Addmm", "Mm", "Linear")


def collapsing_layers(result):
    """How many linear layers read another linear layer with nothing non-linear in between."""

    def kind(node):
        return node.name().split("Backward")[0].split("::")[-1]

    def feeds_from_product(node):
        for parent, _ in node.next_functions:
            if parent is None:
                continue
            if kind(parent) in MATRIX_PRODUCTS or (kind(parent) in REARRANGING and feeds_from_product(parent)):
                return True
        return False

    seen, queue, count = set(), [result.grad_fn], 0
    while queue:
        node = queue.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        count += kind(node) in MATRIX_PRODUCTS and feeds_from_product(node)
        queue += [parent for parent, _ in node.next_functions]
    return count


def bends(candidate, first, second):
    """Logits at two points and half way between them, with pooling made linear."""
    model = fresh(candidate)
    with torch.no_grad(), AveragePooling():
        ends = model(first), model(second)
        middle = model((first + second) / 2)
    return {"first": ends[0], "second": ends[1], "middle": middle, "collapsing": collapsing_layers(model(first))}


def fresh_logits(candidate, images, count):
    """Logits of `count` fresh networks in training mode, as in the first step of training."""
    with torch.no_grad():
        return [candidate.CNN().train()(candidate.normalize(images)) for _ in range(count)]


# --- predict and train, watched ------------------------------------------------------------------------


class Watched(nn.Module):
    """A small model whose logits depend on an image's mean colour, and which notes what happens to it.

    `fickle` adds batch norm and dropout, so that training mode changes what it answers.
    """

    def __init__(self, weight, bias, fickle=False):
        super().__init__()
        self.mix = nn.Linear(3, 3)
        self.norm = nn.BatchNorm2d(3) if fickle else nn.Identity()
        self.drop = nn.Dropout(0.5) if fickle else nn.Identity()
        self.head = nn.Linear(3, 10)
        with torch.no_grad():
            self.mix.weight.copy_(torch.eye(3))
            self.mix.bias.zero_()
            self.head.weight.copy_(weight)
            self.head.bias.copy_(bias)
        self.notes = []

    def forward(self, x):
        if x.ndim != 4 or tuple(x.shape[1:]) != (3, 32, 32):
            raise ValueError(f"a model for N×3×32×32 was called with {'×'.join(map(str, x.shape))}")
        if x.dtype != torch.float32:
            raise TypeError(f"a model for float32 images was called with {x.dtype}")
        note = {
            "count": len(x),
            # The middle of the image, so that shifts and flips don't matter.
            "colours": x.detach()[:, :, 12:20, 12:20].flatten(2).median(2).values.clone(),
            "edge": x.detach()[:, :, 12:20, 4:6].flatten(2).median(2).values.clone(),
            "training": self.training,
            "layers_training": all(layer.training for layer in self.modules()),
            "recording": torch.is_grad_enabled(),
        }
        pooled = self.norm(x).mean((2, 3))
        features = self.drop(self.mix(pooled))
        logits = self.head(features)
        for name, value in (("pooled", pooled), ("features", features), ("logits", logits)):
            note[name] = value.detach().clone()
        note["head"] = self.head.weight.detach().clone()
        if logits.requires_grad:
            logits.register_hook(lambda gradient: note.update(gradient=gradient.detach().clone()))
        self.notes.append(note)
        return logits


def predictions(candidate, weight, bias, *image_sets):
    """For each set of images: what `predict` returned, and how the model was used meanwhile."""
    rows = []
    for images in image_sets:
        model = Watched(weight, bias).eval()
        rows.append({"classes": candidate.predict(model, images), "uses": model.notes})
    return rows


class Pixels(nn.Module):
    """Its logits are the first ten pixels of the top row, in red: it sees every shift and flip."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x):
        return self.scale * x[:, 0, 0, :10]


def predictions_of_pixels(candidate, images):
    """What `predict` says with a model that reads single pixels."""
    return candidate.predict(Pixels().eval(), images)


def predictions_by_mode(candidate, weight, bias, images):
    """`predict` on a model with batch norm and dropout that comes in training mode, then in eval mode."""
    rows = []
    for training in (True, False):
        model = Watched(weight, bias, fickle=True).train(training)
        before = probing.buffers(model)
        classes = [candidate.predict(model, images), candidate.predict(model, images)]
        rows.append({
            "came_in": training,
            "left_in": model.training,
            "parts_left_in": [part.training for part in (model.norm, model.drop, model.head)],
            "recording_afterwards": torch.is_grad_enabled(),
            "classes": classes,
            "uses": model.notes,
            "buffers_before": before,
            "buffers_after": probing.buffers(model),
        })
    return rows


@contextlib.contextmanager
def watched_steps(after_step, before_step=None):
    """Call `after_step` with the optimizer after each `step()` of every torch.optim optimizer.

    `before_step` is called before it, and told whether the step calls a closure that does the backward pass.
    """
    from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

    def before(optimizer, args, kwargs):
        if before_step is not None:
            before_step(closure=len(args) > 1 or kwargs.get("closure") is not None)

    def after(optimizer, args, kwargs):
        after_step(optimizer)

    handles = register_optimizer_step_pre_hook(before), register_optimizer_step_post_hook(after)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def highest_rate(optimizer):
    return max(float(group["lr"]) for group in optimizer.param_groups)


def training(candidate, weight, bias, images, labels, epochs):
    """Everything that `train` did to a watched model, which comes in eval mode."""
    model = Watched(weight, bias).eval()
    before = probing.parameters(model)
    optimizers, steps, found = [], [], {}

    def look(closure):
        # Before the step: some optimizers use the gradients' memory for other numbers.
        found["gradients"] = None if closure else probing.gradients(model)

    def note(optimizer):
        if all(optimizer is not known for known in optimizers):
            optimizers.append(optimizer)
        steps.append({
            "optimizer": next(i for i, known in enumerate(optimizers) if known is optimizer),
            "forwards": len(model.notes),
            "gradients": found.pop("gradients", None) or probing.gradients(model),
        })

    with watched_steps(note, look):
        candidate.train(model, images, labels, epochs)
    return {"uses": model.notes, "steps": steps, "before": before, "after": probing.parameters(model),
            "images_after": images, "labels_after": labels}


def learning_rates(candidate, weight, bias, images, labels, lengths):
    """The learning rate of each step, for runs of (number of images, epochs)."""
    runs = []
    for count, epochs in lengths:
        rates = []
        with watched_steps(lambda optimizer, rates=rates: rates.append(highest_rate(optimizer))):
            candidate.train(Watched(weight, bias), images[:count], labels[:count], epochs)
        runs.append(rates)
    return runs


# --- real training -------------------------------------------------------------------------------------


@contextlib.contextmanager
def counted(model, total):
    """Count the examples that go through `model`, reporting progress with the loss of each backward pass."""
    seen = {"examples": 0}
    genuine = torch.Tensor.backward

    def count(module, args):
        seen["examples"] += len(args[0])

    def backward(self, *args, **kwargs):
        probing.progress(seen["examples"], total, float(self.detach().mean()))
        return genuine(self, *args, **kwargs)

    handle = model.register_forward_pre_hook(count)
    torch.Tensor.backward = backward
    try:
        yield seen
    finally:
        torch.Tensor.backward = genuine
        handle.remove()


def running_statistics(model):
    """What the norms of a model remember of the batches; empty where they remember nothing."""
    return {
        name: value
        for name, value in probing.buffers(model).items()
        if name.rpartition(".")[2] in ("running_mean", "running_var")
    }


def by_heart(candidate, images, labels, epochs):
    """Logits, in both modes, for the images on which `train` has trained a fresh network; statistics before, after."""
    model = new(candidate)
    before = running_statistics(model)
    with counted(model, epochs * len(images)):
        candidate.train(model, images, labels, epochs)
    after = running_statistics(model)
    with torch.no_grad():
        images = candidate.normalize(images)
        logits = {"eval": model.eval()(images), "train": model.train()(images)}
    return {**logits, "statistics_before": before, "statistics_after": after}


def unseen(candidate, images, labels, epochs, unseen_images):
    """Class ids of unseen images after `train`, and the number of examples that went through the network."""
    model = candidate.CNN()
    with counted(model, epochs * len(images)) as seen:
        candidate.train(model, images, labels, epochs)
    return {"examples": seen["examples"], "classes": candidate.predict(model, unseen_images)}
