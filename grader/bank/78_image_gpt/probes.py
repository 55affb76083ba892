"""What the worker runs next to the learner's code: calls it, watches it, and returns plain evidence."""

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.optim.optimizer import register_optimizer_step_pre_hook

from grader.checking import probing


def _generator(seed):
    return torch.Generator().manual_seed(seed)


# --- codes ---------------------------------------------------------------------------------------------


def stepped(candidate, cases):
    """One step of k-means for each case: (pixels, codes)."""
    found = []
    for pixels, codes in cases:
        pixels, codes = pixels.clone(), codes.clone()
        moved = probing.call(candidate.kmeans_step, pixels, codes)
        kept = moved.clone() if isinstance(moved, torch.Tensor) else moved
        found.append({"codes": kept, "inputs": [pixels, codes]})
    return found


def revived(candidate, pixels, codes, seeds):
    """Steps in which codes have no pixels: with generators of these seeds, the first once more, and twice without."""
    runs = []
    for seed in [*seeds, seeds[0], None, None]:
        torch.manual_seed(1000 + len(runs))
        options = () if seed is None else (_generator(seed),)
        runs.append(probing.call(candidate.kmeans_step, pixels.clone(), codes.clone(), *options))
    return runs


def clustered(candidate, cases):
    """`kmeans` for each case: twice with the same generator, once with another, and twice without any."""
    found = []
    for pixels, k, steps in cases:
        runs = []
        for number, seed in enumerate((1, 1, 2)):
            torch.manual_seed(2000 + number)
            given = pixels.clone()
            runs.append(probing.call(candidate.kmeans, given, k, steps, _generator(seed)))
        free = []
        for number in range(2):
            torch.manual_seed(2100 + number)
            free.append(probing.call(candidate.kmeans, pixels.clone(), k, steps))
        found.append({"runs": runs, "without": free, "pixels": given})
    return found


def coded(candidate, cases):
    """Tokens of each case's images, what decode makes of them, and of given tokens."""
    found = []
    for case in cases:
        images, codes, height, width = case["images"].clone(), case["codes"].clone(), *case["images"].shape[2:]
        tokens = probing.call(candidate.encode, images, codes)
        given = case["tokens"].clone()
        decoded = probing.call(candidate.decode, given, codes, height, width)
        found.append({"tokens": tokens, "decoded": decoded, "inputs": [images, codes, given]})
    return found


# --- the model -----------------------------------------------------------------------------------------


def attended(candidate, cases):
    """Names and shapes of CausalAttention, its output with given weights, and its gradients."""
    found = []
    for case in cases:
        layer = candidate.CausalAttention(case["dim"], case["heads"])
        shapes = {k: list(v.shape) for k, v in layer.named_parameters()}
        one = {"shapes": shapes, "module": isinstance(layer, nn.Module)}
        if shapes == case["shapes"]:
            layer.load_state_dict(case["state"], strict=False)
            x = case["x"].clone().requires_grad_(True)
            out = probing.call(layer, x)
            one["out"] = out
            if isinstance(out, torch.Tensor) and out.shape == x.shape:
                out.backward(case["upstream"])
                one["gradients"] = {"x": x.grad, **probing.gradients(layer)}
        found.append(one)
    return found


def _livened(model, seed):
    """The model in eval mode with every matrix shaken: fresh ones may start at or near zero."""
    model = model.eval()
    g = _generator(seed)
    with torch.no_grad():
        for p in model.parameters():
            scale = p.shape[-1] ** -0.5 if p.ndim > 1 else 0.1
            p += 0.7 * scale * torch.randn(p.shape, generator=g)
    return model


def shapes(candidate, cases):
    """Outputs of fresh models for (options, tokens), and whether the tokens stay."""
    found = []
    for options, tokens in cases:
        model = candidate.ImageGPT(**options).eval()
        given = tokens.clone()
        with torch.no_grad():
            out = probing.call(model, given)
        found.append({"out": out, "tokens": given, "module": isinstance(model, nn.Module)})
    return found


