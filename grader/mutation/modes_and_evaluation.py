"""Faults of modes and of evaluation (40 to 53 of the catalogue)."""

from __future__ import annotations

import ast
from collections.abc import Iterator

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
    without_keyword,
)

FAMILY = "modes and evaluation"


@operator(40, FAMILY)
def no_eval(code: Code) -> Iterator[Edit]:
    """eval() is missing."""
    for statement in code.call_statements("eval"):
        yield {statement: ()}


@operator(41, FAMILY)
def mode_not_restored(code: Code) -> Iterator[Edit]:
    """The mode that was found is not given back."""
    for statement in code.call_statements("train"):
        assert isinstance(statement.value, ast.Call)
        if statement.value.args:
            yield {statement: ()}
            yield {statement.value.args[0]: [expression("True")]}
            yield {statement.value.args[0]: [expression("False")]}


@operator(42, FAMILY)
def no_no_grad(code: Code) -> Iterator[Edit]:
    """no_grad() is missing."""
    for node in code.nodes(ast.With):
        if any(mentions(item.context_expr, "no_grad", "inference_mode") for item in node.items):
            yield {node: node.body}


@operator(42, FAMILY)
def gradients_left_off(code: Code) -> Iterator[Edit]:
    """Gradients switched off for good instead of for a block."""
    for node in code.nodes(ast.With):
        if any(mentions(item.context_expr, "no_grad", "inference_mode") for item in node.items):
            yield {node: [*statements("torch.set_grad_enabled(False)"), *node.body]}


@operator(43, FAMILY)
def evaluated_in_train_mode(code: Code) -> Iterator[Edit]:
    """train() where eval() is meant."""
    for call in code.calls("eval"):
        yield {call: [renamed(call, "train")]}


@operator(44, FAMILY)
def trained_in_eval_mode(code: Code) -> Iterator[Edit]:
    """eval() where train() is meant."""
    for statement in code.call_statements("train", "set_train_mode"):
        call = statement.value
        if isinstance(call, ast.Call) and callee(call) == "train" and not call.args:
            yield {call: [renamed(call, "eval")]}
        elif isinstance(call, ast.Call) and callee(call) == "set_train_mode":
            yield {call: [expression("model.eval()", model=call.args[0])]}


@operator(44, FAMILY)
def no_train(code: Code) -> Iterator[Edit]:
    """train() is missing."""
    for statement in code.call_statements("train", "set_train_mode"):
        call = statement.value
        if isinstance(call, ast.Call) and (not call.args or callee(call) == "set_train_mode"):
            yield {statement: ()}


@operator(44, FAMILY)
def top_level_flag_only(code: Code) -> Iterator[Edit]:
    """The flag `training` set on the outermost module only."""
    for statement in code.call_statements("train", "eval"):
        call = statement.value
        assert isinstance(call, ast.Call)
        owner = receiver(call)
        if owner is not None:
            value = call.args[0] if call.args else expression(str(callee(call) == "train"))
            made = statements("model.training = value", model=owner, value=value)
            target = made[0].targets[0]  # type: ignore[attr-defined]
            target.value = owner
            yield {statement: made}


@operator(45, FAMILY)
def argmax_over_batch(code: Code) -> Iterator[Edit]:
    """argmax over the wrong dimension."""
    for call in code.calls("argmax", "max"):
        given = keyword(call, "dim")
        if given is not None:
            yield {given.value: [expression("0")]}
            yield {call: [without_keyword(call, "dim")]}
        elif call.args and isinstance(call.args[-1], ast.Constant) and call.args[-1].value == 1:
            yield {call.args[-1]: [expression("0")]}


@operator(46, FAMILY)
def argmin(code: Code) -> Iterator[Edit]:
    """argmin instead of argmax."""
    for call in code.calls("argmax"):
        yield {call: [renamed(call, "argmin")]}


