"""What a right training loop does, judged on evidence; the oracle is an explicit SGD in float64 (`replay`)."""

import math

import torch
import torch.nn.functional as F

from grader.checking import check, expect, expect_at_least, expect_close, expect_sequence, expect_type, fail

from . import probes

KEYS = ("train_loss", "val_loss", "val_accuracy", "lr")


# --- inputs ------------------------------------------------------------------------------------------------


def perceptron(seed, features=4, hidden=5, classes=3):
    """Weights of the two-layer network that the probes build."""
    g = torch.Generator().manual_seed(seed)
    return {
        "first.weight": torch.randn(hidden, features, generator=g) * 0.6,
        "first.bias": torch.randn(hidden, generator=g) * 0.1,
        "second.weight": torch.randn(classes, hidden, generator=g) * 0.8,
        "second.bias": torch.randn(classes, generator=g) * 0.1,
    }


def conv(seed, colours=2, channels=3, size=6, kernel=3, classes=5):
    """Weights of the small convolutional network, in float64."""
    g = torch.Generator().manual_seed(seed)
    left = size - kernel + 1
    shapes = {
        "first.weight": (channels, colours, kernel, kernel),
        "first.bias": (channels,),
        "second.weight": (classes, channels * left * left),
        "second.bias": (classes,),
    }
    return {name: torch.randn(shape, generator=g, dtype=torch.float64) * 0.3 for name, shape in shapes.items()}


def batches(seed, sizes, shape=(4,), classes=3, dtype=torch.float32):
    """One pass of a loader: batches of these sizes."""
    g = torch.Generator().manual_seed(seed)
    return [
        (torch.randn(n, *shape, generator=g, dtype=dtype), torch.randint(classes, (n,), generator=g)) for n in sizes
    ]


def simple(**changes):
    """A spec for the probe `observe`; two epochs over the same batches unless told otherwise."""
    spec = {
        "weights": perceptron(1),
        "train": [batches(2, (4, 4, 1))],
        "val": [batches(3, (3, 2))],
        "epochs": 2,
        "lr": 0.1,
    }
    return spec | changes


# --- the oracle --------------------------------------------------------------------------------------------


def scores(weights, inputs):
    """The forward pass of the probes' two networks, from their weights."""
    if weights["first.weight"].dim() == 4:
        hidden = F.conv2d(inputs, weights["first.weight"], weights["first.bias"]).tanh().flatten(1)
    else:
        hidden = (inputs @ weights["first.weight"].T + weights["first.bias"]).tanh()
    return hidden @ weights["second.weight"].T + weights["second.bias"]


def loss_of(name, outputs, targets):
    """The losses by their definitions, example by example."""
    values = []
    for row, target in zip(outputs, targets.tolist(), strict=True):
        log_p = row - row.exp().sum().log()
        if name == "squares":
            wanted = torch.zeros_like(row)
            wanted[target] = 1
            values.append(((row - wanted) ** 2).sum())
        elif name == "smoothed":
            values.append(-0.8 * log_p[target] - 0.2 * log_p.mean())
        else:
            values.append(-log_p[target])
    return sum(values) / len(values)


def clipped(gradients, limit, wrong=None):
    """The gradients after clipping by their joint norm, or by one of the usual wrong rules."""
    if limit is None or wrong == "no clipping":
        return gradients
    norm = math.sqrt(sum(float((g**2).sum()) for g in gradients.values()))
    if wrong == "each":
        return {n: g * min(1.0, limit / max(float(g.norm()), 1e-12)) for n, g in gradients.items()}
    if wrong == "value":
        return {n: g.clamp(-limit, limit) for n, g in gradients.items()}
    factor = limit / norm if wrong == "always" else min(1.0, limit / norm)
    return {n: g * factor for n, g in gradients.items()}


def replay(spec, wrong=None):
    """What `fit` has to do on this spec, by hand: per step the gradients and weights, per epoch the losses.

    `wrong` names a deviation, in order to recognise it in the evidence.
    """
    weights = {name: value.double() for name, value in spec["weights"].items()}
    frozen, loss_name = spec.get("frozen", []), spec.get("loss", "cross_entropy")
    momentum, limit = spec.get("momentum", 0.0), spec.get("clip_norm")
    limit = 1.0 if wrong == "clip at 1" else limit
    velocity, carried, steps, epochs = {}, {}, [], []
    for epoch in range(spec["epochs"]):
        factors = spec.get("factors") or [1.0]
        lr = spec["lr"] * factors[min(epoch, len(factors) - 1)]
        if wrong == "state lost":
            velocity = {}
        train = []
        for inputs, targets in spec["train"][min(epoch, len(spec["train"]) - 1)]:
            leaves = {n: w.clone().requires_grad_(n not in frozen) for n, w in weights.items()}
            names = [n for n in leaves if n not in frozen]
            loss = loss_of(loss_name, scores(leaves, inputs.double()), targets)
            scales = {"sum": len(targets), "ascent": -1.0, "over batches": 1 / len(spec["train"][-1])}
            scale = scales.get(wrong, 1.0)
            got = torch.autograd.grad(loss * scale, [leaves[n] for n in names])
            gradients = dict(zip(names, got, strict=True))
            if wrong == "accumulate":
                gradients = carried = {n: g + carried.get(n, 0.0) for n, g in gradients.items()}
            gradients = clipped(gradients, limit, wrong)
            for n, g in gradients.items():
                velocity[n] = momentum * velocity.get(n, 0.0) + g
                weights = weights | {n: weights[n] - lr * velocity[n]}
            late = loss_of(loss_name, scores(weights, inputs.double()), targets)
            train.append({"loss": float(loss.detach()), "late": float(late), "n": len(targets)})
            train[-1]["plain"] = float(loss_of("cross_entropy", scores(leaves, inputs.double()).detach(), targets))
            steps.append({"gradients": gradients, "weights": weights, "lr": lr})
        val = []
        for inputs, targets in spec["val"][min(epoch, len(spec["val"]) - 1)]:
            outputs = scores(weights, inputs.double())
            rows = zip(outputs.tolist(), targets.tolist(), strict=True)
            hits = sum(row.index(max(row)) == target for row, target in rows)
            val.append({"loss": float(loss_of(loss_name, outputs, targets)), "hits": hits, "n": len(targets)})
            val[-1]["plain"] = float(loss_of("cross_entropy", outputs, targets))
        epochs.append({"train": train, "val": val, "lr": lr})
    return {"steps": steps, "epochs": epochs}


def per_example(rows, key="loss"):
    """The mean over examples of a mean per batch."""
    return sum(row[key] * row["n"] for row in rows) / sum(row["n"] for row in rows)


