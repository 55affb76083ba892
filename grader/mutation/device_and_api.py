"""Faults of devices, types and the API (101 to 105 of the catalogue)."""

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
    receiver,
    renamed,
    with_keyword,
    without_keyword,
)

FAMILY = "device and API"

_CASTS = ("float", "double", "half", "long", "int", "bool", "to", "cpu", "type", "type_as", "contiguous")


@operator(101, FAMILY)
def cast_forgotten(code: Code) -> Iterator[Edit]:
    """A tensor that isn't moved to the type or device of the others."""
    for call in code.calls(*_CASTS):
        x = receiver(call)
        if x is not None:
            yield {call: [x]}


@operator(101, FAMILY)
def half_precision(code: Code) -> Iterator[Edit]:
    """Less precision than the numbers need."""
    smaller = {"double": "half", "float": "half", "long": "int"}
    for call in code.calls(*smaller):
        if receiver(call) is not None:
            yield {call: [renamed(call, smaller[callee(call)])]}


@operator(101, FAMILY)
def type_forgotten(code: Code) -> Iterator[Edit]:
    """A tensor made without its type or device."""
    for call in code.nodes(ast.Call):
        for name in ("dtype", "device"):
            if keyword(call, name) is not None:
                yield {call: [without_keyword(call, name)]}


@operator(102, FAMILY)
def in_place(code: Code) -> Iterator[Edit]:
    """An operation in place on a tensor that someone else still needs."""
    for call in code.calls("relu", "clamp", "sigmoid", "tanh"):
        x = recognise.activation_input(call) or receiver(call)
        if not isinstance(x, ast.Name):  # what an expression gives is nobody else's
            continue
        if receiver(call) is x:
            yield {call: [renamed(call, callee(call) + "_")]}
        else:
            yield {call: [expression(f"x.{callee(call)}_()", x=x)]}
    for node in code.nodes(ast.BinOp):
        method = {ast.Mult: "mul_", ast.Add: "add_"}.get(type(node.op))
        if method and isinstance(node.left, ast.Name) and node.left.id in ("x", "h", "images", "logits", "targets"):
            yield {node: [expression(f"x.{method}(y)", x=node.left, y=node.right)]}


@operator(102, FAMILY)
def in_place_update_of_input(code: Code) -> Iterator[Edit]:
    """The caller's own tensor is written to."""
    for node in code.nodes(ast.Assign):
        target = node.targets[0]
        if isinstance(target, ast.Name) and mentions_name(node.value, target.id) and target.id in ("h", "x"):
            made = expression(f"{target.id}.copy_(value)", value=node.value)
            yield {node: [ast.Expr(made)]}


def mentions_name(node: ast.AST, name: str) -> bool:
    """Whether the variable occurs in the node."""
    return any(isinstance(child, ast.Name) and child.id == name for child in ast.walk(node))


@operator(103, FAMILY)
def cuda_hard_coded(code: Code) -> Iterator[Edit]:
    """A device that this machine may not have."""
    for call in code.calls("zeros", "ones", "full", "tensor", "arange", "randperm", "rand", "randn", "empty"):
        yield {call: [with_keyword(call, "device", "'cuda'")]}


@operator(104, FAMILY)
def random_results(code: Code) -> Iterator[Edit]:
    """A result that differs from call to call."""
    for node in recognise.forward_results(code):
        yield {node: [expression("x + 0.01 * torch.randn_like(x)", x=node)]}


@operator(105, FAMILY)
def view_of_non_contiguous(code: Code) -> Iterator[Edit]:
    """view where the tensor may not be contiguous."""
    for call in code.calls("reshape"):
        yield {call: [renamed(call, "view")]}
    for call in code.calls("flatten"):
        x = receiver(call)
        if x is not None:
            yield {call: [expression("x.view(x.shape[0], -1)", x=x)]}