@operator(46, FAMILY)
def last_of_equals(code: Code) -> Iterator[Edit]:
    """Among equal logits the last wins instead of the first."""
    for call in code.calls("argmax"):
        logits = receiver(call)
        if logits is not None:
            yield {call: [expression("x.shape[1] - 1 - x.flip(1).argmax(1)", x=logits)]}


@operator(47, FAMILY)
def last_batch_dropped(code: Code) -> Iterator[Edit]:
    """The last batch is left out."""
    for loop in recognise.batch_loops(code):
        yield {loop.iter: [expression("list(batches)[:-1]", batches=loop.iter)]}


@operator(48, FAMILY)
def batches_counted(code: Code) -> Iterator[Edit]:
    """Batches counted where examples are meant."""
    for node in code.nodes(ast.AugAssign):
        if isinstance(node.value, ast.Call) and callee(node.value) in ("len", "size", "numel"):
            yield {node.value: [expression("1")]}


@operator(48, FAMILY)
def denominator_of_another_kind(code: Code) -> Iterator[Edit]:
    """A ratio divided by one too many, or not divided."""
    for node in code.nodes(ast.Return):
        if node.value is None:
            continue
        parts = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
        for part in parts:
            if isinstance(part, ast.BinOp) and isinstance(part.op, ast.Div):
                yield {part.right: [expression("n + 1", n=part.right)]}
                yield {part: [part.left]}
            elif isinstance(part, ast.Call) and "ratio" in callee(part) and len(part.args) == 2:
                yield {part.args[1]: [expression("n + 1", n=part.args[1])]}


@operator(48, FAMILY)
def percent(code: Code) -> Iterator[Edit]:
    """A percentage instead of a fraction."""
    for node in code.nodes(ast.Return):
        if isinstance(node.value, ast.BinOp) and isinstance(node.value.op, ast.Div):
            yield {node.value: [expression("100 * r", r=node.value)]}


@operator(49, FAMILY)
def mean_of_batch_means(code: Code) -> Iterator[Edit]:
    """Batches weigh the same whatever their size."""
    for node in code.nodes(ast.AugAssign):
        value = node.value
        if isinstance(value, ast.BinOp) and isinstance(value.op, ast.Mult) and mentions(value, "len", "size"):
            size = value.right if mentions(value.right, "len", "size") else value.left
            rest = value.left if size is value.right else value.right
            counts = [
                other
                for other in code.nodes(ast.AugAssign)
                if code.block(other) is code.block(node) and dotted(other.value) == dotted(size)
            ]
            if len(counts) == 1 and not _counts_hits(code, node):
                yield {value: [rest], counts[0].value: [expression("1")]}
            yield {value: [rest]}


def _counts_hits(code: Code, node: ast.AugAssign) -> bool:
    """Whether the same count also divides hits; then it can't simply become the number of batches."""
    return any(
        mentions(other.value, "argmax", "predictions")
        for other in code.nodes(ast.AugAssign)
        if code.block(other) is code.block(node)
    )


@operator(50, FAMILY)
def pair_transposed(code: Code) -> Iterator[Edit]:
    """Rows and columns of a matrix of pairs exchanged: `a * n + b` becomes `b * n + a`."""
    for node in code.nodes(ast.BinOp):
        if isinstance(node.op, ast.Add) and isinstance(node.left, ast.BinOp) and isinstance(node.left.op, ast.Mult):
            yield {node: [expression("b * n + a", a=node.left.left, b=node.right, n=node.left.right)]}


@operator(50, FAMILY)
def other_axis(code: Code) -> Iterator[Edit]:
    """A reduction over the other axis, as precision for recall."""
    for call in code.calls("sum", "mean", "any", "all", "softmax", "cumsum", "sort", "vector_norm", "norm"):
        given = keyword(call, "dim")
        if given is not None and isinstance(given.value, ast.Constant) and given.value.value in (0, 1):
            yield {given.value: [expression("1" if given.value.value == 0 else "0")]}