# --- reading the evidence ----------------------------------------------------------------------------------


def numbers(report, key, count=None):
    """One list of the history; fails unless it is a list of floats (of the given length)."""
    history = report["history"]
    because = "The history is what you plot and what decides about the run, so its form has to be dependable."
    if not isinstance(history, dict):
        fail(
            expected="a dict with the keys " + ", ".join(KEYS),
            actual=_kind(history),
            because=because,
            looks_like="`return history` is missing at the end of fit" if history is None else None,
        )
    if key not in history:
        fail(
            expected=f"a key {key!r} in the history",
            actual=f"the keys {sorted(map(str, history))}",
            because=because,
            looks_like=None if history else "the keys come into being inside the loop; make the four lists before it",
        )
    values = history[key]
    if not isinstance(values, list):
        fail(
            expected=f"history[{key!r}] to be a list with one entry per epoch",
            actual=_kind(values),
            because=because,
            looks_like="only the last epoch is kept: append to the list instead of assigning to the key"
            if isinstance(values, (int, float))
            else None,
        )
    for value in values:
        tensor = isinstance(value, torch.Tensor)
        expect_type(
            value,
            float,
            because=f"history[{key!r}] holds Python floats: a tensor keeps memory, and often a whole graph, alive.",
            looks_like="a loss or a count that was stored without .item()" if tensor else None,
        )
    if count is not None:
        expect(
            len(values) == count,
            expected=f"history[{key!r}] to have {count} {'entry' if count == 1 else 'entries'}, one per epoch",
            actual=f"it has {len(values)}",
            because="One entry per epoch that ran: otherwise the curves can't be laid over each other.",
            looks_like=_length_misconception(len(values), count, report),
        )
    return values


def _kind(value):
    return "None" if value is None else f"a {getattr(value, 'type_name', type(value).__name__)}"


def _length_misconception(got, count, report):
    forwards = [e for e in report.get("events", []) if e["kind"] == "forward" and e["phase"] == "train"]
    passes = sum(e["kind"] == "iterate" and e["phase"] == "train" for e in report.get("events", []))
    if passes and passes != count:
        return f"the number of epochs that run is {passes} instead of {count}"
    if forwards and got == len(forwards):
        return "one entry per batch: the append stands inside the loop over batches"
    return None


def of_kind(report, kind, phase=None):
    """The events of one kind, of one phase if given."""
    return [e for e in report["events"] if e["kind"] == kind and (phase is None or e.get("phase") == phase)]


def first_difference(actual, expected, rtol=1e-3, atol=2e-5):
    """The name of the first tensor that differs, or None; both are dicts of tensors."""
    for name, wanted in expected.items():
        got = actual.get(name)
        if not isinstance(got, torch.Tensor) or got.shape != wanted.shape:
            return name
        if not torch.allclose(got.double(), wanted, rtol=rtol, atol=atol):
            return name
    return None


def follows(report, oracle):
    """Do all steps of the report have the oracle's weights?"""
    steps = report["steps"]
    return len(steps) == len(oracle["steps"]) and all(
        first_difference(s["weights"], o["weights"]) is None for s, o in zip(steps, oracle["steps"], strict=True)
    )


def expect_steps(report, spec, *, because, recognise):
    """Compares the weights after each step with the oracle's; `recognise` maps deviations to words."""
    oracle = replay(spec)
    if follows(report, oracle):
        return
    looks_like = next((words for wrong, words in recognise.items() if follows(report, replay(spec, wrong))), None)
    per_epoch = [len(epoch["train"]) for epoch in oracle["epochs"]]
    for number, (step, wanted) in enumerate(zip(report["steps"], oracle["steps"], strict=False)):
        name = first_difference(step["weights"], wanted["weights"])
        if name is not None:
            epoch, batch = locate(number, per_epoch)
            gap = float((step["weights"][name].double() - wanted["weights"][name]).abs().max())
            fail(
                expected=f"the weights of explicit SGD after epoch {epoch}, batch {batch}",
                actual=f"`{name}` differs by up to {gap:.3g}",
                because=because,
                looks_like=looks_like,
            )
    fail(
        expected=f"{len(oracle['steps'])} steps",
        actual=f"{len(report['steps'])} steps",
        because=because,
        looks_like=looks_like,
    )


def locate(step, per_epoch):
    """Epoch and batch, counted from 1, of a step counted from 0."""
    for epoch, count in enumerate(per_epoch, start=1):
        if step < count:
            return epoch, step + 1
        step -= count
    return len(per_epoch), per_epoch[-1]


def recognised(value, candidates, rtol=1e-3):
    """The words for the first wrong value that equals this one."""
    return next((words for wrong, words in candidates if math.isclose(value, wrong, rel_tol=rtol, abs_tol=1e-6)), None)


# --- structure ---------------------------------------------------------------------------------------------


@check(
    "fit takes the agreed arguments and returns four lists of floats",
    points=5,
    why="Everything that reads the history, from a plot to a sweep, relies on its form.",
)
def test_history_shape(sandbox):
    spec = simple(epochs=1, train=[batches(2, (4, 3))], clip_norm=None, patience=None, factors=[1.0])
    bare = {key: value for key, value in spec.items() if key not in ("clip_norm", "patience", "factors")}
    inplace = {"may_raise": "modified by an inplace operation"}
    reports = sandbox.run(probes.observe, bare | inplace, spec | inplace)
    if any(report["raised"] for report in reports):
        fail(
            expected="a history after one epoch",
            actual="PyTorch's error `one of the variables needed for gradient computation has been modified by an "
            "inplace operation` in the second batch",
            because="backward() uses the weights of the forward pass. An optimizer's step in between changes them.",
            looks_like="step() stands before backward(): each update uses the gradients of the batch before",
        )
    for report in reports:
        for key in KEYS:
            numbers(report, key, 1)


