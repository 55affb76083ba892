"""Recognises the parts of a training script in a tree: outputs, losses, optimizers, batch loops, layers."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final

from grader.mutation.tree import Code, callee, dotted, mentions, receiver

MODELS: Final = frozenset({"model", "net", "network", "student", "self.model"})
LOSSES: Final = frozenset({"cross_entropy", "loss_fn", "criterion", "nll_loss", "loss_function"})
TARGETS: Final = frozenset({"labels", "targets", "target", "label", "y"})
ACTIVATIONS: Final = ("relu", "tanh", "sigmoid", "gelu", "silu", "leaky_relu", "elu")


def module_classes(code: Code) -> Iterator[ast.ClassDef]:
    """Classes derived from nn.Module."""
    return (c for c in code.nodes(ast.ClassDef) if any(dotted(b).endswith("Module") for b in c.bases))


def forwards(code: Code) -> Iterator[ast.FunctionDef]:
    """The forward methods of modules."""
    for owner in module_classes(code):
        yield from (f for f in owner.body if isinstance(f, ast.FunctionDef) and f.name == "forward")


def forward_results(code: Code) -> Iterator[ast.expr]:
    """What forward methods return."""
    found = set(forwards(code))
    for node in code.nodes(ast.Return):
        if code.function(node) in found and node.value is not None:
            yield node.value


def loss_calls(code: Code) -> Iterator[ast.Call]:
    """Calls of a classification loss with outputs and targets."""
    return (call for call in code.calls(*LOSSES) if len(call.args) >= 2)


def outputs(code: Code) -> Iterator[ast.expr]:
    """The logits: what forward returns, and what a loss gets first."""
    yield from forward_results(code)
    yield from (call.args[0] for call in loss_calls(code))


def target_uses(code: Code) -> Iterator[ast.expr]:
    """Targets where they are used: the second argument of a loss, a side of `==`."""
    yield from (call.args[1] for call in loss_calls(code))
    for node in code.nodes(ast.Compare):
        if isinstance(node.ops[0], ast.Eq) and is_target(node.comparators[0]):
            yield node.comparators[0]


def is_target(node: ast.expr) -> bool:
    """Whether this is a name for labels, or an index into one."""
    base = node.value if isinstance(node, ast.Subscript) else node
    return isinstance(base, ast.Name) and base.id in TARGETS


def model_calls(code: Code) -> Iterator[ast.Call]:
    """`model(x)`, but not what belongs to building it."""
    return (call for call in code.nodes(ast.Call) if dotted(call.func) in MODELS and call.args)


def training_function(code: Code, node: ast.AST) -> bool:
    """Whether the function around the node calls backward()."""
    function = code.function(node)
    return function is not None and mentions(function, "backward") and function.name != "backward"


def batch_loops(code: Code) -> Iterator[ast.For]:
    """Loops over batches: those in which the model is called, the innermost of them."""
    loops = {code.within(call, ast.For): None for call in model_calls(code)}
    return (loop for loop in loops if loop is not None)


def optimizer_calls(code: Code) -> Iterator[ast.Call]:
    """Constructors of optimizers."""
    for call in code.nodes(ast.Call):
        if "optim." in dotted(call.func) and "lr_scheduler" not in dotted(call.func):
            yield call


def steps(code: Code) -> Iterator[ast.Expr]:
    """`optimizer.step()`, not that of a scheduler."""
    return (s for s in code.call_statements("step") if not _steps_schedule(s))


def scheduler_steps(code: Code) -> Iterator[ast.Expr]:
    """`scheduler.step()`."""
    return (s for s in code.call_statements("step") if _steps_schedule(s))


def _steps_schedule(statement: ast.Expr) -> bool:
    return "sched" in dotted(statement.value)


def layers(code: Code) -> Iterator[tuple[ast.Assign, ast.Attribute, ast.Call]]:
    """`self.name = nn.Layer(…)` in a module's __init__: statement, target and constructor."""
    for node in code.nodes(ast.Assign):
        target, value = node.targets[0], node.value
        if not (isinstance(target, ast.Attribute) and isinstance(value, ast.Call)):
            continue
        if dotted(target.value) not in ("self", *MODELS) or not callee(value)[:1].isupper():
            continue
        if dotted(value.func).split(".")[0] in ("nn", "torch"):
            yield node, target, value


def activation_input(call: ast.Call) -> ast.expr | None:
    """`x` of `F.relu(x)`, `torch.relu(x)` or `x.relu()`."""
    if callee(call) not in ACTIVATIONS:
        return None
    return receiver(call) or (call.args[0] if call.args else None)


def image_inputs(code: Code) -> Iterator[ast.expr]:
    """Images on their way to the model: its argument, and what a function that normalises takes."""
    for call in model_calls(code):
        yield call.args[0]
    for node in code.nodes(ast.Name):
        if node.id == "images" and isinstance(node.ctx, ast.Load) and _normalised(code, node):
            yield node


def _normalised(code: Code, node: ast.Name) -> bool:
    function = code.function(node)
    return function is not None and function.name.startswith("normal")


def input_uses(code: Code, function: ast.FunctionDef) -> Iterator[ast.Name]:
    """Where a forward reads its input, or what it has since put under the input's name."""
    if len(function.args.args) < 2:
        return
    name = function.args.args[1].arg
    for node in code.nodes(ast.Name):
        if node.id == name and isinstance(node.ctx, ast.Load) and code.function(node) is function:
            yield node