def _attending(candidate, model, tokens):
    """How many layers of the class of CausalAttention the tokens pass through, each counted once."""
    kind, met = type(candidate.CausalAttention(4, 2)), set()
    plain = kind.forward

    def called(module, args):  # of a class made from it, too
        if isinstance(module, kind):
            met.add(id(module))

    def forward(self, *args, **more):
        met.add(id(self))
        return plain(self, *args, **more)

    hook = register_module_forward_pre_hook(called)
    kind.forward = forward  # a model may call layer.forward(x), where no hook comes along
    try:
        with torch.no_grad():
            model(tokens)
    finally:
        hook.remove()
        kind.forward = plain
    return len(met)


def options_used(candidate, written, tokens):
    """What becomes of the options: left out and written out, more layers, other widths, other heads."""

    def made(**options):
        torch.manual_seed(11)
        return candidate.ImageGPT(**options).eval()

    def size(model):
        return sum(p.numel() for p in model.parameters())

    models = [made(k=written["k"], length=written["length"]), made(**written)]
    by_layers = [made(**{**written, "layers": layers}) for layers in (1, 2, 3)]
    with torch.no_grad():
        outs = [model(tokens) for model in models]
        by_heads = [_livened(made(**{**written, "heads": heads}), 12)(tokens) for heads in (1, written["heads"])]
    return {
        "outs": outs,
        "counts": [size(model) for model in models],
        "by layers": [size(model) for model in by_layers],
        "attending": [_attending(candidate, model, tokens) for model in by_layers],
        "loose": _loose(models[1](tokens), models[1]),
        "by dim": [size(made(**{**written, "dim": dim})) for dim in (16, 32)],
        "by heads": by_heads,
    }


def answers(candidate, options, batches, seed):
    """What one model, its weights shaken, says to several batches."""
    model = _livened(candidate.ImageGPT(**options), seed)
    with torch.no_grad():
        return [probing.call(model, tokens.clone()) for tokens in batches]


def _loose(out, model):
    """Shapes of the tensors that ask for a gradient of `out` and aren't parameters of the model."""
    held = {id(p) for p in model.parameters()}
    return [list(leaf.shape) for leaf in probing.leaves(out) if id(leaf) not in held]


def fresh(candidate, cases):
    """Logits of new models, and which parameters get a gradient from the sum of squares of shaken ones."""
    found = []
    for options, tokens in cases:
        model = candidate.ImageGPT(**options).eval()
        with torch.no_grad():
            logits = model(tokens[:, :-1])
        shaken = _livened(model, 7)
        rows = shaken(tokens[:, :-1])
        loose = _loose(rows, shaken)
        rows.square().sum().backward()
        silent = [k for k, g in probing.gradients(shaken).items() if g is None or not g.abs().sum() > 0]
        found.append({"logits": logits, "shaken": rows, "loose": loose, "silent": silent})
    return found


# --- loss and samples ----------------------------------------------------------------------------------


class Table(nn.Module):
    """A model whose every probability is known: the logits depend on the last token and on how many there are.

    Notes how it is called. Dropout inside, so that modes matter.
    """

    def __init__(self, start, table, places):
        super().__init__()
        self.start = nn.Parameter(start.clone())  # (k,)
        self.table = nn.Parameter(table.clone())  # (k, k): row = token before
        self.places = nn.Parameter(places.clone())  # (length, k)
        self.inner = nn.Dropout(0.3)
        self.calls = []

    def __repr__(self):
        return "model"  # short, for verdicts that say how a function was called

    def forward(self, tokens):
        modes = [module.training for module in self.modules()]
        note = {"training": modes, "grad": torch.is_grad_enabled(), "shape": list(tokens.shape)}
        self.calls.append({**note, "tokens": tokens.detach().clone()})
        if tokens.shape[1] >= len(self.places):
            most = len(self.places) - 1
            raise ValueError(f"a model of length {most + 1} reads at most {most} tokens, it got {tokens.shape[1]}")
        rows = torch.cat([self.start.expand(len(tokens), 1, -1), self.table[tokens]], dim=1)
        return self.inner(rows) + self.places[: rows.shape[1]]