@check(
    "Every epoch is one fresh pass over each loader, every batch used once",
    points=6,
    why="A loader shuffles anew in each pass. Passes that are cached, cut short or doubled change what is trained on.",
    after=["test_history_shape"],
)
def test_every_epoch_is_a_pass(sandbox):
    spec = simple(
        train=[batches(10 + e, (4, 4, 3, 1)) for e in range(3)],
        val=[batches(20 + e, (3, 3, 1)) for e in range(3)],
        epochs=3,
        may_raise=True,
    )
    (report,) = sandbox.run(probes.observe, spec)
    passes = {phase: len(of_kind(report, "iterate", phase)) for phase in ("train", "val")}
    if report["raised"] and not _ran_dry(passes, report["raised"]):
        sandbox.run(probes.observe, spec | {"may_raise": False})  # shows the exception with its traceback
    for phase in ("train", "val"):
        expect(
            passes[phase] == 3 and report["raised"] is None,
            expected=f"3 passes over the {phase} loader in 3 epochs",
            actual=f"{passes[phase]} passes" + _raised(report),
            because="A `for` loop over a loader starts a new pass; that is where shuffling and augmentation happen.",
            looks_like=_passes_misconception(passes, phase, report),
        )
        expected = [f"epoch {e + 1} batch {b + 1}" for e in range(3) for b in range(len(spec[phase][e]))]
        actual = [f"epoch {e['epoch'] + 1} batch {e['batch'] + 1}" for e in of_kind(report, "forward", phase)]
        expect_sequence(
            actual,
            expected,
            because=f"Each batch of the {phase} loader goes through the model exactly once per epoch.",
            looks_like=_coverage_misconception(actual, expected),
        )
    for key in KEYS:
        numbers(report, key, 3)


def _ran_dry(passes, raised):
    """Did the second epoch find nothing because an iterator was made once and for all?"""
    typical = {"ValueError", "ZeroDivisionError", "NameError", "StopIteration"}
    return passes == {"train": 1, "val": 1} and bool(typical & set(raised["kinds"]))


def _raised(report):
    return f", then {report['raised']['kinds'][0]}: {report['raised']['message']}" if report["raised"] else ""


def _passes_misconception(passes, phase, report):
    if passes[phase] == 0:
        return f"the {phase} loader isn't used: are both phases given the other one?"
    if passes[phase] == 1:
        return "iter() or list() is called once before the epochs: an iterator is empty after one pass, a list is stale"
    if passes[phase] == 4:
        return "an extra pass, as a peek with next(iter(loader)) makes: it moves the random state and costs a batch"
    if passes[phase] == 6:
        purpose = "train on it" if phase == "val" else "measure the loss again"
        return f"the {phase} loader is gone through twice per epoch, perhaps to {purpose}"
    return None if report["raised"] is None else "an exception in the middle of the run"


def _coverage_misconception(actual, expected):
    if len(actual) == 2 * len(expected):
        return "a second forward pass per batch: compute the outputs once and use them for loss and metrics"
    if len(actual) == 3:
        return "a `break` or `return` inside the loop over batches: only the first batch is used"
    missing = [e for e in expected if e not in actual]
    if missing and len(missing) == 3:
        return "the last, smaller batch is left out; every example counts"
    return None


@check(
    "Each training batch: gradients cleared, forward, backward, one step; validation never updates",
    points=8,
    why="This order is the heart of the loop. A misplaced line doesn't crash, it trains on something else.",
    after=["test_every_epoch_is_a_pass"],
)
def test_update_order(sandbox):
    spec = simple(epochs=1)
    (report,) = sandbox.run(probes.observe, spec)
    expected = ["forward", "backward", "step"] * 3 + ["forward on validation"] * 2
    actual = [words for words in map(_say, report["events"]) if words]
    expect_sequence(
        actual,
        expected,
        because="backward() adds to .grad, and step() uses whatever .grad holds at that moment.",
        looks_like=None if actual == expected else _order_misconception(report, actual),
    )


def _say(event):
    if event["kind"] == "forward":
        return "forward" if event["phase"] == "train" else "forward on validation"
    if event["kind"] == "backward":
        return "backward" if event["clean"] else "backward onto old gradients"
    if event["kind"] == "step":
        return "step without gradients" if event["empty"] else "step"
    return None


def _order_misconception(report, actual):
    moved = first_difference(report["weights"], {n: w.double() for n, w in perceptron(1).items()}) is not None
    backwards = sum(words.startswith("backward") for words in actual)
    dirty = actual.count("backward onto old gradients")
    steps = sum(words.startswith("step") for words in actual)
    if backwards == 0:
        return "loss.backward() is never called, so no parameter has a gradient"
    if steps == 0:
        return (
            "another optimizer than the one passed in does the updates (its learning rate and state are ignored)"
            if moved
            else "optimizer.step() is never called: the gradients are computed and the weights stay as they are"
        )
    if actual[:3] == ["forward", "step without gradients", "backward"]:
        return "step() stands before backward(): each update uses the gradients of the batch before"
    if steps == 1 and backwards == 3:
        return "step() stands outside the loop over batches: one update per epoch"
    if actual.count("step without gradients") == steps:
        return "zero_grad() stands between backward() and step() and wipes the gradients out before they are used"
    if "forward on validation" in actual[:-1] and actual.index("forward on validation") < len(actual) - 2:
        return "backward() or step() runs in the validation phase"
    if steps > 3:
        return "step() is called more than once per batch, or the model is trained on the validation data too"
    if backwards > 3:
        return "backward() is called more than once per batch, so the gradient counts double"
    if dirty == 2:
        return (
            "zero_grad() is called once, outside the loop over batches: the gradients of one epoch add up"
            if of_kind(report, "zero_grad")
            else "the gradients are never cleared (zero_grad): each step uses the sum over all batches so far"
        )
    return None


@check(
    "Gradients left over from before fit don't reach the first step",
    points=4,
    why="A warm-up pass or a gradient check before training leaves .grad filled; the first update must not use it.",
    after=["test_update_order"],
)
def test_stale_gradients(sandbox):
    fresh, stale = sandbox.run(probes.observe, simple(epochs=1), simple(epochs=1, stale=5.0))
    wanted, got = fresh["steps"][0]["gradients"], stale["steps"][0]["gradients"]
    name = first_difference(got, {n: g.double() for n, g in wanted.items()})
    if name is not None:
        gap = float((got[name] - wanted[name]).mean()) if name in got else math.nan
        fail(
            expected="the same first step, whether every .grad was empty or full of 5 when fit was called",
            actual=f"the gradient of `{name}` at the first step differs by {gap:.3g} on average",
            because="Whoever starts an update is responsible for starting from empty gradients.",
            looks_like="the gradients are cleared only after step(); clear them before backward() as well"
            if math.isclose(gap, 5.0, rel_tol=1e-2)
            else None,
        )


# --- modes -------------------------------------------------------------------------------------------------


