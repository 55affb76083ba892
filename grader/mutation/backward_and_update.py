"""Faults of the backward pass and of the update (17 to 39 of the catalogue)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from itertools import islice

from grader.mutation import recognise
from grader.mutation.operators import operator
from grader.mutation.tree import (
    Code,
    Edit,
    callee,
    dotted,
    expression,
    keyword,
    mentions,
    receiver,
    renamed,
    statements,
    with_argument,
    with_keyword,
    without_keyword,
)

FAMILY = "backward and update"


def _removed(found: Iterator[ast.Expr]) -> Iterator[Edit]:
    for statement in found:
        yield {statement: ()}


@operator(17, FAMILY)
def no_zero_grad(code: Code) -> Iterator[Edit]:
    """zero_grad is missing: gradients add up over the batches."""
    return _removed(code.call_statements("zero_grad"))


@operator(18, FAMILY)
def zero_grad_before_step(code: Code) -> Iterator[Edit]:
    """zero_grad between backward and step: nothing is left to update with."""
    for clear in code.call_statements("zero_grad"):
        for step in recognise.steps(code):
            if code.block(step) is code.block(clear):
                yield code.moved(clear, step, after=False)


@operator(17, FAMILY)
def zero_grad_after_step_only(code: Code) -> Iterator[Edit]:
    """zero_grad after step: what the caller left on .grad joins the first update."""
    for clear in code.call_statements("zero_grad"):
        for step in recognise.steps(code):
            if code.block(step) is code.block(clear):
                yield code.moved(clear, step, after=True)


@operator(17, FAMILY)
def zero_grad_once(code: Code) -> Iterator[Edit]:
    """zero_grad in front of the loop instead of in it."""
    for clear in code.call_statements("zero_grad"):
        loop = code.within(clear, ast.For)
        if loop is not None:
            yield code.moved(clear, loop, after=False)


@operator(19, FAMILY)
def no_step(code: Code) -> Iterator[Edit]:
    """optimizer.step() is missing."""
    return _removed(recognise.steps(code))


@operator(19, FAMILY)
def step_twice(code: Code) -> Iterator[Edit]:
    """optimizer.step() twice a batch."""
    for step in recognise.steps(code):
        yield {step: [step, step]}


@operator(19, FAMILY)
def step_once_per_pass(code: Code) -> Iterator[Edit]:
    """optimizer.step() behind the loop over batches."""
    for step in recognise.steps(code):
        loop = code.within(step, ast.For)
        if loop is not None:
            yield code.moved(step, loop, after=True)


@operator(20, FAMILY)
def no_backward(code: Code) -> Iterator[Edit]:
    """backward() is missing."""
    return _removed(code.call_statements("backward"))


@operator(21, FAMILY)
def step_before_backward(code: Code) -> Iterator[Edit]:
    """optimizer.step() in front of backward()."""
    for step in recognise.steps(code):
        for back in code.call_statements("backward"):
            if code.block(step) is code.block(back):
                yield code.moved(step, back, after=False)


@operator(22, FAMILY)
def graph_cut(code: Code) -> Iterator[Edit]:
    """The loss is cut off from the graph and made a leaf, so that backward() still runs."""
    for statement in code.call_statements("backward"):
        loss = receiver(statement.value) if isinstance(statement.value, ast.Call) else None
        if loss is not None:
            yield {loss: [expression("loss.detach().requires_grad_()", loss=loss)]}
    for call in recognise.loss_calls(code):
        if recognise.training_function(code, call):
            cut = expression("x.detach().requires_grad_()", x=call.args[0])
            yield {call: [with_argument(call, 0, cut)]}


@operator(22, FAMILY)
def forward_without_graph(code: Code) -> Iterator[Edit]:
    """A forward pass that cuts its own graph: what comes before the cut gets no gradient."""
    for function in recognise.forwards(code):
        for use in islice(recognise.input_uses(code, function), 1, None):  # the input itself needs none
            yield {use: [expression("x.detach()", x=use)]}
    for node in recognise.forward_results(code):
        yield {node: [expression("x.detach()", x=node)]}


@operator(23, FAMILY)
def loss_tensor_kept(code: Code) -> Iterator[Edit]:
    """A tensor where a number is asked for: .item() is missing."""
    for call in code.calls("item", "float", "int"):
        value = receiver(call) if callee(call) == "item" else (call.args or [None])[0]  # type: ignore[list-item]
        if value is not None:
            yield {call: [value]}


@operator(24, FAMILY)
def optimizer_state_lost(code: Code) -> Iterator[Edit]:
    """The optimizer made anew for each step: momentum and Adam's averages are forgotten."""
    for step in recognise.steps(code):
        assert isinstance(step.value, ast.Call)
        owner = receiver(step.value)
        loop = code.within(step, ast.For)
        made = [s for s in code.nodes(ast.Assign) if owner is not None and dotted(s.targets[0]) == dotted(owner)]
        own = [s for s in made if code.function(s) is code.function(step)]
        if own and loop is not None:
            yield {loop.body[0]: [own[0], loop.body[0]]}
        elif owner is not None:
            yield {step: [*statements("optimizer.state.clear()", optimizer=owner), step]}


