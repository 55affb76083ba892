"""Evidence for 01_mnist_cnn, gathered next to the candidate's code. Nothing here judges or knows an answer."""

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader, SubsetRandomSampler, TensorDataset

from grader.checking import probing

# --- the network -----------------------------------------------------------------------------------------


class OpTrace(TorchDispatchMode):
    """Records the name and the output shape of every tensor operation that runs inside it.

    `weights` are the addresses of what convolutions and matrix products were given as weights.
    """

    WEIGHT_AT = {"convolution": 1, "addmm": 2, "mm": 1}

    def __init__(self):
        super().__init__()
        self.steps, self.weights = [], set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        first = result[0] if isinstance(result, (tuple, list)) and result else result
        shape = list(first.shape) if isinstance(first, torch.Tensor) else []
        name = func.overloadpacket.__name__
        self.steps.append([name, shape])
        if name in self.WEIGHT_AT:
            self.weights.add(args[self.WEIGHT_AT[name]].untyped_storage().data_ptr())
        return result


def where_in(candidate, error):
    """The deepest line of the candidate's own file on the way to the error: "line 27: x = x.view(…)"."""
    place, step = "", error.__traceback__
    while step is not None:
        if step.tb_frame.f_globals.get("__name__") == candidate.__name__:
            place = f"line {step.tb_lineno}"
        step = step.tb_next
    return place


def forward_each(candidate, batches):
    """The same model, in eval mode, on each batch by itself: logits, or what it raised; and the operations."""
    model = candidate.SimpleCNN()
    if not isinstance(model, nn.Module):
        return {"is_module": False, "type": type(model).__name__}
    model.eval()
    cases = []
    for images in batches:
        case = {"batch": len(images)}
        with OpTrace() as trace:
            try:
                case["logits"] = model(images)
            except NotImplementedError:
                raise
            except Exception as error:
                case["raised"], case["message"] = type(error).__name__, str(error)
                case["line"] = where_in(candidate, error)
        case["steps"] = trace.steps
        cases.append(case)
    model.train()
    return {"is_module": True, "cases": cases, "train_logits": model(batches[0]) if "logits" in cases[0] else None}


def logits(candidate, images):
    """One plain forward pass in eval mode: for the judge to let an error speak for itself."""
    model = candidate.SimpleCNN()
    model.eval()
    return model(images)


def operations(candidate, images):
    """Name and output shape of each tensor operation of a forward pass in eval mode."""
    model = candidate.SimpleCNN()
    model.eval()
    with OpTrace() as trace:
        model(images)
    return trace.steps


