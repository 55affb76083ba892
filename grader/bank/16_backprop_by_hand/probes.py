"""Fetches logits, losses and gradients of the candidate's network. Judges nothing."""

from __future__ import annotations

import torch

from grader.checking import probing


def _net(candidate, case):
    """A network of the case's sizes, in float64, with the case's parameters written into its own."""
    params = case["params"]
    (inputs, hidden), classes = params["W1"].shape, len(params["b2"])
    options = {"reg": case["reg"]} if "reg" in case else {}  # otherwise the default is to be used
    net = candidate.TwoLayerNet(inputs, hidden, classes, dtype=torch.float64, **options)
    with torch.no_grad():
        for name, value in params.items():
            net.params[name].copy_(value)
    return net


def _copies(tensors):
    return {name: t.detach().clone() if isinstance(t, torch.Tensor) else t for name, t in tensors.items()}


def started(candidate, cases):
    """For each (sizes, options): the parameters of two new networks, and which require gradients. dtype: a name."""
    found = []
    for sizes, options in cases:
        if "dtype" in options:
            options = {**options, "dtype": getattr(torch, options["dtype"])}
        nets = [candidate.TwoLayerNet(*sizes, **options) for _ in range(2)]
        trained = [k for k, p in nets[0].params.items() if isinstance(p, torch.Tensor) and p.requires_grad]
        found.append({"params": [_copies(net.params) for net in nets], "trained": trained})
    return found


def logits(candidate, cases):
    """For each case: the logits, and the input afterwards."""
    found = []
    for case in cases:
        net, x = _net(candidate, case), case["x"].clone()
        found.append({"logits": net.forward(x), "x": x})
    return found


def softmax_losses(candidate, cases):
    """For each (logits, labels): the loss, the gradient, and both inputs afterwards."""
    found = []
    for given, labels in cases:
        given, labels = given.clone(), labels.clone()
        loss, gradient = candidate.softmax_loss(given, labels)
        found.append({"loss": loss, "gradient": gradient, "logits": given, "labels": labels})
    return found


def gradients(candidate, cases):
    """For each case: the loss and the gradients."""
    found = []
    for case in cases:
        loss, grads = _net(candidate, case).loss_and_grads(case["x"].clone(), case["labels"].clone())
        found.append({"loss": loss, "grads": dict(grads)})
    return found


def repeated(candidate, case, other, order):
    """What one network says to several batches in turn, and what is left of the first answer and of the inputs."""
    net = _net(candidate, case)
    x, labels = case["x"].clone(), case["labels"].clone()

    def ask(*batch):
        loss, grads = net.loss_and_grads(*batch)
        return {"loss": loss, "grads": _copies(grads)}

    loss, kept = net.loss_and_grads(x, labels)
    found = {"at first": {"loss": loss, "grads": _copies(kept)}}
    net.forward(other["x"].clone())
    found["after a forward pass of another batch"] = ask(x, labels)
    net.loss_and_grads(other["x"].clone(), other["labels"].clone())
    found["after the gradients of another batch"] = ask(x, labels)
    found["with every example twice"] = ask(torch.cat([x, x]), torch.cat([labels, labels]))
    found["with the examples in another order"] = ask(x[order], labels[order])
    found["with the examples as a view that isn't contiguous"] = ask(x.t().contiguous().t(), labels)
    candidate.TwoLayerNet(*case["params"]["W1"].shape, len(case["params"]["b2"])).forward(x.float())
    found["after another network was made"] = ask(x, labels)
    net.loss_and_grads(other["x"].clone(), other["labels"].clone())
    left = {"params": _copies(net.params), "first gradients": _copies(kept), "x": x, "labels": labels}
    return {"answers": found, "left": left}


def autograd_used(candidate, case):
    """Which kinds of autograd ran in softmax_loss, loss_and_grads and train."""
    names = []
    with probing.autograd_noted(names), torch.enable_grad():
        net = _net(candidate, case)
        candidate.softmax_loss(net.forward(case["x"].clone()), case["labels"].clone())
        net.loss_and_grads(case["x"].clone(), case["labels"].clone())
        candidate.train(net, case["x"].clone(), case["labels"].clone(), steps=1, lr=0.1)
    return sorted(set(names))


def cost(candidate, cases):
    """For each case: tensor operations and lines of Python of one loss_and_grads."""
    found = []
    for case in cases:
        net = _net(candidate, case)

        def call(net=net, case=case):
            net.loss_and_grads(case["x"], case["labels"])

        call()  # whatever happens only once, happens here
        found.append(probing.cost(call))
    return found


def descents(candidate, cases):
    """For each case: the losses that train returns, the parameters and the inputs afterwards."""
    found = []
    for case in cases:
        net, x, labels = _net(candidate, case), case["x"].clone(), case["labels"].clone()
        losses = candidate.train(net, x, labels, steps=case["steps"], lr=case["lr"])
        found.append({"losses": losses, "params": _copies(net.params), "x": x, "labels": labels})
    return found


def spiral(candidate, x, labels, hidden, steps):
    """A network of the candidate's own start, trained; the losses, the parameters before and afterwards."""
    net = candidate.TwoLayerNet(x.shape[1], hidden, int(labels.max()) + 1, std=0.3, reg=1e-3)
    before = _copies(net.params)
    done = 0

    def counted(_):
        nonlocal done
        done += 1
        probing.progress(min(done, steps), steps)

    probing.watch(net, "loss_and_grads", then=counted)
    losses = candidate.train(net, x.clone(), labels.clone(), steps=steps, lr=1.0)
    return {"losses": losses, "before": before, "params": _copies(net.params)}
