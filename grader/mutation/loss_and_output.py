"""Faults of the loss and of what goes into it (1 to 16 of the catalogue)."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from grader.mutation import recognise
from grader.mutation.operators import operator
from grader.mutation.tree import (
    Code,
    Edit,
    callee,
    expression,
    keyword,
    mentions,
    receiver,
    renamed,
    with_keyword,
    without_keyword,
)

FAMILY = "loss and output"


def _on_outputs(code: Code, template: str) -> Iterator[Edit]:
    for node in recognise.outputs(code):
        yield {node: [expression(template, x=node)]}


@operator(1, FAMILY)
def softmax_on_logits(code: Code) -> Iterator[Edit]:
    """Softmax on logits that go into a cross-entropy."""
    return _on_outputs(code, "x.softmax(1)")


@operator(2, FAMILY)
def sigmoid_on_logits(code: Code) -> Iterator[Edit]:
    """Sigmoid on logits."""
    return _on_outputs(code, "x.sigmoid()")


@operator(3, FAMILY)
def relu_on_logits(code: Code) -> Iterator[Edit]:
    """ReLU on logits."""
    return _on_outputs(code, "x.relu()")


@operator(4, FAMILY)
def log_softmax_on_logits(code: Code) -> Iterator[Edit]:
    """Log-softmax on logits."""
    return _on_outputs(code, "x.log_softmax(1)")


@operator(5, FAMILY)
def softmax_over_batch(code: Code) -> Iterator[Edit]:
    """Softmax over the batch dimension."""
    return _on_outputs(code, "x.softmax(0)")


@operator(5, FAMILY)
def softmax_over_wrong_dimension(code: Code) -> Iterator[Edit]:
    """A softmax that is there, over another dimension."""
    for call in code.calls("softmax", "log_softmax"):
        given = keyword(call, "dim")
        node = given.value if given else call.args[-1] if call.args else None
        if node is not None and isinstance(node, ast.Constant | ast.UnaryOp):
            yield {node: [expression("0")]}


@operator(6, FAMILY)
def squared_error_on_one_hot(code: Code) -> Iterator[Edit]:
    """Mean squared error on one-hot targets instead of cross-entropy."""
    template = "torch.nn.functional.mse_loss(x, torch.nn.functional.one_hot(y, x.shape[1]).to(x.dtype))"
    for call in recognise.loss_calls(code):
        yield {call: [expression(template, x=call.args[0], y=call.args[1])]}


@operator(7, FAMILY)
def nll_on_logits(code: Code) -> Iterator[Edit]:
    """Negative log likelihood of raw logits."""
    for call in recognise.loss_calls(code):
        yield {call: [expression("torch.nn.functional.nll_loss(x, y)", x=call.args[0], y=call.args[1])]}


@operator(8, FAMILY)
def sum_instead_of_mean(code: Code) -> Iterator[Edit]:
    """The loss summed over the batch instead of averaged."""
    for call in recognise.loss_calls(code):
        yield {call: [expression("loss * len(y)", loss=call, y=call.args[1])]}


@operator(9, FAMILY)
def negated_loss(code: Code) -> Iterator[Edit]:
    """The loss with its sign turned."""
    for call in recognise.loss_calls(code):
        yield {call: [expression("-loss", loss=call)]}
    for statement in code.call_statements("backward"):
        loss = receiver(statement.value) if isinstance(statement.value, ast.Call) else None
        if loss is not None:
            yield {loss: [expression("-loss", loss=loss)]}


@operator(10, FAMILY)
def label_smoothing(code: Code) -> Iterator[Edit]:
    """Label smoothing that nobody asked for."""
    for call in recognise.loss_calls(code):
        template = "torch.nn.functional.cross_entropy(x, y, label_smoothing=0.1)"
        yield {call: [expression(template, x=call.args[0], y=call.args[1])]}


@operator(11, FAMILY)
def labels_off_by_one(code: Code) -> Iterator[Edit]:
    """Labels that count from 1, wrapped so that nothing complains."""
    for node in recognise.target_uses(code):
        yield {node: [expression("(y + 1) % (y.max() + 1)", y=node)]}


@operator(12, FAMILY)
def bce_without_sigmoid(code: Code) -> Iterator[Edit]:
    """Binary cross-entropy with and without its own sigmoid, exchanged."""
    other = {
        "binary_cross_entropy_with_logits": "binary_cross_entropy",
        "binary_cross_entropy": "binary_cross_entropy_with_logits",
        "BCEWithLogitsLoss": "BCELoss",
        "BCELoss": "BCEWithLogitsLoss",
    }
    for call in code.calls(*other):
        yield {call: [renamed(call, other[callee(call)])]}


@operator(12, FAMILY)
def double_sigmoid(code: Code) -> Iterator[Edit]:
    """A sigmoid applied twice."""
    for call in code.calls("sigmoid"):
        yield {call: [expression("x.sigmoid()", x=call)]}


@operator(13, FAMILY)
def ignore_index_forgotten(code: Code) -> Iterator[Edit]:
    """An ignore_index or class weights that are not passed on."""
    for call in code.nodes(ast.Call):
        for name in ("ignore_index", "weight"):
            if callee(call) in ("cross_entropy", "nll_loss", "CrossEntropyLoss", "NLLLoss") and keyword(call, name):
                yield {call: [without_keyword(call, name)]}
        for argument in call.args:
            if mentions(argument, "ignore_index"):
                yield {argument: [expression("None")]}


@operator(13, FAMILY)
def ignored_only(code: Code) -> Iterator[Edit]:
    """The mask of what counts turned round: only ignored examples are kept."""
    for node in code.nodes(ast.Subscript):
        if isinstance(node.slice, ast.Name) and node.slice.id in ("keep", "mask", "valid", "occurs"):
            yield {node.slice: [expression("~m", m=node.slice)]}


@operator(14, FAMILY)
def epsilon_removed(code: Code) -> Iterator[Edit]:
    """A denominator without its epsilon: an empty mask divides by zero."""
    for node in code.nodes(ast.BinOp):
        if isinstance(node.op, ast.Add) and mentions(node.right, "eps", "epsilon", "smooth"):
            yield {node: [node.left]}


@operator(14, FAMILY)
def factor_two_removed(code: Code) -> Iterator[Edit]:
    """Dice or F1 without the 2 in its numerator."""
    for node in code.nodes(ast.BinOp):
        if isinstance(node.op, ast.Mult) and isinstance(node.left, ast.Constant) and node.left.value in (2, 2.0):
            yield {node: [node.right]}


@operator(15, FAMILY)
def temperature_not_squared(code: Code) -> Iterator[Edit]:
    """A square that is left out, as the temperature's in distillation."""
    for node in code.nodes(ast.BinOp):
        if isinstance(node.op, ast.Pow) and isinstance(node.right, ast.Constant) and node.right.value == 2:
            yield {node: [node.left]}


@operator(16, FAMILY)
def normalise_forgotten(code: Code) -> Iterator[Edit]:
    """Embeddings that are compared without being normalised."""
    for call in code.calls("normalize"):
        if (call.args and "functional" in ast.unparse(call.func)) or ast.unparse(call.func) == "F.normalize":
            yield {call: [call.args[0]]}


@operator(16, FAMILY)
def diagonal_not_masked(code: Code) -> Iterator[Edit]:
    """A similarity matrix whose diagonal, every item with itself, stays in."""
    for call in code.calls("fill_diagonal_", "masked_fill", "masked_fill_"):
        similarity = receiver(call)
        if similarity is not None:
            yield {call: [similarity]}


@operator(10, FAMILY)
def extra_loss_weight(code: Code) -> Iterator[Edit]:
    """A built-in loss with class weights that favour the first class."""
    for call in code.calls("cross_entropy"):
        if len(call.args) >= 2:
            weight = expression("torch.linspace(2.0, 1.0, x.shape[1])", x=call.args[0])
            yield {call: [with_keyword(call, "weight", weight)]}