def stirred(model):
    """The model with a little noise on all parameters: one whose last layer starts at zero answers zero to anything."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return model


def companions(candidate, images, row):
    """What image `row` gives with its companions and alone, twice, and whose pixels its logits depend on."""
    model = stirred(candidate.SimpleCNN())
    model.eval()
    together, again = model(images.clone()), model(images.clone())
    watched = images.clone().requires_grad_()
    outputs = model(watched * 1.0)  # times one: an in-place forward may not touch a leaf
    weighted = (outputs[row] * torch.arange(1, outputs.shape[1] + 1)).sum()  # the plain sum of a softmax is constant
    gradient = None
    if weighted.requires_grad:
        gradient = torch.autograd.grad(weighted, watched, allow_unused=True)[0]
    alone = model(images[row:row + 1].clone())
    given = images.clone()
    model(given)
    return {
        "together": together,
        "again": again,
        "alone": alone,
        "flipped": model(images.flip(0).contiguous()),
        "gradient": torch.zeros_like(images) if gradient is None else gradient,
        "image_after": given,
    }


def logits_at_two_scales(candidate, images, factor):
    """Logits of a fresh model, and of the same one, stirred, with every parameter multiplied; and in train mode."""
    model = candidate.SimpleCNN()
    model.eval()
    with torch.no_grad():
        training = stirred(candidate.SimpleCNN()).train()(images)
        fresh = model(images)
        for parameter in stirred(model).parameters():
            parameter.mul_(factor)
        return {"fresh": fresh, "scaled": model(images), "training": training}


def fresh_logits(candidate, images, seeds):
    """Logits of untrained models, in train mode with dropout silenced, so that batch-norm has statistics."""
    found = []
    for _ in probing.seeds(seeds):
        model = candidate.SimpleCNN()
        model.train()
        for module in model.modules():
            if "Dropout" in type(module).__name__:
                module.eval()
        with torch.no_grad():
            found.append(model(images))
    return found


def gradient_report(candidate, images, labels, steps):
    """Gradients of every registered parameter after a few steps, and the trainable leaves that aren't registered."""
    model = candidate.SimpleCNN()
    model.train()
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    hidden, weights_in_graph, weights_used = [], 0, 0
    if names:
        optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad] or
                                    [torch.zeros(1, requires_grad=True)], lr=0.05)
    for step in range(steps):
        model.zero_grad(set_to_none=True)
        with OpTrace() as trace:
            output = model(images)
        if step == 0:
            weights_used = len(trace.weights)
            reached = probing.leaves(output)
            hidden = [list(leaf.shape) for leaf in reached if id(leaf) not in names]
            weights_in_graph = sum(leaf.dim() >= 2 for leaf in reached)
        if not output.requires_grad:
            break
        F.cross_entropy(output, labels).backward()
        if names and step < steps - 1:
            optimizer.step()
    return {
        "parameters": [
            {"name": name, "shape": list(p.shape), "trainable": p.requires_grad,
             "gradient": None if p.grad is None else p.grad.clone()}
            for name, p in model.named_parameters()
        ],
        "hidden": hidden,
        "weights_in_graph": weights_in_graph,
        "weights_used": weights_used,
    }


def overfit(candidate, images, labels, steps, lr):
    """Adam on one fixed batch, the loop being ours; the logits of that batch before and after, in eval mode."""
    model = candidate.SimpleCNN()
    model.eval()
    with torch.no_grad():
        before = model(images)
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    model.train()
    with probing.live(steps):
        for _ in range(steps):
            optimizer.zero_grad()
            F.cross_entropy(model(images), labels).backward()
            optimizer.step()
    model.eval()
    with torch.no_grad():
        return {"before": before, "after": model(images)}


# --- train_one_epoch -------------------------------------------------------------------------------------


class LinearModel(nn.Module):
    """A linear classifier with given weights that notes, at each forward pass, what a check may ask about."""

    def __init__(self, weight, bias):
        super().__init__()
        self.linear = nn.Linear(weight.shape[1], weight.shape[0])
        with torch.no_grad():
            self.linear.weight.copy_(weight)
            self.linear.bias.copy_(bias)
        self.events, self.modes, self.grad_modes, self.seen = [], [], [], []

    def forward(self, images):
        self.events.append("forward")
        self.modes.append(mode_of(self))
        self.grad_modes.append(torch.is_grad_enabled())
        self.seen.append(images.detach().flatten(1)[:, 0].round().long().tolist())
        return self.linear(images.flatten(1))


def mode_of(model):
    """True for train mode, False for eval mode, "mixed" when not all modules inside are in the same one."""
    modes = {module.training for module in model.modules()}
    return modes.pop() if len(modes) == 1 else "mixed"


class Stream:
    """The plainest loader: can be iterated, and nothing else. Counts how often that was begun."""

    def __init__(self, images, labels, sizes):
        self.pairs = list(zip(images.split(sizes), labels.split(sizes), strict=True))
        self.passes = 0

    def __iter__(self):
        self.passes += 1
        yield from self.pairs


class Batches(Stream):
    """A loader with a length and a data set, as a DataLoader has."""

    def __init__(self, images, labels, sizes):
        super().__init__(images, labels, sizes)
        self.dataset = TensorDataset(images, labels)

    def __len__(self):
        return len(self.pairs)


