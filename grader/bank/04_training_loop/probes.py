"""Evidence about a training loop: what real loaders, models, optimizers and schedulers saw while `fit` ran.

Nothing here replaces a part of PyTorch. The models note how they are called, a small autograd Function on their
output notes the backward pass, the optimizer's own step hooks note the gradients and the weights.
"""

import gc
import weakref

import torch
import torch.nn.functional as F
from torch import nn


class Recorder:
    """What happened during one call of `fit`, in order. A deep copy of a model shares its recorder."""

    def __init__(self):
        self.events = []
        self.owner = {}  # data pointer of an input -> (phase, batch's number, the pass it came in)
        self.last = ("nothing", -1, -1)
        self.alive = weakref.WeakSet()
        self.model = None

    def __deepcopy__(self, memo):
        return self

    def add(self, kind, **details):
        self.events.append({"kind": kind, **details})

    def gradients_empty(self):
        return all(p.grad is None or not bool(p.grad.any()) for p in self.model.parameters())


class Loader:
    """A re-iterable loader; pass number i yields `passes[i]` (the last one again, when there are no more)."""

    def __init__(self, recorder, phase, passes):
        self.recorder, self.phase, self.passes, self.begun = recorder, phase, passes, 0

    def __len__(self):
        return len(self.passes[min(self.begun, len(self.passes) - 1)])

    def __iter__(self):
        number = self.begun
        self.begun += 1
        self.recorder.add("iterate", phase=self.phase, epoch=number)
        return self._batches(number)

    def _batches(self, number):
        for index, (inputs, targets) in enumerate(self.passes[min(number, len(self.passes) - 1)]):
            inputs, targets = inputs.clone(), targets.clone()
            self.recorder.last = (self.phase, number, index)
            self.recorder.owner[inputs.data_ptr()] = (self.recorder.last, inputs)
            yield inputs, targets


class Token:
    """Lives exactly as long as the graph of one forward pass."""


class Mark(torch.autograd.Function):
    """The identity; its node in the graph tells when backward arrives and how long the graph lives."""

    @staticmethod
    def forward(ctx, outputs, recorder, token):
        ctx.recorder, ctx.token = recorder, token
        return outputs.clone()

    @staticmethod
    def backward(ctx, gradient):
        ctx.recorder.add("backward", clean=ctx.recorder.gradients_empty())
        return gradient, None, None


class Observed(nn.Module):
    """Notes phase, mode and grad mode of every forward pass; `scores` holds the model proper."""

    def __init__(self, recorder):
        super().__init__()
        self.recorder = recorder

    def forward(self, inputs):
        recorder = self.recorder
        known = recorder.owner.get(inputs.data_ptr())
        phase, epoch, batch = known[0] if known else recorder.last
        if len(recorder.alive) > 3:
            gc.collect()
        modes = {module.training for module in self.modules()}
        recorder.add(
            "forward",
            phase=phase,
            epoch=epoch,
            batch=batch,
            mode="mixed" if len(modes) > 1 else "train" if modes.pop() else "eval",
            grad=torch.is_grad_enabled(),
            alive=len(recorder.alive),
        )
        outputs = self.scores(inputs)
        if torch.is_grad_enabled():
            token = Token()
            recorder.alive.add(token)
            outputs = Mark.apply(outputs, recorder, token)
        return outputs

    def zero_grad(self, *args, **kwargs):
        self.recorder.add("zero_grad")
        return super().zero_grad(*args, **kwargs)


class Perceptron(Observed):
    """Two linear layers with a tanh between them: inputs (N, D), scores (N, K)."""

    def __init__(self, recorder, weights):
        super().__init__(recorder)
        hidden, features = weights["first.weight"].shape
        self.first = nn.Linear(features, hidden)
        self.second = nn.Linear(hidden, weights["second.weight"].shape[0])

    def scores(self, inputs):
        return self.second(torch.tanh(self.first(inputs)))


class ConvNet(Observed):
    """One convolution and one linear layer: inputs (N, C, H, W), scores (N, K)."""

    def __init__(self, recorder, weights):
        super().__init__(recorder)
        channels, colours, size, _ = weights["first.weight"].shape
        classes, features = weights["second.weight"].shape
        self.first = nn.Conv2d(colours, channels, size)
        self.second = nn.Linear(features, classes)

    def scores(self, inputs):
        return self.second(torch.tanh(self.first(inputs)).flatten(1))


