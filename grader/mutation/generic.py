"""Operators that fit any program: comparisons, constants, arithmetic, conditions, removed parts."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from typing import Final

from grader.mutation.operators import operator
from grader.mutation.tree import Code, Edit, callee, expression, receiver, without_keyword

FAMILY = "generic"

_COMPARISONS: Final[dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
_ARITHMETIC: Final[dict[type[ast.operator], tuple[type[ast.operator], ...]]] = {
    ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.Add,),
    ast.Div: (ast.Mult,),
    ast.FloorDiv: (ast.Mult,),
    ast.Mod: (ast.Mult,),
    ast.Pow: (ast.Mult,),
    ast.BitAnd: (ast.BitOr,),
    ast.BitOr: (ast.BitAnd,),
}


@operator(0, FAMILY)
def comparison(code: Code) -> Iterator[Edit]:
    """Another comparison."""
    for node in code.nodes(ast.Compare):
        for other in _COMPARISONS.get(type(node.ops[0]), ()):
            yield {node: [ast.Compare(node.left, [other(), *node.ops[1:]], node.comparators)]}


@operator(0, FAMILY)
def constant(code: Code) -> Iterator[Edit]:
    """A number that is one too large or too small; a fraction doubled or halved."""
    for node in code.nodes(ast.Constant):
        value = node.value
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        others = (value + 1, value - 1) if isinstance(value, int) or value == 0 else (value * 2, value / 2)
        for other in others:
            yield {node: [expression(repr(other))]}


@operator(0, FAMILY)
def flag(code: Code) -> Iterator[Edit]:
    """True for False and False for True."""
    for node in code.nodes(ast.Constant):
        if isinstance(node.value, bool):
            yield {node: [ast.Constant(not node.value)]}


@operator(0, FAMILY)
def arithmetic(code: Code) -> Iterator[Edit]:
    """Another arithmetic operation."""
    for node in code.nodes(ast.BinOp):
        for other in _ARITHMETIC.get(type(node.op), ()):
            yield {node: [ast.BinOp(node.left, other(), node.right)]}


@operator(0, FAMILY)
def accumulation(code: Code) -> Iterator[Edit]:
    """An assignment where a sum is meant, or the other sign."""
    for node in code.nodes(ast.AugAssign):
        yield {node: [ast.Assign([node.target], node.value, lineno=node.lineno)]}
        if isinstance(node.op, ast.Add):
            yield {node: [ast.AugAssign(node.target, ast.Sub(), node.value)]}


@operator(0, FAMILY)
def condition_negated(code: Code) -> Iterator[Edit]:
    """A condition turned round."""
    tests = [*(node.test for node in code.nodes(ast.If)), *(node.test for node in code.nodes(ast.While))]
    tests += [node.test for node in code.nodes(ast.IfExp)]
    tests += [test for node in code.nodes(ast.comprehension) for test in node.ifs]
    for test in tests:
        bare = isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not)
        yield {test: [test.operand if isinstance(test, ast.UnaryOp) and bare else ast.UnaryOp(ast.Not(), test)]}


@operator(0, FAMILY)
def condition_dropped(code: Code) -> Iterator[Edit]:
    """What depends on a condition is done always, or never."""
    for node in code.nodes(ast.If):
        yield {node: node.body}
        yield {node: node.orelse}
    for choice in code.nodes(ast.IfExp):
        yield {choice: [choice.body]}
        yield {choice: [choice.orelse]}
    for loop in code.nodes(ast.comprehension):
        for test in loop.ifs:
            yield {test: [expression("True")]}


@operator(0, FAMILY)
def both_or_either(code: Code) -> Iterator[Edit]:
    """`or` for `and`, `and` for `or`, or one part of them left out."""
    for node in code.nodes(ast.BoolOp):
        other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        yield {node: [ast.BoolOp(other, node.values)]}
        for value in node.values:
            rest = [v for v in node.values if v is not value]
            yield {node: [rest[0] if len(rest) == 1 else ast.BoolOp(node.op, rest)]}


@operator(0, FAMILY)
def statement_removed(code: Code) -> Iterator[Edit]:
    """A statement is missing."""
    for node in code.nodes(ast.Expr, ast.AugAssign, ast.Raise, ast.Break, ast.Continue, ast.For, ast.Assert):
        if not (isinstance(node, ast.Expr) and "super()" in ast.unparse(node)):
            yield {node: ()}
    for assignment in code.nodes(ast.Assign):
        if _known_before(code, assignment):
            yield {assignment: ()}


def _known_before(code: Code, node: ast.Assign) -> bool:
    """Whether the target has a value before; without one, the next use would raise a NameError at once."""
    target, function = node.targets[0], code.function(node)
    if not isinstance(target, ast.Name):
        return True
    if function is None:
        return False
    if target.id in {a.arg for a in [*function.args.args, *function.args.kwonlyargs]}:
        return True
    names = [n for n in code.nodes(ast.Name) if n.id == target.id and isinstance(n.ctx, ast.Store)]
    return any(code.function(n) is function and n.lineno < node.lineno for n in names)


@operator(0, FAMILY)
def super_not_called(code: Code) -> Iterator[Edit]:
    """super().__init__() is missing."""
    for node in code.nodes(ast.Expr):
        if "super()" in ast.unparse(node):
            yield {node: ()}


@operator(0, FAMILY)
def keyword_removed(code: Code) -> Iterator[Edit]:
    """A keyword argument is missing."""
    for call in code.nodes(ast.Call):
        for given in call.keywords:
            if given.arg is not None:
                yield {call: [without_keyword(call, given.arg)]}


@operator(0, FAMILY)
def argument_removed(code: Code) -> Iterator[Edit]:
    """The last of several arguments is missing."""
    for call in code.nodes(ast.Call):
        if len(call.args) > 1 and not callee(call)[:1].isupper():
            made = copy.deepcopy(call)
            made.args.pop()
            yield {call: [made]}


@operator(0, FAMILY)
def arguments_exchanged(code: Code) -> Iterator[Edit]:
    """The first two arguments exchanged."""
    for call in code.nodes(ast.Call):
        if len(call.args) > 1:
            made = copy.deepcopy(call)
            made.args[:2] = made.args[1::-1]
            yield {call: [made]}


@operator(0, FAMILY)
def method_dropped(code: Code) -> Iterator[Edit]:
    """A call of a method that gives a copy or another view is missing."""
    names = ("clone", "detach", "deepcopy", "contiguous", "copy", "abs", "any", "all", "sum", "mean", "square", "round")
    for call in code.calls(
        *names, "clamp", "sqrt", "requires_grad_", "flatten", "view", "reshape", "is_floating_point"
    ):
        owner = receiver(call)
        if owner is not None:
            yield {call: [owner]}
        elif call.args:
            yield {call: [call.args[0]]}


@operator(0, FAMILY)
def any_and_all(code: Code) -> Iterator[Edit]:
    """all for any, any for all."""
    for call in code.calls("any", "all"):
        made = copy.deepcopy(call)
        name = "all" if callee(call) == "any" else "any"
        if isinstance(made.func, ast.Attribute):
            made.func.attr = name
        else:
            made.func = ast.Name(name, ast.Load())
        yield {call: [made]}


@operator(0, FAMILY)
def default_changed(code: Code) -> Iterator[Edit]:
    """Another default of a parameter."""
    for function in code.nodes(ast.FunctionDef):
        for default in [*function.args.defaults, *function.args.kw_defaults]:
            if isinstance(default, ast.Constant) and default.value is None:
                yield {default: [expression("1")]}


@operator(0, FAMILY)
def result_forgotten(code: Code) -> Iterator[Edit]:
    """The return is missing."""
    for node in code.nodes(ast.Return):
        if node.value is not None:
            yield {node: [ast.Expr(node.value)]}


@operator(0, FAMILY)
def results_exchanged(code: Code) -> Iterator[Edit]:
    """Two results, or two sides of an assignment, exchanged."""
    for node in code.nodes(ast.Tuple):
        parent = code.parent(node)
        if len(node.elts) == 2 and isinstance(parent, ast.Return | ast.Assign | ast.For):
            yield {node: [ast.Tuple([node.elts[1], node.elts[0]], node.ctx)]}


@operator(0, FAMILY)
def slice_widened(code: Code) -> Iterator[Edit]:
    """A slice without one of its bounds."""
    for node in code.nodes(ast.Slice):
        if node.upper is not None:
            yield {node: [ast.Slice(node.lower, None, node.step)]}
        if node.lower is not None:
            yield {node: [ast.Slice(None, node.upper, node.step)]}


@operator(0, FAMILY)
def sign_dropped(code: Code) -> Iterator[Edit]:
    """A minus sign is missing."""
    for node in code.nodes(ast.UnaryOp):
        if isinstance(node.op, ast.USub) and not isinstance(node.operand, ast.Constant):
            yield {node: [node.operand]}


@operator(0, FAMILY)
def another_name(code: Code) -> Iterator[Edit]:
    """The other of two names that are easily confused."""
    pairs = (("train_loss", "val_loss"), ("val_loss", "val_accuracy"), ("correct", "count"), ("total", "seen"))
    other = {a: b for pair in pairs for a, b in (pair, pair[::-1])}
    for node in code.nodes(ast.Name):
        if node.id in other and isinstance(node.ctx, ast.Load):
            function = code.function(node)
            if function is not None and any(
                isinstance(n, ast.Name) and n.id == other[node.id] for n in ast.walk(function)
            ):
                yield {node: [expression(other[node.id])]}
