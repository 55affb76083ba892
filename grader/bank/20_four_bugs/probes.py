"""Fetches what the script's parts do, each on its own, and what happens inside `fit`. Judges nothing."""

from __future__ import annotations

import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from grader.checking import probing


def network(candidate):
    """Parameters and buffers with their shapes, and the kinds of layers, of a new network."""
    model = candidate.Net()
    return {
        "tensors": {name: list(t.shape) for name, t in probing.state(model).items()},
        "trainable": all(p.requires_grad for p in model.parameters()),
        "layers": sorted(_kind(m) for m in model.modules() if not list(m.children()) and type(m) is not nn.Flatten),
        "training": model.training,
        "spread": {name: float(p.detach().std()) for name, p in model.named_parameters() if p.dim() > 1},
    }


def _kind(module):
    for known in (nn.Conv2d, nn.BatchNorm2d, nn.Dropout, nn.Linear):
        if isinstance(module, known):
            return known.__name__ + (f"(p={module.p})" if known is nn.Dropout else "")
    return type(module).__name__


def pictures(candidate, wanted):
    """make_images for each (count, seed)."""
    return [candidate.make_images(count, seed) for count, seed in wanted]


class _Affine(nn.Module):
    """Class scores from flat inputs, with the given weights."""

    def __init__(self, weight, bias):
        super().__init__()
        self.linear = nn.Linear(weight.shape[1], weight.shape[0], dtype=weight.dtype)
        with torch.no_grad():
            self.linear.weight.copy_(weight)
            self.linear.bias.copy_(bias)

    def forward(self, inputs):
        return self.linear(inputs.flatten(1))


class _Loader(list):
    """A list of batches that counts how often it was gone through."""

    begun = 0

    def __iter__(self):
        self.begun += 1
        return super().__iter__()


def updates(candidate, weight, bias, epochs, lr, momentum=0.0):
    """train_one_epoch once for each list of batches; the weights after every step, and what was returned."""
    model = _Affine(weight, bias)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=momentum)
    trace, returned, begun = [], [], []
    optimizer.register_step_post_hook(lambda *_: trace.append(model.linear.weight.detach().clone()))
    for batches in epochs:
        loader = _Loader((x.clone(), y.clone()) for x, y in batches)
        returned.append(candidate.train_one_epoch(model, loader, optimizer, nn.CrossEntropyLoss()))
        begun.append(loader.begun)
    return {"weights": trace, "last": model.linear.weight.detach().clone(), "returned": returned, "begun": begun}


def decided(candidate, images, biases):
    """What the network returns when its last layer ignores the picture and has only a bias."""
    model = candidate.Net().eval()
    found = []
    with torch.no_grad():
        for bias in biases:
            model.fc.weight.zero_()
            model.fc.bias.copy_(bias)
            found.append(model(images.clone()))
    return found


class _Watched(nn.Module):
    """A network with batch norm and dropout that notes in which mode it is asked."""

    def __init__(self, state, features, classes):
        super().__init__()
        self.norm = nn.BatchNorm1d(features)
        self.dropout = nn.Dropout(0.5)
        self.linear = nn.Linear(features, classes)
        self.load_state_dict(state)
        self.seen = []

    def forward(self, inputs):
        self.seen.append([self.norm.training, self.dropout.training, torch.is_grad_enabled()])
        return self.linear(self.dropout(self.norm(inputs)))


def evaluations(candidate, state, batches, times):
    """evaluate on a model in training mode, several times; modes, answers and buffers."""
    features, classes = state["linear.weight"].shape[1], state["linear.weight"].shape[0]
    model = _Watched(state, features, classes)
    model.train()
    loader = _Loader((x.clone(), y.clone()) for x, y in batches)
    answers = [candidate.evaluate(model, loader) for _ in range(times)]
    return {"answers": answers, "seen": model.seen, "state": probing.state(model), "begun": loader.begun}


def entering(candidate, images):
    """What the first convolution gets to see, and the shape of what comes out in the end."""
    model = candidate.Net().eval()
    caught = []
    first = next((m for m in model.modules() if isinstance(m, nn.Conv2d)), None)
    if first is not None:
        first.register_forward_pre_hook(lambda _, args: caught.append(args[0].detach().clone()))
    with torch.no_grad():
        outputs = model(images.clone())
    return {"caught": caught[0] if caught else None, "outputs": outputs}


def outputs(candidate, images, scale):
    """A network with random weights and statistics: its state, its outputs in evaluation, twice in training."""
    model = candidate.Net()
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 1.5)
            elif tensor.is_floating_point():
                tensor.add_(scale * torch.randn_like(tensor))
    model.eval()
    with torch.no_grad():
        found = {"state": probing.state(model), "eval": model(images.clone())}
        found["single"] = torch.cat([model(images[i : i + 1].clone()) for i in range(len(images))])
        model.train()
        found["train"] = [model(images.clone()) for _ in range(2)]
    found["afterwards"] = probing.buffers(model)
    return found


class _Fit:
    """What happens inside `fit`, seen from PyTorch's own hooks."""

    def __init__(self, candidate):
        self.candidate = candidate
        self.passes = []
        self.steps = []

    def __enter__(self):
        modules = torch.nn.modules.module
        self.handles = [
            modules.register_module_forward_hook(self.forward),
            register_optimizer_step_post_hook(self.step),
        ]
        self.backward = torch.Tensor.backward
        watch = self

        def backward(loss, *args, **kwargs):
            if watch.passes:
                watch.passes[-1]["loss"] = float(loss.detach())
            return watch.backward(loss, *args, **kwargs)

        torch.Tensor.backward = backward
        return self

    def __exit__(self, *_):
        torch.Tensor.backward = self.backward
        for handle in self.handles:
            handle.remove()

    def forward(self, module, args, result):
        if isinstance(module, self.candidate.Net):
            modes = {m.training for m in module.modules()}
            self.passes.append(
                {
                    "mode": "mixed" if len(modes) > 1 else "train" if modes.pop() else "eval",
                    "grad": torch.is_grad_enabled(),
                    "marks": args[0].flatten(1).double().sum(1),
                    "outputs": result.detach().clone(),
                }
            )

    def step(self, optimizer, args, kwargs):
        options = {}
        for key, value in optimizer.param_groups[0].items():
            if key != "params" and isinstance(value, (int, float, bool, tuple)):
                options[key] = value
        self.steps.append(
            {
                "kind": type(optimizer).__name__,
                "options": options,
                "held": sum(len(group["params"]) for group in optimizer.param_groups),
            }
        )


def run_of_fit(candidate, train_set, test_set, options):
    """fit on small sets: its passes and steps, its history, the finished network's answers."""
    with _Fit(candidate) as watch:
        model, history = candidate.fit(train_set, test_set, **options)
    model.eval()
    with torch.no_grad():
        answers = torch.cat([model(x) for x in test_set[0].split(50)])
    return {
        "passes": watch.passes,
        "steps": [watch.steps[0], watch.steps[-1]] if watch.steps else [],
        "count": len(watch.steps),
        "history": [list(row) for row in history],
        "answers": answers,
        "is_net": isinstance(model, candidate.Net),
    }


def learnt(candidate, train_set, test_set, unseen):
    """A whole run; the finished network's answers for images whose labels stay with the judge."""
    with probing.live(total=6 * -(-len(train_set[0]) // 32)):
        model, history = candidate.fit(train_set, test_set)
    model.eval()
    with torch.no_grad():
        return {"answers": torch.cat([model(x) for x in unseen.split(100)]), "history": [list(row) for row in history]}