@operator(25, FAMILY)
def optimizer_over_last_layer(code: Code) -> Iterator[Edit]:
    """The optimizer gets the last layer's parameters only."""
    for call in recognise.optimizer_calls(code):
        if call.args:
            yield {call.args[0]: [expression("list(p)[-2:]", p=call.args[0])]}


@operator(25, FAMILY)
def parameters_of_another_part(code: Code) -> Iterator[Edit]:
    """The parameters of the whole model where those of a part are meant, or the other way round."""
    for call in code.calls("parameters", "modules"):
        owner = receiver(call)
        if isinstance(owner, ast.Attribute):
            yield {owner: [owner.value]}
        elif isinstance(owner, ast.Name) and "fc" in dotted(code.tree):
            yield {owner: [expression("model.fc", model=owner)]}


@operator(26, FAMILY)
def optimizer_over_a_copy(code: Code) -> Iterator[Edit]:
    """The optimizer gets copies of the parameters."""
    for call in recognise.optimizer_calls(code):
        if call.args:
            copies = "[torch.nn.Parameter(p.detach().clone()) for p in params]"
            yield {call.args[0]: [expression(copies, params=call.args[0])]}


@operator(27, FAMILY)
def layer_replaced_first(code: Code) -> Iterator[Edit]:
    """A layer is replaced before what should have come first: freezing, or building the optimizer."""
    for statement, _, _ in recognise.layers(code):
        block = code.block(statement)
        for earlier in block[: block.index(statement)]:
            if mentions(earlier, "requires_grad", "parameters"):
                yield code.moved(statement, earlier, after=False)


@operator(28, FAMILY)
def ascent(code: Code) -> Iterator[Edit]:
    """The optimizer maximises."""
    for call in recognise.optimizer_calls(code):
        yield {call: [with_keyword(call, "maximize", "True")]}


def _rates(code: Code) -> Iterator[ast.expr]:
    for call in code.nodes(ast.Call):
        rate = keyword(call, "lr")
        if rate is not None:
            yield rate.value
    for node in code.nodes(ast.Dict):
        for key, value in zip(node.keys, node.values, strict=True):
            if isinstance(key, ast.Constant) and key.value == "lr" and not isinstance(value, ast.List):
                yield value


@operator(29, FAMILY, late=True)
def rate_too_high(code: Code) -> Iterator[Edit]:
    """A learning rate a hundred times too high."""
    for node in _rates(code):
        yield {node: [expression("x * 100", x=node)]}


@operator(30, FAMILY, late=True)
def rate_too_low(code: Code) -> Iterator[Edit]:
    """A learning rate a thousand times too low."""
    for node in _rates(code):
        yield {node: [expression("x / 1000", x=node)]}


@operator(31, FAMILY, late=True)
def weight_decay_huge(code: Code) -> Iterator[Edit]:
    """A weight decay of 0.5 that nobody asked for."""
    for call in recognise.optimizer_calls(code):
        yield {call: [with_keyword(call, "weight_decay", "0.5")]}
    for step in recognise.steps(code):
        if code.function(step) is not None and "optimizer" in _parameters(code, step):
            decay = statements("for _group in optimizer.param_groups:\n    _group['weight_decay'] = 0.5")
            yield {step: [*decay, step]}


def _parameters(code: Code, node: ast.AST) -> list[str]:
    function = code.function(node)
    return [a.arg for a in function.args.args] if function is not None else []


@operator(32, FAMILY)
def regularisation_removed(code: Code) -> Iterator[Edit]:
    """The weight decay that was asked for is left out."""
    for call in code.nodes(ast.Call):
        if keyword(call, "weight_decay") is not None:
            yield {call: [without_keyword(call, "weight_decay")]}


@operator(33, FAMILY)
def clip_tiny(code: Code) -> Iterator[Edit]:
    """Gradients clipped to almost nothing."""
    for call in code.calls("clip_grad_norm_", "clip_grad_value_"):
        if len(call.args) > 1:
            yield {call: [with_argument(call, 1, expression("1e-4"))]}
    for step in recognise.steps(code):
        if mentions(step, "optimizer") and not list(code.calls("clip_grad_norm_")):
            clip = "torch.nn.utils.clip_grad_norm_([p for g in optimizer.param_groups for p in g['params']], 1e-4)"
            yield {step: [*statements(clip), step]}


@operator(33, FAMILY)
def clip_after_step(code: Code) -> Iterator[Edit]:
    """Gradients clipped when the step is done."""
    for clip in code.call_statements("clip_grad_norm_", "clip_grad_value_"):
        whole = _optional(code, clip)
        for step in recognise.steps(code):
            if code.block(step) is code.block(whole):
                yield code.moved(whole, step, after=True)


@operator(33, FAMILY)
def clip_before_backward(code: Code) -> Iterator[Edit]:
    """Gradients clipped before they are there."""
    for clip in code.call_statements("clip_grad_norm_", "clip_grad_value_"):
        whole = _optional(code, clip)
        for back in code.call_statements("backward"):
            if code.block(back) is code.block(whole):
                yield code.moved(whole, back, after=False)


