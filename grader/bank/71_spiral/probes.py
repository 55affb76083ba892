"""Fetches points, scores, losses, gradients and whole training runs of the candidate. Judges nothing."""

from __future__ import annotations

import contextlib

import torch

from grader.checking import probing


def _copies(tensors):
    """Copies of a dict's tensors, since the candidate may use the same ones again; anything else as it is."""
    if not isinstance(tensors, dict):
        return tensors
    return {name: t.detach().clone() if isinstance(t, torch.Tensor) else t for name, t in tensors.items()}


def _function(candidate, params):
    return candidate.two_layer_loss_and_gradients if "W2" in params else candidate.linear_loss_and_gradients


def _pair(answer):
    """Loss and gradients; an answer that isn't a pair stands for the loss, so that the check can show it."""
    return answer if isinstance(answer, tuple | list) and len(answer) == 2 else (answer, None)


def _asked(candidate, case):
    """The loss and the gradients of one case, from copies of its tensors."""
    function = _function(candidate, case["params"])
    answer = probing.call(function, _copies(case["params"]), case["x"].clone(), case["labels"].clone(), case["reg"])
    loss, grads = _pair(answer)
    return {"loss": loss, "grads": _copies(grads)}


def spirals(candidate, cases):
    """For each dict of arguments (a seed in place of the generator): the points and the labels."""
    found = []
    for case in cases:
        options = {name: value for name, value in case.items() if name != "seed"}
        if "seed" in case:
            options["generator"] = torch.Generator().manual_seed(case["seed"])
        before = torch.get_rng_state()
        x, labels = probing.call(candidate.make_spiral, **options)
        drawn = not torch.equal(before, torch.get_rng_state())
        found.append({"x": x, "labels": labels, "global": drawn})
    return found


def scores(candidate, cases):
    """For each case: the scores, and the input afterwards."""
    found = []
    for case in cases:
        x = case["x"].clone()
        found.append({"scores": probing.call(candidate.scores, _copies(case["params"]), x), "x": x})
    return found


def predictions(candidate, cases):
    return [probing.call(candidate.predict, _copies(case["params"]), case["x"].clone()) for case in cases]


def gradients(candidate, cases):
    """For each case: the loss and the gradients."""
    return [_asked(candidate, case) for case in cases]


def repeated(candidate, cases):
    """For each (case, other, order): what is said of the case on several occasions, and what is left of it."""
    found = []
    for case, other, order in cases:
        function, reg = _function(candidate, case["params"]), case["reg"]
        params, x, labels = _copies(case["params"]), case["x"].clone(), case["labels"].clone()

        def ask(x, labels, function=function, params=params, reg=reg):
            loss, grads = function(params, x, labels, reg)
            return {"loss": loss, "grads": _copies(grads)}

        loss, kept = function(params, x, labels, reg)
        answers = {"the first time": {"loss": loss, "grads": _copies(kept)}}
        function(params, other["x"].clone(), other["labels"].clone(), reg)
        answers["after another batch"] = ask(x, labels)
        answers["with every point twice"] = ask(torch.cat([x, x]), torch.cat([labels, labels]))
        answers["with the points in another order"] = ask(x[order], labels[order])
        alone = [ask(x[i : i + 1], labels[i : i + 1]) for i in range(len(x))]
        left = {"params": _copies(params), "grads": _copies(kept), "x": x, "labels": labels}
        found.append({"answers": answers, "alone": alone, "left": left})
    return found


def autograd_used(candidate, linear, two_layers):
    """Which kinds of autograd ran while losses, gradients, a training and a case study were computed."""
    noted = []
    with probing.autograd_noted(noted), torch.enable_grad():
        for case in (linear, two_layers):
            _asked(candidate, case)
            function = _function(candidate, case["params"])
            candidate.train(_copies(case["params"]), function, case["x"].clone(), case["labels"].clone(), 2)
        x, labels = two_layers["x"].float(), two_layers["labels"].clone()
        candidate.case_study(x, labels, hidden=3, linear_steps=1, steps=1)
    return sorted(set(noted))


def cost(candidate, cases):
    """For each case: tensor operations and lines of Python of one call."""
    found = []
    for case in cases:

        def call(case=case):
            _asked(candidate, case)

        call()  # whatever happens only once, happens here
        found.append(probing.cost(call))
    return found


def descents(candidate, cases):
    """Trains something that is no network at all: loss ½ · scale · Σ (p − target)², whose gradient is known.

    For each case: what train returns, the parameters afterwards, and with which x, labels and reg it asked.
    """
    found = []
    for case in cases:
        asked, params = [], _copies(case["params"])

        def bowl(params, x, labels, reg, case=case, asked=asked):
            asked.append({"x": x.clone(), "labels": labels.clone(), "reg": reg})
            away = {name: p - case["target"][name] for name, p in params.items()}
            loss = 0.5 * case["scale"] * sum(a.square().sum() for a in away.values()).item()
            return loss, {name: case["scale"] * a for name, a in reversed(away.items())}

        options = {name: case[name] for name in ("lr", "reg") if name in case}
        losses = candidate.train(params, bowl, case["x"].clone(), case["labels"].clone(), case["steps"], **options)
        found.append({"losses": losses, "params": _copies(params), "asked": asked})
    return found


@contextlib.contextmanager
def _starts_noted(candidate, starts):
    """Notes the parameters that the candidate's own `start` gives."""
    original, depth = candidate.start, 0

    def start(*args, **kwargs):
        nonlocal depth
        depth += 1
        params = original(*args, **kwargs)
        depth -= 1
        if depth == 0:  # a start that calls itself, layer by layer, is one start
            starts.append(_copies(params))
        return params

    candidate.start = start
    try:
        yield
    finally:
        candidate.start = original


@contextlib.contextmanager
def _steps_shown(candidate, total):
    """Reports each loss of the two-layer network as progress."""
    original, done = candidate.two_layer_loss_and_gradients, 0

    def two_layer_loss_and_gradients(*args, **kwargs):
        nonlocal done
        loss, grads = original(*args, **kwargs)
        done += 1
        probing.progress(min(done, total), total, loss if isinstance(loss, float) else None)
        return loss, grads

    candidate.two_layer_loss_and_gradients = two_layer_loss_and_gradients
    try:
        yield
    finally:
        candidate.two_layer_loss_and_gradients = original


def studies(candidate, cases):
    """For each (x, labels, options): what the case study found, and with which parameters its models started."""
    found = []
    for x, labels, options in cases:
        starts = []
        generator = torch.Generator().manual_seed(int(torch.randint(2**31, ())))
        before = torch.get_rng_state()
        with _starts_noted(candidate, starts), _steps_shown(candidate, options.get("steps", 10_000)):
            said = f"case_study(x {tuple(x.shape)}, labels {labels.unique().tolist()})"
            with probing.called_as(said):
                result = candidate.case_study(x.clone(), labels.clone(), generator=generator, **options)
        drawn = not torch.equal(before, torch.get_rng_state())
        plain = _copies(candidate.start(40, 30))
        found.append({"result": result, "starts": starts, "global": drawn, "plain": plain})
    return found