def losses(candidate, cases):
    found = []
    for case in cases:
        model = Table(*case["model"]).eval()
        tokens = case["tokens"].clone()
        loss = probing.call(candidate.next_token_loss, model, tokens)
        one = {"loss": loss, "tokens": tokens, "calls": model.calls}
        if isinstance(loss, torch.Tensor) and loss.requires_grad and loss.numel() == 1:
            loss.backward()
            one["gradients"] = probing.gradients(model)
        found.append(one)
    return found


def drawn(candidate, cases):
    """Samples from tables: with a generator twice and another seed, without one, and how the model was called."""
    found = []
    for case in cases:
        model = Table(*case["model"])
        model.train(case.get("training", False))
        runs = []
        for number, seed in enumerate(case["seeds"]):
            torch.manual_seed(3000 + number)
            options = dict(case["options"])
            if seed is not None:
                options["generator"] = _generator(seed)
            runs.append(probing.call(candidate.sample, model, case["n"], case["length"], **options))
            left_on = torch.is_grad_enabled()
            torch.set_grad_enabled(True)
        found.append(
            {
                "runs": runs,
                "left on": left_on,
                "calls": [{k: v for k, v in call.items() if k != "tokens"} for call in model.calls],
                "modes": [module.training for module in model.modules()],
            }
        )
    return found


# --- training ------------------------------------------------------------------------------------------


def watched_training(candidate, model, tokens, steps):
    """Runs `train` on a table; for every optimizer step: batch, parameters before it, gradients, and modes.

    The table comes with a `.grad` from before, as after somebody's loss.backward().
    """
    table = Table(*model)
    for p in table.parameters():
        p.grad = torch.linspace(-1, 1, p.numel()).reshape(p.shape)
    old = {name: g.clone() for name, g in probing.gradients(table).items()}
    table.inner.p = 0.0
    table.eval()
    given = tokens.clone()
    log = []

    def before(optimizer, args, kwargs):
        held = {id(p) for group in optimizer.param_groups for p in group["params"]}
        log.append(
            {
                "calls": len(table.calls),
                "parameters": probing.parameters(table),
                "gradients": probing.gradients(table),
                "held": [name for name, p in table.named_parameters() if id(p) in held],
                "optimizer": id(optimizer),
            }
        )

    hook = register_optimizer_step_pre_hook(before)
    try:
        candidate.train(table, given, steps)
    finally:
        hook.remove()
    return {"steps": log, "calls": table.calls, "end": probing.parameters(table), "tokens": given, "old": old}


def learned(candidate, images, unseen, k, kmeans_steps, steps, options, drawings):
    """Codes, tokens and a trained model: logits for unseen digits, and drawings."""
    codes = candidate.kmeans(images.permute(0, 2, 3, 1).reshape(-1, images.shape[1]), k, kmeans_steps)
    tokens = candidate.encode(images, codes)
    model = candidate.ImageGPT(k, tokens.shape[1], **options)
    count = 0

    def counted(module, args):
        nonlocal count
        count += len(args[0]) if args else 0

    handle = model.register_forward_pre_hook(counted)
    with probing.live(total=steps):
        candidate.train(model, tokens, steps)
    handle.remove()
    model.eval()
    tests = candidate.encode(unseen, codes)
    with torch.no_grad():
        logits = torch.cat([model(part[:, :-1]) for part in tests.split(100)])
        leaked = model(tests[:4, :1])
    samples = candidate.sample(model, drawings, tokens.shape[1], generator=_generator(5))
    height, width = images.shape[2:]
    return {
        "codes": codes,
        "tokens": tokens,
        "tests": tests,
        "logits": logits,
        "prefix": leaked,
        "samples": samples,
        "pictures": candidate.decode(samples, codes, height, width),
        "count": count,
    }