def loss_of(case):
    """Cross-entropy with the case's label smoothing, or the squared distance between scores and one-hot labels."""
    if not case.get("squares"):
        return nn.CrossEntropyLoss(label_smoothing=case["smoothing"])
    return lambda scores, labels: (scores - F.one_hot(labels, scores.shape[1])).square().sum(1).mean()


def steps_on_linear_model(candidate, weight, bias, images, labels, cases):
    """`train_one_epoch` on a linear model, once per case; weights afterwards and what was returned.

    A case gives `sizes` of the batches, `lr`, `momentum`, `smoothing` of the loss, and `stale`: the value that
    .grad holds beforehand, or None. With `squares` the loss is no cross-entropy at all.
    """
    results = []
    for case in cases:
        model = LinearModel(weight, bias)
        optimizer = torch.optim.SGD(model.parameters(), lr=case["lr"], momentum=case["momentum"])
        if case["stale"] is not None:
            for parameter in model.parameters():
                parameter.grad = torch.full_like(parameter, case["stale"])
        count = sum(case["sizes"])
        loader = Batches(images[:count], labels[:count], case["sizes"])
        steps = []
        optimizer.register_step_pre_hook(lambda *_, steps=steps: steps.append(1))
        returned = candidate.train_one_epoch(model, loader, optimizer, loss_of(case))
        weight_after, bias_after = model.linear.weight, model.linear.bias
        results.append({"weight": weight_after, "bias": bias_after, "returned": returned, "steps": len(steps)})
    return results


def epoch_events(candidate, weight, bias, images, labels, sizes):
    """What happens during one epoch, in order, seen from a real optimizer, the loss function and the model."""
    model = LinearModel(weight, bias)
    events = model.events
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    optimizer.register_step_pre_hook(lambda *_: events.append("step"))
    model.linear.weight.register_hook(lambda gradient: events.append("backward"))
    loss = nn.CrossEntropyLoss()

    def loss_fn(outputs, targets):
        events.append("loss")
        return loss(outputs, targets)

    loader = Batches(images, labels, sizes)
    candidate.train_one_epoch(model, loader, optimizer, loss_fn)
    return {"events": list(events), "seen": model.seen, "passes": loader.passes}


def frozen_epoch_losses(candidate, weight, bias, images, labels, sizes, dropped_batch_size):
    """What one epoch returns when the learning rate is zero: on ragged batches, and on a DataLoader that drops some."""
    results = {}
    dropping = DataLoader(TensorDataset(images, labels), batch_size=dropped_batch_size, drop_last=True)
    for name, loader in (("ragged", Batches(images, labels, sizes)), ("drop_last", dropping)):
        model = LinearModel(weight, bias)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
        results[name] = candidate.train_one_epoch(model, loader, optimizer, nn.CrossEntropyLoss())
    stream = Stream(images, labels, sizes)
    results["stream"] = probing.outcome(candidate.train_one_epoch, model, stream, optimizer, nn.CrossEntropyLoss())
    return results


def modes_while_training(candidate, weight, bias, images, labels, sizes):
    """The model's mode at each forward pass of an epoch, when it came in train mode and when in eval mode."""
    found = {}
    for start in (True, False):
        model = LinearModel(weight, bias).train(start)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        candidate.train_one_epoch(model, Batches(images, labels, sizes), optimizer, nn.CrossEntropyLoss())
        found["from_train" if start else "from_eval"] = model.modes
    return found


# --- evaluate --------------------------------------------------------------------------------------------