@check(
    "Training runs in train mode and validation in eval mode, in every epoch",
    points=5,
    why="Dropout and batch norm compute something else in each mode. A forgotten switch costs accuracy, silently.",
    after=["test_every_epoch_is_a_pass"],
)
def test_modes(sandbox):
    reports = sandbox.run(probes.observe, *(simple(start_in_train_mode=start) for start in (False, True)))
    for start, report in zip(("eval", "train"), reports, strict=True):
        for phase, wanted in (("train", "train"), ("val", "eval")):
            forwards = of_kind(report, "forward", phase)
            wrong = [e for e in forwards if e["mode"] != wanted]
            if not wrong:
                continue
            where = f"epoch {wrong[0]['epoch'] + 1}, batch {wrong[0]['batch'] + 1}"
            fail(
                expected=f"every forward pass on the {phase} loader in {wanted} mode",
                actual=f"{wrong[0]['mode']} mode in {where} (the model came in {start} mode)",
                because="Train mode: dropout drops and batch norm uses the batch. Eval mode: dropout is off and batch "
                "norm uses its running statistics.",
                looks_like=_mode_misconception(phase, wrong, forwards),
            )


def _mode_misconception(phase, wrong, forwards):
    if wrong[0]["mode"] == "mixed":
        return "`model.training = …` changes the outermost module only; model.train() and model.eval() reach all"
    if phase == "val":
        return "model.eval() is missing before validation, or model.train() follows too early"
    if len(wrong) == len(forwards):
        return "model.train() is missing: the loop relies on the mode in which the model comes"
    return "model.train() is called once before the epochs: validation switches to eval mode and nothing switches back"


@check(
    "Validation records no graph, and leaves autograd as it was",
    points=4,
    why="A recorded graph keeps all activations in memory for a backward pass that never comes.",
    after=["test_every_epoch_is_a_pass"],
)
def test_validation_without_gradients(sandbox):
    (report,) = sandbox.run(probes.observe, simple(frozen=["first.bias"]))
    recorded = [e for e in of_kind(report, "forward", "val") if e["grad"]]
    expect(
        not recorded,
        expected="autograd off during every forward pass of validation",
        actual=f"on in {len(recorded)} of {len(of_kind(report, 'forward', 'val'))} passes",
        because="eval() is about layers and doesn't switch autograd off; torch.no_grad() (or inference_mode) does.",
        looks_like="torch.no_grad() is missing around the validation loop, or begins only after the forward pass",
    )
    expect(
        report["grad_enabled"],
        expected="autograd on when fit returns",
        actual="off",
        because="A global switch that stays off breaks the caller's next backward().",
        looks_like="torch.set_grad_enabled(False) without switching back; the context manager does that by itself",
    )
    expect(
        report["trainable_kept"],
        expected="requires_grad of every parameter as before",
        actual="a frozen parameter became trainable, or the other way round",
        because="Which parameters train is the caller's decision.",
    )


@check(
    "The model comes back in the mode it came in",
    points=3,
    why="A function that leaves a switch turned makes a caller's next line wrong.",
    after=["test_every_epoch_is_a_pass"],
)
def test_mode_on_return(sandbox):
    reports = sandbox.run(probes.observe, *(simple(start_in_train_mode=start) for start in (True, False)))
    left = [report["training"] for report in reports]
    expect(
        left == [True, False],
        expected="train mode after a call with train mode, eval mode after one with eval mode",
        actual=f"{'train' if left[0] else 'eval'} mode and {'train' if left[1] else 'eval'} mode",
        because="The statement promises the mode in which the model came.",
        looks_like="validation ran last and left the model in eval mode"
        if left == [False, False]
        else "model.train() at the end, whatever the mode was before"
        if left == [True, True]
        else None,
    )
    expect(
        all(report["modes_agree"] for report in reports),
        expected="every module inside the model in the mode of the model",
        actual="`model.training` is right, but layers inside the model are in the other mode",
        because="Dropout and batch norm look at their own flag, not at that of the module around them.",
        looks_like="`model.training = …` sets one flag only; model.train(mode) goes through all modules",
    )


# --- values ------------------------------------------------------------------------------------------------


@check(
    "The weights follow explicit SGD with momentum, step by step",
    points=5,
    why="Comparing one step with a hand-made one is the surest test of a training loop.",
    after=["test_every_epoch_is_a_pass"],
)
def test_sgd_steps(sandbox):
    spec = simple(epochs=4, lr=0.6, momentum=0.9, weights=perceptron(5), train=[batches(6, (4, 4, 1))])
    (report,) = sandbox.run(probes.observe, spec)
    expect_steps(
        report,
        spec,
        because="fit applies the given optimizer to the given loss and changes neither.",
        recognise={
            "accumulate": "gradients of earlier batches are added in",
            "state lost": "the optimizer's momentum is lost between epochs",
            "sum": "the loss that is backpropagated is multiplied with the batch size; that weight belongs in the log",
            "over batches": "the loss that is backpropagated is divided by the number of batches",
            "ascent": "the loss is maximised: its sign is turned around",
            "clip at 1": "the gradient is clipped at 1 although clip_norm is None",
        },
    )


@check(
    "train_loss is the mean over examples, measured while training",
    points=5,
    why="With a short last batch, the mean of batch means counts its examples more than the others.",
    after=["test_every_epoch_is_a_pass"],
)
def test_train_loss(sandbox):
    spec = simple(lr=0.5, weights=perceptron(7), train=[batches(8, (5, 4, 1))])
    (report,) = sandbox.run(probes.observe, spec)
    got = numbers(report, "train_loss", 2)
    for value, epoch in zip(got, replay(spec)["epochs"], strict=True):
        rows = epoch["train"]
        total = sum(row["loss"] * row["n"] for row in rows)
        wrong = [
            (sum(row["loss"] for row in rows) / len(rows), "the mean of the batch means: weigh each by len(targets)"),
            (sum(row["loss"] for row in rows) / 10, "batch means are summed and divided by the number of examples"),
            (sum(row["loss"] for row in rows), "the sum of the batch losses"),
            (total, "the sum over the examples, not divided by their number"),
            (total / len(rows), "a sum over examples divided by the number of batches"),
            (rows[-1]["loss"], "the loss of the last batch only"),
            (per_example(rows, "late"), "the loss is measured again after the step"),
        ]
        expect_close(
            value,
            per_example(rows),
            rtol=1e-3,
            because="The epoch's loss is the sum over examples divided by the number of examples (here 5 + 4 + 1).",
            looks_like=recognised(value, wrong),
        )