MODELS = {"perceptron": Perceptron, "conv": ConvNet}


def squares(outputs, targets):
    """Squared distance between the scores and the one-hot target, mean over the batch.

    Unlike cross-entropy it changes when all scores of an example are shifted, as log_softmax does.
    """
    wanted = F.one_hot(targets, outputs.shape[1]).to(outputs.dtype)
    return (outputs - wanted).square().sum(1).mean()


def per_foreground(outputs, targets):
    """Cross-entropy per example that isn't class 0; a batch of class 0 alone divides by zero."""
    return F.cross_entropy(outputs, targets, reduction="sum") / (targets > 0).sum()


def nothing(outputs, targets):
    """Exactly 0, with gradients of 0."""
    return 0 * outputs.sum()


LOSSES = {
    "nothing": nothing,
    "cross_entropy": nn.CrossEntropyLoss(),
    "smoothed": nn.CrossEntropyLoss(label_smoothing=0.2),
    "squares": squares,
    "per_foreground": per_foreground,
}


def plain(history):
    """A dict or a subclass of it as a plain dict; anything else as it is."""
    return dict(history) if isinstance(history, dict) else history


def build(spec):
    """The model with the given weights, its recorder and its optimizer."""
    recorder = Recorder()
    model = MODELS[spec.get("model", "perceptron")](recorder, spec["weights"])
    model.to(spec["weights"]["first.weight"].dtype)
    nn.Module.load_state_dict(model, spec["weights"])
    for name in spec.get("frozen", []):
        model.get_parameter(name).requires_grad_(False)
    model.train(spec.get("start_in_train_mode", True))
    recorder.model = model
    groups = [{"params": list(model.parameters())}]
    if "second_lr" in spec:
        groups = [{"params": [*model.first.parameters()]}, {"params": [*model.second.parameters()]}]
        groups[1]["lr"] = spec["second_lr"]
    optimizer = torch.optim.SGD(groups, lr=spec["lr"], momentum=spec.get("momentum", 0.0))
    return recorder, model, optimizer


def watch_steps(recorder, model, optimizer):
    """Through the optimizer's own hooks: the gradients just before each step, the weights just after."""
    steps = []

    def before(_, args, kwargs):
        recorder.add("step", empty=recorder.gradients_empty())
        gradients = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
        steps.append({"lr": optimizer.param_groups[0]["lr"], "gradients": gradients})

    def after(_, args, kwargs):
        steps[-1]["weights"] = {n: p.detach().clone() for n, p in model.named_parameters()}

    clear = optimizer.zero_grad

    def zero_grad(*args, **kwargs):
        recorder.add("zero_grad")
        return clear(*args, **kwargs)

    optimizer.zero_grad = zero_grad
    optimizer.register_step_pre_hook(before)
    optimizer.register_step_post_hook(after)
    return steps


def watch_scheduler(recorder, optimizer, factors):
    """A real LambdaLR over the given factors, whose calls of step() are noted."""

    def factor(epoch):
        return factors[max(0, min(int(epoch), len(factors) - 1))]

    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    original = scheduler.step

    def step(*args, **kwargs):
        recorder.add("scheduler", arguments=len(args) + len(kwargs))
        return original(*args, **kwargs)

    scheduler.step = step
    return scheduler


def observe(candidate, *specs):
    """Run `fit` once per spec; returns one report per spec."""
    return [_observe(candidate, spec) for spec in specs]


def _observe(candidate, spec):
    recorder, model, optimizer = build(spec)
    if spec.get("stale") is not None:
        for parameter in model.parameters():
            parameter.grad = torch.full_like(parameter, spec["stale"])
    scheduler = None
    if spec.get("factors") is not None:
        scheduler = watch_scheduler(recorder, optimizer, spec["factors"])
    steps = watch_steps(recorder, model, optimizer)
    trainable = [p.requires_grad for p in model.parameters()]
    options = {key: spec[key] for key in ("clip_norm", "patience") if key in spec}
    if scheduler is not None:
        options["scheduler"] = scheduler
    report = attempt(
        candidate.fit,
        model,
        Loader(recorder, "train", spec["train"]),
        Loader(recorder, "val", spec["val"]),
        optimizer,
        LOSSES[spec.get("loss", "cross_entropy")],
        epochs=spec["epochs"],
        raises=spec.get("may_raise", False),
        **options,
    )
    weights = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    return report | {
        "events": recorder.events,
        "steps": steps,
        "weights": weights,
        "left": {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None},
        "training": model.training,
        "modes_agree": len({module.training for module in model.modules()}) == 1,
        "grad_enabled": torch.is_grad_enabled(),
        "trainable_kept": trainable == [p.requires_grad for p in model.parameters()],
    }


