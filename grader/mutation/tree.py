"""A reference solution as a syntax tree: looking things up in it, and making changed copies of it.

Nothing here knows what a fault is; the operators do. Docstrings, annotations, imports, decorators and the block
under `if __name__ == "__main__":` are out of reach: no change there can alter a verdict.
"""

from __future__ import annotations

import ast
import copy
import textwrap
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Final, TypeVar, cast

Node = TypeVar("Node", bound=ast.AST)

Edit = Mapping[ast.AST, Sequence[ast.AST]]
"""Nodes and what takes their place: nothing, one node or, for statements, keywords and elements, several."""

_UNTOUCHED_FIELDS: Final = frozenset({"annotation", "returns", "decorator_list", "type_params", "bases"})


class Code:
    """A parsed source with parents, and the nodes that may be changed in the order of the text."""

    def __init__(self, source: str) -> None:
        self.tree = ast.parse(source)
        self._parents: dict[ast.AST, ast.AST] = {}
        self._nodes: list[ast.AST] = []
        self._visit(self.tree)

    def _visit(self, node: ast.AST) -> None:
        self._nodes.append(node)
        for name, value in ast.iter_fields(node):
            if name in _UNTOUCHED_FIELDS:
                continue
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST) and not _out_of_reach(child):
                    self._parents[child] = node
                    self._visit(child)

    def nodes(self, *kinds: type[Node]) -> Iterator[Node]:
        """All nodes of these kinds that may be changed."""
        for node in self._nodes:
            if isinstance(node, kinds):
                yield node

    def calls(self, *names: str) -> Iterator[ast.Call]:
        """Calls whose function has one of these last names: "relu" finds `F.relu(x)` and `x.relu()`."""
        return (node for node in self.nodes(ast.Call) if callee(node) in names)

    def call_statements(self, *names: str) -> Iterator[ast.Expr]:
        """Statements that are nothing but such a call."""
        for node in self.nodes(ast.Expr):
            if isinstance(node.value, ast.Call) and callee(node.value) in names:
                yield node

    def parent(self, node: ast.AST) -> ast.AST | None:
        return self._parents.get(node)

    def above(self, node: ast.AST) -> Iterator[ast.AST]:
        """The nodes around this one, nearest first."""
        while (parent := self._parents.get(node)) is not None:
            yield parent
            node = parent

    def within(self, node: ast.AST, *kinds: type[Node]) -> Node | None:
        """The nearest node of these kinds around this one."""
        return next((found for found in self.above(node) if isinstance(found, kinds)), None)

    def function(self, node: ast.AST) -> ast.FunctionDef | None:
        """The function in which the node stands."""
        return self.within(node, ast.FunctionDef)

    def statement(self, node: ast.AST) -> ast.stmt:
        """The statement to which the node belongs; itself when it is one."""
        return node if isinstance(node, ast.stmt) else cast(ast.stmt, self.within(node, ast.stmt))

    def block(self, node: ast.stmt) -> list[ast.stmt]:
        """The list of statements in which this one stands."""
        parent = self._parents[node]
        for _, value in ast.iter_fields(parent):
            if isinstance(value, list) and any(child is node for child in value):
                return value
        raise AssertionError("a statement stands in a block")

    def moved(self, old: ast.stmt, anchor: ast.stmt, *, after: bool) -> Edit:
        """The statement taken from where it stands and put before or after another, which may be around it."""
        if anchor not in self.above(old):
            return {old: (), anchor: (anchor, old) if after else (old, anchor)}
        rest = self.part_changed(anchor, {old: ()})
        return {anchor: (rest, old) if after else (old, rest)}

    def part_changed(self, node: ast.AST, edit: Edit) -> ast.AST:
        """One node of the tree with an edit made inside it."""
        return _rebuilt(node, edit, {above for changed in edit for above in self.above(changed)})

    def place(self, node: ast.AST) -> str:
        """The dotted name of the function or class around the node; empty at the top of the file."""
        around = [node, *self.above(node)]
        names = [n.name for n in around if isinstance(n, ast.FunctionDef | ast.ClassDef)]
        return ".".join(reversed(names))

    def changed(self, edit: Edit) -> ast.Module:
        """The tree with the edit made in it. It shares with this one all that is the same: only to be read."""
        return cast(ast.Module, self.part_changed(self.tree, edit))