@check(
    "val_loss and val_accuracy are means over the validation examples",
    points=5,
    why="The best epoch is chosen by these numbers, so an average that is a little off picks another model.",
    after=["test_every_epoch_is_a_pass"],
)
def test_validation_values(sandbox):
    spec = simple(epochs=3, weights=perceptron(9), train=[batches(11, (4, 3))], val=[batches(12, (5, 4, 1))])
    (report,) = sandbox.run(probes.observe, spec)
    losses, accuracies = numbers(report, "val_loss", 3), numbers(report, "val_accuracy", 3)
    for loss, accuracy, epoch in zip(losses, accuracies, replay(spec)["epochs"], strict=True):
        rows = epoch["val"]
        batch_means = sum(row["loss"] for row in rows) / len(rows)
        expect_close(
            loss,
            per_example(rows),
            rtol=1e-3,
            because="val_loss is the mean over all 10 validation examples (batches of 5, 4 and 1).",
            looks_like=recognised(
                loss,
                [
                    (batch_means, "the mean of the batch means: weigh each by len(targets)"),
                    (batch_means * len(rows) / 10, "batch means are summed and divided by the number of examples"),
                    (rows[-1]["loss"], "the loss of the last batch only"),
                    (per_example(epoch["train"]), "the loss of the training data"),
                ],
            ),
        )
        hits = sum(row["hits"] for row in rows)
        expect_close(
            accuracy,
            hits / 10,
            because=f"{hits} of the 10 validation examples have their largest score (argmax over dim=1) at the target.",
            looks_like=recognised(
                accuracy,
                [
                    (sum(r["hits"] / r["n"] for r in rows) / len(rows), "the mean of the batches' accuracies"),
                    (hits * 10.0, "per cent: the statement asks for a share between 0 and 1"),
                    (float(hits), "the number of hits, not divided by the number of examples"),
                    (hits / len(rows), "the hits are divided by the number of batches"),
                    (rows[-1]["hits"] / rows[-1]["n"], "the accuracy of the last batch only"),
                ],
            ),
        )


@check(
    "The given loss function counts, with other models, dtypes and sizes too",
    points=4,
    why="A loop that hard-codes its loss or its shapes has to be rewritten for every project.",
    after=["test_sgd_steps", "test_train_loss", "test_validation_values"],
)
def test_other_losses_and_models(sandbox):
    squares = simple(loss="squares", weights=perceptron(13, features=7, classes=2))
    squares |= {"train": [batches(14, (1, 6), (7,), 2)], "val": [batches(15, (3,), (7,), 2)]}
    images = simple(loss="smoothed", model="conv", weights=conv(16))
    for phase, seed, sizes in (("train", 17, (2, 3)), ("val", 18, (4, 1))):
        images[phase] = [batches(seed, sizes, (2, 6, 6), 5, torch.float64)]
    reports = sandbox.run(probes.observe, squares, images)
    for spec, report in zip((squares, images), reports, strict=True):
        plain = replay(spec | {"loss": "cross_entropy"})["epochs"]
        words = "plain cross-entropy is used instead of loss_fn"
        for epoch, (wanted, without) in enumerate(zip(replay(spec)["epochs"], plain, strict=True)):
            for phase in ("train", "val"):
                value = numbers(report, f"{phase}_loss", 2)[epoch]
                expect_close(
                    value,
                    per_example(wanted[phase]),
                    rtol=1e-3,
                    because=f"{phase}_loss is measured with the loss_fn that was passed in (here: {spec['loss']}).",
                    looks_like=recognised(
                        value,
                        [(per_example(without[phase]), words), (per_example(wanted[phase], "plain"), words)],
                    ),
                )
        expect_steps(
            report,
            spec,
            because=f"The updates follow the loss_fn that was passed in (here: {spec['loss']}).",
            recognise={},
        )


@check(
    "No graph stays alive once its batch is done",
    points=5,
    why="One tensor kept per batch with its graph keeps all activations: memory grows until the run dies.",
    after=["test_update_order"],
)
def test_no_graph_kept(sandbox):
    spec = simple(train=[batches(19, (2,) * 10)], val=[batches(20, (2,) * 6)])
    (report,) = sandbox.run(probes.observe, spec)
    train = [e["alive"] for e in of_kind(report, "forward", "train")]
    most = max(train)
    expect(
        most <= 3,
        expected="at most the previous batch's graph alive when the next forward pass begins",
        actual=f"{most} graphs alive at once in {len(train)} batches",
        because="A graph lives as long as any tensor made by it is reachable; sums and lists of losses are.",
        looks_like="the running sum or a list holds tensors with a grad_fn: use loss.item() (or .detach())",
    )


# --- clipping and schedule ---------------------------------------------------------------------------------


@check(
    "clip_norm limits the norm of the whole gradient, between backward and step",
    points=6,
    why="Global clipping shortens the update and keeps its direction; anything per parameter bends it.",
    after=["test_sgd_steps"],
)
def test_clipping(sandbox):
    base = {"weights": perceptron(21), "train": [batches(22, (3, 2))], "epochs": 1}
    tight = simple(**base, clip_norm=0.05)
    loose = simple(**base, clip_norm=50.0)
    frozen = simple(**base, clip_norm=0.05, frozen=["first.weight", "first.bias"])
    reports = sandbox.run(probes.observe, tight, loose, frozen)
    for spec, report in zip((tight, loose, frozen), reports, strict=True):
        wanted, got = replay(spec)["steps"][0]["gradients"], report["steps"][0]["gradients"]
        if first_difference(got, wanted, atol=1e-6) is None:
            continue
        norm = math.sqrt(sum(float((g.double() ** 2).sum()) for g in got.values()))
        fail(
            expected=f"a gradient of norm {_norm(wanted):.4g} at the step (clip_norm={spec['clip_norm']}, "
            f"{_norm(replay(spec, 'no clipping')['steps'][0]['gradients']):.4g} before clipping)",
            actual=f"norm {norm:.4g}" + (", in another direction" if _bent(got, wanted) else ""),
            because="All gradients are multiplied with one factor, min(1, clip_norm / norm of all of them together).",
            looks_like=_clip_misconception(spec, got, report["left"]),
        )
    for spec, report in zip((tight, loose, frozen), reports, strict=True):
        expect_steps(
            report,
            spec,
            because="The step uses the clipped gradient.",
            recognise={"no clipping": "clipping happens, but the step doesn't use the clipped gradient"},
        )


def _norm(gradients):
    return math.sqrt(sum(float((g.double() ** 2).sum()) for g in gradients.values()))


def _bent(got, wanted):
    flat = [torch.cat([g[n].double().flatten() for n in wanted if n in g]) for g in (got, wanted)]
    return flat[0].shape == flat[1].shape and float(F.cosine_similarity(*flat, dim=0)) < 0.999


def _clip_misconception(spec, got, left):
    clipped_now = left and math.isclose(_norm(left), spec["clip_norm"], rel_tol=1e-2)
    words = {
        "no clipping": "clipping comes after step(), which has used the full gradient by then"
        if clipped_now
        else "clip_norm isn't used, or clipping comes before backward(), when there is nothing to clip",
        "each": "each parameter is clipped by its own norm: pass all parameters in one call",
        "value": "clip_grad_value_ cuts single entries; clip_grad_norm_ scales the whole gradient",
        "always": "the gradient is always scaled to clip_norm, also when it is shorter already",
    }
    for wrong, said in words.items():
        if first_difference(got, replay(spec, wrong)["steps"][0]["gradients"], atol=1e-6) is None:
            return said
    return None