def attempt(function, *args, raises, **kwargs):
    """The history, or the exception's class names when this case expects one.

    `raises` is True for any exception, or a part of the message. What isn't expected goes on to the learner.
    """
    try:
        return {"history": plain(function(*args, **kwargs)), "raised": None}
    except NotImplementedError:
        raise
    except Exception as problem:
        if not (raises is True or (raises and raises in str(problem))):
            raise
        kinds = [kind.__name__ for kind in type(problem).__mro__]
        return {"history": None, "raised": {"kinds": kinds, "message": str(problem)[:300]}}


class Scripted(nn.Module):
    """A model whose validation loss is what the input says and whose weight counts the steps taken.

    Inputs are (N, 2): the first column is added to the score of class 0, the second multiplies the weight.
    Training batches hold (offset, 1): the loss is `offset + weight`, a step with rate 1 lowers the weight by one.
    Validation batches hold (loss, 0). The batch norm layer has no say in the result; it counts training batches.
    """

    def __init__(self, log):
        super().__init__()
        self.log = log
        self.weight = nn.Parameter(torch.zeros(()))
        self.norm = nn.BatchNorm1d(1)

    def forward(self, inputs):
        nothing = 0 * self.norm(inputs[:, 1:]).sum(1)
        first = inputs[:, 0] + self.weight * inputs[:, 1] + nothing
        return torch.stack([first, torch.zeros_like(first)], dim=1)

    def load_state_dict(self, *args, **kwargs):
        self.log.append("load")
        return super().load_state_dict(*args, **kwargs)


def first_score(outputs, targets):
    """The mean score of class 0 as loss."""
    return outputs[:, 0].mean()


def scripted(candidate, *cases):
    """Run `fit` once per case of validation losses (and hits: is the prediction right?) by epoch."""
    return [_scripted(candidate, case) for case in cases]


def _scripted(candidate, case):
    log = []
    model = Scripted(log)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    losses = case["losses"]
    hits = case.get("hits", [True] * len(losses))
    recorder = Recorder()
    training = []
    for offset in case.get("offsets", [0.0]):
        batch = (torch.tensor([[offset, 1.0], [offset, 1.0]]), torch.tensor([0, 0]))
        training.append([batch, batch])
    train = Loader(recorder, "train", training)
    passes = []
    for loss, hit in zip(losses, hits, strict=True):
        predicted = 0 if loss > 0 else 1
        target = predicted if hit else 1 - predicted
        passes.append([(torch.tensor([[loss, 0.0], [loss, 0.0]]), torch.tensor([target, target]))])
    options = {"patience": case["patience"]} if "patience" in case else {}
    history = candidate.fit(
        model,
        train,
        Loader(recorder, "val", passes),
        optimizer,
        first_score,
        epochs=case.get("epochs", len(losses)),
        **options,
    )
    return {
        "history": plain(history),
        "epochs_run": train.begun,
        "weights_of_epoch": -float(model.weight.detach()) / 2,
        "buffers_of_epoch": float(model.norm.num_batches_tracked) / 2,
        "loads": len(log),
    }


def learn(candidate, train, train_labels, val, val_labels, held_out, epochs):
    """Train a real small network on real loaders; returns history, validation logits and held-out logits."""
    model = nn.Sequential(
        nn.Linear(2, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 2)
    )
    data = torch.utils.data
    train_loader = data.DataLoader(data.TensorDataset(train, train_labels), batch_size=32, shuffle=True)
    val_loader = data.DataLoader(data.TensorDataset(val, val_labels), batch_size=64)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    history = candidate.fit(
        model, train_loader, val_loader, optimizer, nn.CrossEntropyLoss(), epochs=epochs, clip_norm=5.0
    )
    model.eval()
    with torch.no_grad():
        return {"history": plain(history), "val": model(val), "held_out": model(held_out)}