def _out_of_reach(node: ast.AST) -> bool:
    if isinstance(node, ast.Import | ast.ImportFrom | ast.expr_context | ast.operator | ast.cmpop | ast.JoinedStr):
        return True
    if isinstance(node, ast.If) and isinstance(node.test, ast.Compare):
        left = node.test.left
        return isinstance(left, ast.Name) and left.id == "__name__"
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _rebuilt(node: ast.AST, edit: Edit, touched: Set[ast.AST]) -> ast.AST:
    if node not in touched:
        return node
    made = copy.copy(node)
    for name, value in ast.iter_fields(node):
        if isinstance(value, list):
            setattr(made, name, _rebuilt_list(value, edit, touched, name))
        elif isinstance(value, ast.AST):
            new = edit[value] if value in edit else [_rebuilt(value, edit, touched)]
            setattr(made, name, new[0] if new else None)
    return made


def _rebuilt_list(values: list[object], edit: Edit, touched: Set[ast.AST], field: str) -> list[object]:
    made: list[object] = []
    for value in values:
        if not isinstance(value, ast.AST):
            made.append(value)
        else:
            made.extend(edit[value] if value in edit else [_rebuilt(value, edit, touched)])
    return [ast.Pass()] if field == "body" and values and not made else made


# --- looking at nodes ----------------------------------------------------------------------------------


def callee(call: ast.Call) -> str:
    """The last name of what is called: "relu" of `F.relu(x)`; empty when it has none."""
    if isinstance(call.func, ast.Attribute):
        return call.func.attr
    return call.func.id if isinstance(call.func, ast.Name) else ""


def dotted(node: ast.AST) -> str:
    """The node as text."""
    return ast.unparse(node)


def keyword(call: ast.Call, name: str) -> ast.keyword | None:
    """The keyword argument of that name."""
    return next((k for k in call.keywords if k.arg == name), None)


def mentions(node: ast.AST, *names: str) -> bool:
    """Whether one of these names or attributes occurs anywhere in the node."""
    for child in ast.walk(node):
        if isinstance(child, ast.Name) and child.id in names:
            return True
        if isinstance(child, ast.Attribute) and child.attr in names:
            return True
    return False


def receiver(call: ast.Call) -> ast.expr | None:
    """`x` of `x.method(…)`; None for a plain function and for a function of torch's modules."""
    if not isinstance(call.func, ast.Attribute):
        return None
    value = call.func.value
    return None if dotted(value) in ("torch", "F", "nn", "math", "copy", "torch.nn", "np") else value


# --- making nodes --------------------------------------------------------------------------------------


class _Filler(ast.NodeTransformer):
    def __init__(self, holes: Mapping[str, ast.AST]) -> None:
        self._holes = holes

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return copy.deepcopy(self._holes.get(node.id, node))


def expression(template: str, **holes: ast.AST) -> ast.expr:
    """The expression that the template spells, with each name that is a hole replaced by its node."""
    tree = ast.parse(template, mode="eval").body
    return cast(ast.expr, _Filler(holes).visit(tree))


def statements(template: str, **holes: ast.AST) -> list[ast.stmt]:
    """The same for statements."""
    tree = ast.parse(textwrap.dedent(template))
    return cast(ast.Module, _Filler(holes).visit(tree)).body


def with_keyword(call: ast.Call, name: str, value: object) -> ast.Call:
    """The call with this keyword argument added or replaced; `value` is a node, or is parsed from its text."""
    node = value if isinstance(value, ast.expr) else ast.parse(str(value), mode="eval").body
    made = without_keyword(call, name)
    made.keywords.append(ast.keyword(name, node))
    return made


def without_keyword(call: ast.Call, name: str) -> ast.Call:
    """The call without this keyword argument."""
    made = copy.deepcopy(call)
    made.keywords = [k for k in made.keywords if k.arg != name]
    return made


def with_argument(call: ast.Call, position: int, value: ast.expr) -> ast.Call:
    """The call with another positional argument."""
    made = copy.deepcopy(call)
    made.args[position] = copy.deepcopy(value)
    return made


def renamed(call: ast.Call, name: str) -> ast.Call:
    """The call of another function of the same module, or of another method."""
    made = copy.deepcopy(call)
    if isinstance(made.func, ast.Attribute):
        made.func.attr = name
    else:
        made.func = ast.Name(name, ast.Load())
    return made