class Oracle(nn.Module):
    """A model whose logits are the first ten numbers of the image; it has a parameter, as models do."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, images):
        return images.flatten(1)[:, :10] * self.scale


def accuracies(candidate, cases):
    """`evaluate` on known logits: a case gives images, labels and batch sizes."""
    return [candidate.evaluate(Oracle(), Batches(c["images"], c["labels"], c["sizes"])) for c in cases]


def accuracies_of_loaders(candidate, images, labels, batch_size, subset):
    """`evaluate` on real DataLoaders that don't deliver the whole data set."""
    dataset = TensorDataset(images, labels)
    return {
        "drop_last": candidate.evaluate(Oracle(), DataLoader(dataset, batch_size, drop_last=True)),
        "subset": candidate.evaluate(Oracle(), DataLoader(dataset, batch_size, sampler=SubsetRandomSampler(subset))),
        "stream": probing.outcome(candidate.evaluate, Oracle(), Stream(images, labels, [len(images)])),
        "once": probing.outcome(candidate.evaluate, Oracle(), iter(Stream(images, labels, batch_size))),
    }


def modes_while_evaluating(candidate, weight, bias, images, labels, sizes):
    """The model's mode at each forward pass of an evaluation and afterwards, from both starting modes."""
    found = {}
    for start in (True, False):
        model = LinearModel(weight, bias).train(start)
        candidate.evaluate(model, Batches(images, labels, sizes))
        found["from_train" if start else "from_eval"] = {"during": model.modes, "after": mode_of(model)}
    return found


class NormedModel(LinearModel):
    """The linear model behind a batch-norm layer, whose running statistics give a training pass away."""

    def __init__(self, weight, bias):
        super().__init__(weight, bias)
        self.norm = nn.BatchNorm2d(1)

    def forward(self, images):
        return super().forward(self.norm(images))


def traces_of_evaluation(candidate, weight, bias, images, labels, sizes):
    """Whether gradients were recorded, and everything about the model that an evaluation could have changed."""
    model = NormedModel(weight, bias)
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 3.0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    candidate.evaluate(model, Batches(images, labels, sizes))
    return {
        "grad_enabled_during": model.grad_modes,
        "grad_enabled_after": torch.is_grad_enabled(),
        "gradients": {n: None if p.grad is None else p.grad for n, p in model.named_parameters()},
        "trainable": {n: p.requires_grad for n, p in model.named_parameters()},
        "before": before,
        "after": {name: value.clone() for name, value in model.state_dict().items()},
    }


def on_nothing(candidate, weight, bias):
    """What both functions do with a loader that gives no batch."""
    model = LinearModel(weight, bias)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return {
        "train_one_epoch": probing.outcome(candidate.train_one_epoch, model, [], optimizer, nn.CrossEntropyLoss()),
        "evaluate": probing.outcome(candidate.evaluate, model, []),
    }


# --- the training ----------------------------------------------------------------------------------------


class ShuffledImages:
    """Normalised batches of byte images, shuffled anew at each pass."""

    def __init__(self, images, labels, mean, std, batch_size):
        self.images, self.labels = images, labels
        self.mean, self.std, self.batch_size = mean, std, batch_size

    def __len__(self):
        return -(-len(self.images) // self.batch_size)

    def __iter__(self):
        for rows in torch.randperm(len(self.images)).split(self.batch_size):
            yield normalised(self.images[rows], self.mean, self.std), self.labels[rows]


def normalised(images, mean, std):
    return (images.float() / 255 - mean) / std


def train_and_predict(candidate, images, labels, held_out, mean, std, epochs, batch_size, lr):
    """Adam, the candidate's epochs on the candidate's model; logits of held-out images, which come without labels."""
    model = candidate.SimpleCNN()
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    loader = ShuffledImages(images, labels, mean, std, batch_size)
    with probing.live(epochs * len(loader)):
        losses = [candidate.train_one_epoch(model, loader, optimizer, nn.CrossEntropyLoss()) for _ in range(epochs)]
    model.eval()
    with torch.no_grad():
        predicted = [model(normalised(part, mean, std)) for part in held_out.split(500)]
    return {"losses": losses, "logits": torch.cat(predicted)}