@operator(50, FAMILY)
def top_k_off(code: Code) -> Iterator[Edit]:
    """k that is one too many, one too few, or not used."""
    for node in code.nodes(ast.Name):
        if node.id == "k" and isinstance(node.ctx, ast.Load):
            for text in ("k + 1", "k - 1", "5"):
                yield {node: [expression(text)]}
    for attribute in code.nodes(ast.Attribute):
        if attribute.attr == "k" and isinstance(attribute.ctx, ast.Load):
            yield {attribute: [expression("5")]}


@operator(50, FAMILY)
def ranked_from_below(code: Code) -> Iterator[Edit]:
    """The smallest ranked first."""
    for call in code.calls("sort", "argsort", "topk"):
        for name in ("descending", "largest"):
            given = keyword(call, name)
            if given is not None and isinstance(given.value, ast.Constant):
                yield {given.value: [expression(str(not given.value.value))]}


@operator(51, FAMILY)
def one_pixel_more(code: Code) -> Iterator[Edit]:
    """Widths of boxes with the pixel too many of old integer boxes."""
    for node in code.nodes(ast.BinOp):
        if isinstance(node.op, ast.Sub) and mentions(node, "x2", "y2", "right", "bottom"):
            yield {node: [expression("d + 1", d=node)]}


@operator(51, FAMILY)
def box_format_confused(code: Code) -> Iterator[Edit]:
    """Corners read as width and height."""
    for node in code.nodes(ast.BinOp):
        if isinstance(node.op, ast.Sub) and mentions(node, "x2", "y2", "right", "bottom"):
            yield {node: [node.left]}


@operator(52, FAMILY)
def validated_on_training_data(code: Code) -> Iterator[Edit]:
    """The training loader where the validation loader is meant, or the other way round."""
    other = {"val_loader": "train_loader", "train_loader": "val_loader", "test_loader": "train_loader"}
    for node in code.nodes(ast.Name):
        if isinstance(node.ctx, ast.Load) and node.id in other and mentions(code.tree, node.id):
            yield {node: [expression(other[node.id])]}


@operator(53, FAMILY)
def patience_off_by_one(code: Code) -> Iterator[Edit]:
    """Early stopping one epoch too late or too early."""
    for node in code.nodes(ast.Compare):
        if mentions(node.comparators[0], "patience") and not isinstance(node.ops[0], ast.Is | ast.IsNot):
            for text in ("p + 1", "p - 1"):
                yield {node.comparators[0]: [expression(text, p=node.comparators[0])]}


@operator(53, FAMILY)
def patience_counts_all(code: Code) -> Iterator[Edit]:
    """Bad epochs are counted over the whole run instead of in a row."""
    for node in code.nodes(ast.Assign):
        target, value = node.targets[0], node.value
        if not (isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple)) or code.within(node, ast.For) is None:
            continue
        for name, given in zip(target.elts, value.elts, strict=False):
            if isinstance(given, ast.Constant):
                yield {given: [expression(dotted(name))]}


@operator(53, FAMILY)
def best_weights_not_restored(code: Code) -> Iterator[Edit]:
    """The best weights are not loaded at the end."""
    for statement in code.call_statements("load_state_dict"):
        yield {statement: ()}


@operator(53, FAMILY)
def best_weights_not_copied(code: Code) -> Iterator[Edit]:
    """The best weights are remembered without a copy, or with the outer dict copied only."""
    for call in code.calls("deepcopy"):
        yield {call: [call.args[0]]}
        yield {call: [renamed(call, "copy")]}


@operator(53, FAMILY)
def best_parameters_only(code: Code) -> Iterator[Edit]:
    """The best parameters are remembered, the buffers are not."""
    for call in code.calls("load_state_dict"):
        owner = receiver(call)
        if owner is not None and call.args:
            kept = "{k: v for k, v in state.items() if k in dict(model.named_parameters())}"
            made = expression(f"model.load_state_dict({kept}, strict=False)", state=call.args[0], model=owner)
            yield {call: [made]}