@operator(33, FAMILY)
def clip_by_value(code: Code) -> Iterator[Edit]:
    """Clipped by value where the norm is meant."""
    for call in code.calls("clip_grad_norm_"):
        yield {call: [renamed(call, "clip_grad_value_")]}


def _optional(code: Code, statement: ast.stmt) -> ast.stmt:
    """The `if` that holds nothing but this statement; else the statement itself."""
    parent = code.parent(statement)
    if isinstance(parent, ast.If) and len(parent.body) == 1 and not parent.orelse:
        return parent
    return statement


@operator(34, FAMILY)
def one_gradient_flipped(code: Code) -> Iterator[Edit]:
    """The gradient of one tensor has the wrong sign."""
    for step in recognise.steps(code):
        flip = statements("for _p in [p for g in optimizer.param_groups for p in g['params']][:1]:\n    _p.grad.neg_()")
        if mentions(step, "optimizer"):
            yield {step: [*flip, step]}
    for node in code.nodes(ast.Return):
        function = code.function(node)
        if function is not None and function.name == "backward" and isinstance(node.value, ast.Tuple):
            for element in node.value.elts:
                if not isinstance(element, ast.Constant):
                    yield {element: [expression("None if x is None else -x", x=element)]}


@operator(34, FAMILY)
def one_gradient_missing(code: Code) -> Iterator[Edit]:
    """A backward of one's own that returns None for a gradient that is needed."""
    for node in code.nodes(ast.Return):
        function = code.function(node)
        if function is not None and function.name == "backward" and isinstance(node.value, ast.Tuple):
            for element in node.value.elts:
                if not isinstance(element, ast.Constant):
                    yield {element: [expression("None")]}


@operator(34, FAMILY)
def gradient_ignores_incoming(code: Code) -> Iterator[Edit]:
    """A backward of one's own that leaves out the incoming gradient."""
    for node in code.nodes(ast.BinOp):
        if isinstance(node.op, ast.Mult) and isinstance(node.left, ast.Name) and node.left.id.startswith("grad"):
            yield {node.left: [expression("torch.ones_like(g)", g=node.left)]}


@operator(35, FAMILY)
def scheduler_never(code: Code) -> Iterator[Edit]:
    """scheduler.step() is missing."""
    return _removed(recognise.scheduler_steps(code))


@operator(35, FAMILY)
def scheduler_first(code: Code) -> Iterator[Edit]:
    """scheduler.step() at the start of the loop, before the optimizer's."""
    for step in recognise.scheduler_steps(code):
        whole = _optional(code, step)
        first = code.block(whole)[0]
        if first is not whole:
            yield code.moved(whole, first, after=False)


@operator(35, FAMILY)
def scheduler_too_often(code: Code) -> Iterator[Edit]:
    """The scheduler steps more than once for each time that is due."""
    for step in recognise.scheduler_steps(code):
        yield {step: [step, step]}


@operator(35, FAMILY)
def scheduler_per_epoch(code: Code) -> Iterator[Edit]:
    """A scheduler that counts batches is stepped once per epoch, or the other way round."""
    for step in recognise.scheduler_steps(code):
        loop = code.within(step, ast.For)
        if loop is not None:
            yield code.moved(_optional(code, step), loop, after=True)


@operator(36, FAMILY, late=True)
def another_optimizer(code: Code) -> Iterator[Edit]:
    """Another class of optimizer, or other betas."""
    for call in recognise.optimizer_calls(code):
        name = callee(call)
        yield {call: [renamed(call, "Adagrad" if name == "SGD" else "SGD")]}
        if name.startswith("Adam"):
            yield {call: [with_keyword(call, "betas", "(0.0, 0.0)")]}


@operator(37, FAMILY)
def accumulation_not_divided(code: Code) -> Iterator[Edit]:
    """Accumulated gradients that are not divided by the number of parts."""
    for statement in code.call_statements("backward"):
        loss = receiver(statement.value) if isinstance(statement.value, ast.Call) else None
        if isinstance(loss, ast.BinOp) and isinstance(loss.op, ast.Div):
            yield {loss: [loss.left]}


@operator(38, FAMILY)
def scaler_misused(code: Code) -> Iterator[Edit]:
    """Mixed precision without unscaling, or without the scaler's update."""
    yield from _removed(code.call_statements("unscale_"))
    for statement in code.call_statements("update"):
        if mentions(statement, "scaler"):
            yield {statement: ()}


@operator(39, FAMILY)
def average_the_wrong_way(code: Code) -> Iterator[Edit]:
    """A moving average that keeps the new value where it should keep the old."""
    for node in code.nodes(ast.BinOp):
        if isinstance(node.op, ast.Sub) and isinstance(node.left, ast.Constant) and node.left.value == 1:
            yield {node: [node.right]}
    for name in code.nodes(ast.Name):
        if name.id in ("decay", "momentum", "alpha") and isinstance(name.ctx, ast.Load):
            parent = code.parent(name)
            if not (isinstance(parent, ast.BinOp) and isinstance(parent.op, ast.Sub)):
                yield {name: [expression("1 - d", d=name)]}