@check(
    "The scheduler steps once per epoch, after the optimizer; lr is the rate the epoch used",
    points=6,
    why="Per batch, or before the optimizer, the same call gives another schedule, and the run only looks converged.",
    after=["test_update_order"],
)
def test_scheduler(sandbox):
    val = [[(3.0 * x, y) for x, y in batches(seed, (3, 2))] for seed in (40, 41, 42, 43)]
    spec = simple(epochs=4, lr=0.2, factors=[1.0, 0.5, 0.05, 0.8, 0.01], val=val)
    two = simple(lr=0.2, second_lr=0.02, factors=[1.0, 0.5])
    report, of_two = sandbox.run(probes.observe, spec, two)
    wanted = [round(0.2 * factor, 6) for factor in spec["factors"][:4]]
    calls = len(of_kind(report, "scheduler"))
    expect(
        calls == 4,
        expected="4 calls of scheduler.step() in 4 epochs",
        actual=f"{calls} calls",
        because="This schedule is made in epochs: one call at the end of each.",
        looks_like="scheduler.step() stands inside the loop over batches"
        if calls == 12
        else "scheduler.step() is never called"
        if calls == 0
        else "some epochs skip the scheduler: it has to step in every epoch, improved or not",
    )
    expect(
        all(e["arguments"] == 0 for e in of_kind(report, "scheduler")),
        expected="scheduler.step() without an argument",
        actual="an argument was passed",
        because="Only ReduceLROnPlateau takes the loss; other schedulers read an argument as the epoch's number.",
        looks_like="scheduler.step(val_loss), as ReduceLROnPlateau needs it",
    )
    order = [e["kind"] for e in report["events"] if e["kind"] in ("step", "scheduler")]
    expect_sequence(
        order,
        (["step"] * 3 + ["scheduler"]) * 4,
        because="The scheduler sets the rate for the next epoch, so it comes after the epoch's last optimizer step.",
        looks_like="scheduler.step() at the start of the epoch: the first rate of the schedule is never used"
        if order[:1] == ["scheduler"]
        else None,
    )
    rates = [round(step["lr"], 6) for step in report["steps"]]
    expect_sequence(
        rates,
        [rate for rate in wanted for _ in range(3)],
        because="These are the rates at the optimizer's steps, epoch by epoch.",
    )
    history = [round(rate, 6) for rate in numbers(report, "lr", 4)]
    expect_sequence(
        history,
        wanted,
        because="history['lr'] is the rate with which the epoch trained.",
        looks_like="the rate is read after scheduler.step(): it belongs to the next epoch"
        if history[:3] == wanted[1:]
        else "the rate is read once before the epochs"
        if len(set(history)) == 1
        else None,
    )
    history = [round(rate, 6) for rate in numbers(of_two, "lr", 2)]
    expect_sequence(
        history,
        [0.2, 0.1],
        because="Of an optimizer with several parameter groups the first one's rate is asked for.",
        looks_like="the rate of the last group" if history == [0.02, 0.01] else None,
    )


# --- the best epoch ----------------------------------------------------------------------------------------


@check(
    "On return the model holds a copy of the epoch with the lowest validation loss",
    points=6,
    why="Early stopping and long runs are only worth something if the best epoch can be had back.",
    after=["test_modes"],
)
def test_best_weights(sandbox):
    apart = {
        "losses": [3.0, 1.0, 5.0, 2.0, 2.2, 2.4, 2.5],
        "hits": [False, False, False, False, True, False, False],
        "offsets": [9.0, 9.0, 9.0, 9.0, 9.0, -90.0, 90.0],
    }
    told = {
        1: "the checkpoint is taken before the epoch trains",
        3: "the epoch with the highest validation loss is kept",
        4: "each epoch is compared with the one before it, not with the best so far",
        5: "the epoch is chosen by validation accuracy",
        6: "the epoch is chosen by training loss",
    }
    falling, rising = {"losses": [3.0, 2.0, 1.0]}, {"losses": [1.0, 2.0, 3.0, 4.0]}
    tie, little = {"losses": [2.0, 1.0, 1.0, 3.0]}, {"losses": [2.0, 1.0, 0.9999, 3.0]}
    cases = (apart, falling, rising, tie, little)
    reports = sandbox.run(probes.scripted, *cases)
    for case, report, best in zip(cases, reports, (2, 3, 1, 2, 3), strict=True):
        got, last = report["weights_of_epoch"], len(case["losses"])
        looks_like = told.get(got) if case is apart else None
        if got == last and best != last:
            looks_like = (
                "the checkpoint is no copy: state_dict() refers to the live tensors, which went on training"
                if report["loads"]
                else "the best weights are not loaded back into the model that was passed in"
            )
        if case is tie and got == 3:
            looks_like = "`<=` where `<` is meant: a tie replaces the earlier epoch"
        if case is little and got == 2:
            looks_like = "a least improvement (min_delta) is demanded; any lower loss counts"
        expect(
            got == best,
            expected=f"the weights of epoch {best} (validation losses: {_list(case['losses'])})",
            actual=f"the weights of epoch {got:g}",
            because="The lowest validation loss decides, and of equal ones the earlier epoch stays.",
            looks_like=looks_like,
        )


def _list(values):
    return ", ".join(f"{value:g}" for value in values)


@check(
    "The buffers come from the same epoch as the weights",
    points=3,
    why="Batch norm's running statistics belong to the weights: mixed epochs give a model that never existed.",
    after=["test_best_weights"],
)
def test_best_buffers(sandbox):
    reports = sandbox.run(probes.scripted, {"losses": [2.0, 1.0, 3.0, 4.0]}, {"losses": [1.0, 2.0, 3.0]})
    for report, best, last in zip(reports, (2, 1), (4, 3), strict=True):
        got = report["buffers_of_epoch"]
        expect(
            got == best,
            expected=f"the batch norm buffers of epoch {best}, like the weights",
            actual=f"the buffers of epoch {got:g}",
            because="state_dict() holds parameters and buffers; both make up the model.",
            looks_like="only parameters are copied: running_mean and running_var are buffers" if got == last else None,
        )


