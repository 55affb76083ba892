"""Fetches state, outputs and gradients of the candidate's blocks and networks. Judges nothing."""

from __future__ import annotations

import torch
from torch import nn

from grader.checking import probing


def _block(candidate, case):
    """A block of the case's shape in float64, with the case's state in it."""
    block = candidate.BasicBlock(*case["shape"]).double()
    block.load_state_dict(case["state"])
    return block.train(case.get("training", True))


def _net(candidate, case):
    net = candidate.ResNet18(case["classes"], case["width"]).double()
    net.load_state_dict(case["state"])
    return net.train(case["training"])


def _shapes(module):
    trained = [name for name, p in module.named_parameters() if p.requires_grad]
    shapes = {name: list(v.shape) for name, v in module.state_dict().items()}
    return {"shapes": shapes, "parameters": [name for name, _ in module.named_parameters()], "trained": trained}


def block_states(candidate, cases):
    return [_shapes(candidate.BasicBlock(*case)) for case in cases]


def net_states(candidate, cases):
    return [_shapes(candidate.ResNet18(*case)) for case in cases]


def parameter_count(candidate):
    net = candidate.ResNet18()
    return {"all": sum(p.numel() for p in net.parameters()), "fc": list(net.fc.weight.shape)}


def _shape_of(module, x):
    return probing.outcome(lambda: list(module(x).shape))


def block_shapes(candidate, cases):
    """For each (block, input shape): the output's shape in evaluation mode, or what was raised."""
    with torch.no_grad():
        return [_shape_of(candidate.BasicBlock(*block).eval(), torch.randn(shape)) for block, shape in cases]


def net_shapes(candidate, cases):
    with torch.no_grad():
        nets = {n: candidate.ResNet18(n, 4).eval() for n in {classes for classes, _ in cases}}
        return [_shape_of(nets[classes], torch.randn(shape)) for classes, shape in cases]


def block_values(candidate, cases):
    """The output, and the buffers afterwards."""
    found = []
    for case in cases:
        block = _block(candidate, case)
        found.append({"output": block(case["x"].clone()), "buffers": probing.buffers(block)})
    return found


def net_values(candidate, cases):
    found = []
    for case in cases:
        net = _net(candidate, case)
        found.append({"output": net(case["x"].clone()), "buffers": probing.buffers(net)})
    return found


def inputs_afterwards(candidate, cases):
    """For each block: the input after the call, in three ways of calling; what backward raised."""
    found = []
    for case in cases:
        block, row = _block(candidate, case), {}
        for how in ("training", "evaluation"):
            block.train(how == "training")
            with torch.set_grad_enabled(how == "training"):
                x = case["x"].clone()
                block(x)
                row[how] = x
        block.train()
        leaf = case["x"].clone().requires_grad_(True)
        x = (2 * leaf).exp()  # its derivative is computed from x itself, as a ReLU's is
        before = x.detach().clone()
        error = probing.outcome(lambda x=x, block=block: block(block(x)).sum().backward())
        row["recording"], row["before"], row["raised"] = x, before, error.get("message")
        found.append(row)
    return found


def starts(candidate, blocks, x):
    """State and output of new blocks, by default and with zero_init."""
    found = []
    for block in blocks:
        for zero_init in (False, True):
            made = candidate.BasicBlock(*block, **({"zero_init": True} if zero_init else {})).double()
            found.append({"state": probing.state(made), "output": made(x[:, : block[0]].clone())})
    return found


def highways(candidate, depth, channels, x, upstream):
    """Gradients at the input of a chain of new blocks: with zero_init, and as they are made, in evaluation mode."""
    found = {}
    for name, options, training in (("zero_init", {"zero_init": True}, True), ("plain start", {}, False)):
        chain = nn.Sequential(*[candidate.BasicBlock(channels, channels, **options) for _ in range(depth)])
        chain.double().train(training)
        leaf = x.clone().requires_grad_(True)
        output = chain(leaf)
        (gradient,) = torch.autograd.grad(output, leaf, upstream, allow_unused=True)
        found[name] = {"output": output, "gradient": gradient, "state": probing.state(chain)}
    return found


def _gradients(output, upstream, leaves):
    if not output.requires_grad:
        return dict.fromkeys(leaves)
    found = torch.autograd.grad(output, list(leaves.values()), upstream, allow_unused=True)
    return dict(zip(leaves, found, strict=True))


def block_gradients(candidate, cases):
    """For each block: gradients of (output * upstream).sum() for the input and every parameter."""
    found = []
    for case in cases:
        block, x = _block(candidate, case), case["x"].clone().requires_grad_(True)
        found.append(_gradients(block(x), case["upstream"], {"x": x, **dict(block.named_parameters())}))
    return found


def net_gradients(candidate, case):
    net, x = _net(candidate, case), case["x"].clone().requires_grad_(True)
    return _gradients(net(x), case["upstream"], {"x": x, **dict(net.named_parameters())})


def fresh(candidate, classes, width, images):
    """A new network's weights, its logits in training mode, and the gains of its norms, without and with zero_init."""
    net = candidate.ResNet18(classes, width)
    weights = {name: p for name, p in probing.parameters(net).items() if p.dim() > 1}
    gains = []
    for made in (net, candidate.ResNet18(classes, width, zero_init=True)):
        norms = {name: m.weight for name, m in made.named_modules() if isinstance(m, nn.BatchNorm2d)}
        gains.append({name: weight.detach().clone() for name, weight in norms.items()})
    return {"weights": weights, "logits": net(images), "gains": gains}


def foreign_classes(candidate):
    """Classes of the modules, and those they derive from, that come from a library of ready-made networks."""
    modules = [candidate.BasicBlock(4, 4), *candidate.ResNet18(10, 4).modules()]
    kinds = {kind for module in modules for kind in type(module).__mro__}
    ready_made = [kind for kind in kinds if kind.__module__.split(".")[0] in ("torchvision", "timm")]
    return sorted(f"{kind.__module__}.{kind.__name__}" for kind in ready_made)