PATIENCE = {
    "right": "",
    "late": "one epoch too many: the counter is compared with `>` instead of `>=`",
    "early": "one epoch too few: the counter is compared before it counts what the statement counts",
    "ties": "an equal loss counts as an improvement",
    "no reset": "the counter isn't set back to zero after an improvement: it counts all bad epochs, not those in a row",
    "ignored": "patience isn't used: nothing ends the loop early",
    "previous": "an epoch counts as better when it beats the one before it; it has to beat the best so far",
}


def epochs_run(case, rule):
    """How many epochs run on this script under the right rule or a wrong one."""
    best, before, bad = math.inf, math.inf, 0
    for number, loss in enumerate(case["losses"], start=1):
        reference = before if rule == "previous" else best
        improved = loss <= reference if rule == "ties" else loss < reference
        best, before = min(best, loss), loss
        bad = (0 if rule != "no reset" else bad) if improved else bad + 1
        limit = math.inf if rule == "ignored" else case["patience"] + {"late": 1, "early": -1}.get(rule, 0)
        if bad and bad >= limit:
            return number
    return len(case["losses"])


def expect_epochs(cases, reports, because):
    """Compares the numbers of epochs that ran with the statement's rule, and recognises wrong rules."""
    got = [report["epochs_run"] for report in reports]
    rules = (rule for rule in PATIENCE if got == [epochs_run(case, rule) for case in cases])
    looks_like = PATIENCE.get(next(rules, "")) or None
    for case, report in zip(cases, reports, strict=True):
        wanted = epochs_run(case, "right")
        expect(
            report["epochs_run"] == wanted,
            expected=f"{wanted} epochs with patience={case['patience']} "
            f"and the validation losses {_list(case['losses'])}",
            actual=f"{report['epochs_run']} epochs",
            because=because,
            looks_like=looks_like,
        )
        kept = len(numbers(report, "val_loss"))
        expect(
            kept == wanted,
            expected=f"{wanted} entries in the history after {wanted} epochs",
            actual=f"{kept} entries",
            because="Every epoch that ran is in the history, the one that made it stop included.",
            looks_like="the loop ends before the last epoch is appended" if kept == wanted - 1 else None,
        )


@check(
    "Training stops exactly after `patience` epochs without improvement, and restores the best",
    points=4,
    why="Off by one in either direction is the standard bug of early stopping.",
    after=["test_best_weights"],
)
def test_patience_count(sandbox):
    cases = [
        {"losses": [3.0, 2.0, 2.5, 1.0, 0.5], "patience": 1},
        {"losses": [3.0, 2.0, 2.4, 2.5, 1.0], "patience": 2},
        {"losses": [1.0, 2.0, 2.0, 2.0, 2.0, 0.5], "patience": 3},
        {"losses": [1.0, 1.0, 1.0, 0.5], "patience": 2},
    ]
    endless = {"losses": [1.0] + [2.0] * 15}
    *reports, unlimited = sandbox.run(probes.scripted, *cases, endless)
    expect_epochs(cases, reports, because="Each epoch that isn't strictly better than the best so far uses up one.")
    for case, report, best in zip(cases, reports, (2, 2, 1, 1), strict=True):
        expect(
            report["weights_of_epoch"] == best,
            expected=f"the weights of epoch {best} after stopping early (losses {_list(case['losses'])})",
            actual=f"the weights of epoch {report['weights_of_epoch']:g}",
            because="Stopping early is no reason not to restore: the best epoch lies `patience` epochs back.",
            looks_like="a `return` inside the loop skips the restoring; use `break`",
        )
    expect(
        unlimited["epochs_run"] == 16,
        expected="all 16 epochs with patience=None",
        actual=f"{unlimited['epochs_run']} epochs",
        because="None means: never stop early.",
        looks_like="a number stands in for None",
    )


@check(
    "An improvement resets the patience counter, measured against the best so far",
    points=3,
    why="Validation loss is noisy: what counts is bad epochs in a row, compared with the best.",
    after=["test_patience_count"],
)
def test_patience_counter(sandbox):
    cases = [
        {"losses": [3.0, 4.0, 2.0, 5.0, 1.0, 6.0, 7.0, 0.5], "patience": 2},
        {"losses": [1.0, 3.0, 2.0, 0.5], "patience": 2},
        {"losses": [5.0, 6.0, 7.0, 4.0, 6.0, 5.0, 4.5, 1.0], "patience": 3},
    ]
    reports = sandbox.run(probes.scripted, *cases)
    expect_epochs(cases, reports, because="The counter holds the epochs since the best one.")


# --- when things go wrong ----------------------------------------------------------------------------------


@check(
    "A validation loss of NaN is recorded and never counts as an improvement",
    points=3,
    why="Every comparison with NaN is false: as first 'best' it can never be beaten.",
    after=["test_best_weights"],
)
def test_nan_validation(sandbox):
    nan = math.nan
    cases = [
        {"losses": [nan, 2.0, 3.0]},
        {"losses": [2.0, 1.0, nan]},
        {"losses": [nan, nan]},
        {"losses": [2.0, nan, nan, 1.0], "patience": 2},
        {"losses": [nan, nan, 1.0], "patience": 2},
    ]
    reports = sandbox.run(probes.scripted, *cases)
    for case, report, best, run in zip(cases, reports, (2, 2, 2, 1, 2), (3, 3, 2, 3, 2), strict=True):
        ran, got = report["epochs_run"], report["weights_of_epoch"]
        expect(
            ran == run,
            expected=f"{run} epochs with the validation losses {_list(case['losses'])}"
            + (f" and patience={case['patience']}" if "patience" in case else ""),
            actual=f"{ran} epochs",
            because="A NaN is an epoch without improvement, no more and no less.",
            looks_like="a NaN ends the run" if ran < run else "a NaN epoch doesn't use up patience",
        )
        expect(
            got == best,
            expected=f"the weights of epoch {best} (validation losses: {_list(case['losses'])})",
            actual=f"the weights of epoch {got:g}",
            because="An improvement is `val_loss < best`, starting from infinity; that is false for NaN by itself.",
            looks_like="the first epoch becomes the best without a comparison, and nothing is less than NaN"
            if case is cases[0] and got == 1
            else "a NaN passes as an improvement, as with `not (val_loss >= best)`"
            if case is cases[1] and got == 3
            else None,
        )
        values = numbers(report, "val_loss", run)
        expect(
            [math.isnan(v) for v in values] == [math.isnan(v) for v in case["losses"][:run]],
            expected=f"history['val_loss'] to show {_list(case['losses'][:run])}",
            actual=_list(values),
            because="A NaN that is hidden from the history can't be noticed.",
        )


@check(
    "A training loss that isn't finite raises FloatingPointError before its step",
    points=3,
    why="One step with NaN gradients destroys every weight, and the batch that did it is gone.",
    after=["test_update_order"],
)
def test_nan_training(sandbox):
    good = batches(23, (3, 3, 3))
    nan_batch = (torch.full((3, 4), math.nan), torch.zeros(3, dtype=torch.int64))
    inf_batch = (good[1][0], torch.zeros(3, dtype=torch.int64))
    with_nan = [good, [good[0], nan_batch, good[2]]]
    with_inf = [[(x, torch.tensor([1, 2, 1])) for x, _ in good[:2]] + [inf_batch]]
    val = [[(good[0][0], torch.tensor([1, 2, 1]))]]
    cases = [
        (simple(train=with_nan, val=val, may_raise=True), 4, "NaN in epoch 2, batch 2"),
        (simple(train=with_inf, val=val, may_raise=True, loss="per_foreground"), 2, "infinity in epoch 1, batch 3"),
    ]
    reports = sandbox.run(probes.observe, *(spec for spec, _, _ in cases))
    for (_, steps, what), report in zip(cases, reports, strict=True):
        raised, done = report["raised"], len(report["steps"])
        told = f"{raised['kinds'][0]}" if raised else "no exception"
        expect(
            raised is not None and "FloatingPointError" in raised["kinds"] and done == steps,
            expected=f"FloatingPointError at {what}, after {steps} steps",
            actual=f"{told} after {done} steps",
            because="Check torch.isfinite(loss) before backward() and step(); then the weights are still good.",
            looks_like=_nan_misconception(raised, done, steps, what),
        )


def _nan_misconception(raised, done, steps, what):
    if what.startswith("infinity") and done > steps:
        return "isnan() doesn't see infinity; torch.isfinite covers both"
    if raised and "FloatingPointError" in raised["kinds"]:
        return "the loss is checked only after the step, or at the end of the epoch: the weights are NaN by then"
    if raised:
        return "another exception than the one that was agreed on"
    if done == 5:
        return "the batch is skipped silently: nobody learns that something is wrong"
    return "the loss is never checked" if done == 6 else "the run ends silently instead of raising"


@check(
    "An empty loader raises ValueError",
    points=2,
    why="A wrong path or filter gives an empty set; a clear error beats a division by zero or a loss of 0.",
    after=["test_history_shape"],
)
def test_empty_loaders(sandbox):
    cases = [("train", simple(train=[[]], may_raise=True)), ("val", simple(val=[[]], may_raise=True))]
    favourite = perceptron(1) | {"second.bias": torch.tensor([50.0, 0.0, 0.0])}
    missed = [[(inputs, torch.full_like(targets, 2)) for inputs, targets in batches(3, (3, 2))]]
    zeros = simple(loss="nothing", weights=favourite, val=missed, may_raise=True)
    *reports, report = sandbox.run(probes.observe, *(spec for _, spec in cases), zeros)
    expect(
        report["raised"] is None,
        expected="a history for loaders with batches, when loss and accuracy are exactly 0",
        actual=f"{report['raised']['kinds'][0]}: {report['raised']['message']}" if report["raised"] else "",
        because="Empty is a loader that gives no batch. A loss of 0 is a result like any other.",
        looks_like="the sum of the losses or hits is compared with 0 instead of the number of examples",
    )
    for (phase, _), report in zip(cases, reports, strict=True):
        raised = report["raised"]
        expect(
            raised is not None and "ValueError" in raised["kinds"],
            expected=f"ValueError for an empty {phase}_loader",
            actual=f"{raised['kinds'][0]}: {raised['message']}" if raised else "no exception",
            because="There is no mean over zero examples, and an invented 0.0 would look like a perfect epoch.",
            looks_like="the number of examples seen isn't checked before dividing by it"
            if raised and "ZeroDivisionError" in raised["kinds"]
            else "max(count, 1) hides that nothing was measured"
            if raised is None
            else None,
        )


@check(
    "epochs=0 trains nothing and returns four empty lists",
    points=2,
    why="The limiting case shows whether anything is done outside the loop that belongs inside.",
    after=["test_history_shape"],
)
def test_zero_epochs(sandbox):
    spec = simple(epochs=0, start_in_train_mode=False)
    (report,) = sandbox.run(probes.observe, spec)
    for key in KEYS:
        numbers(report, key, 0)
    expect(
        not of_kind(report, "iterate") and not report["steps"] and not report["training"],
        expected="no pass over a loader, no step, the mode unchanged",
        actual=f"{len(of_kind(report, 'iterate'))} passes, {len(report['steps'])} steps, "
        f"{'train' if report['training'] else 'eval'} mode",
        because="Zero epochs mean that nothing happens.",
    )


# --- together ----------------------------------------------------------------------------------------------


def moons(seed, count, flipped):
    """Two interleaved half circles (N, 2) with noise; `flipped` of the labels are wrong."""
    g = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 2
    angle = torch.rand(count, generator=g) * math.pi
    side = 1.0 - 2.0 * labels
    points = torch.stack([side * angle.cos() + labels, side * angle.sin() + 0.4 * labels], dim=1)
    points = points + 0.12 * torch.randn(count, 2, generator=g)
    return points, torch.where(torch.rand(count, generator=g) < flipped, 1 - labels, labels)


@check(
    "A small network learns two moons, for all epochs, and the best epoch comes back",
    points=3,
    why="The parts together, on a real model with batch norm and dropout and real data loaders.",
    after=["test_best_buffers", "test_other_losses_and_models", "test_patience_count"],
)
def test_learns(sandbox):
    (train, train_labels), (val, val_labels) = moons(30, 256, 0.1), moons(31, 160, 0.1)
    held_out, held_out_labels = moons(32, 400, 0.0)
    report = sandbox.run(probes.learn, train, train_labels, val, val_labels, held_out, 30)
    losses = numbers(report, "val_loss")
    expect(
        len(losses) == 30,
        expected="30 epochs, as epochs=30 and patience=None say",
        actual=f"{len(losses)} epochs",
        because="A loop that stops on its own can't be compared with another run.",
        looks_like="a built-in patience or a cap on the number of epochs" if len(losses) < 30 else None,
    )
    best = float(F.cross_entropy(report["val"].double(), val_labels))
    expect_close(
        best,
        min(losses),
        rtol=1e-3,
        because="The returned model, measured again on the validation set, has the lowest loss of the history.",
        looks_like=recognised(best, [(losses[-1], "these are the last epoch's weights")]),
    )
    accuracy = float((report["held_out"].argmax(1) == held_out_labels).double().mean())
    sandbox.measure("accuracy", accuracy)
    expect_at_least(accuracy, 0.97, because="30 epochs over 256 points are plenty for this problem.")
