"""What an attack costs, read as text: its ``passes`` method as one formula of its parameters.

Nothing is imported or run. A method of plain arithmetic (assignments, then a return) is read as it
stands; one that asks other attacks is beyond that, and its class says the formula itself, as
``cost: ClassVar[str] = "2 * steps + 1; l1: two more"``, words after a semicolon. The tests hold
every formula against ``passes()``.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

__all__ = ["evaluate", "formula"]

_FUNCTIONS = {"bool": bool, "int": int, "min": min, "max": max}
# What a formula may be made of; anything else is not evaluated.
_PLAIN = (
    *(ast.Expression, ast.Constant, ast.Name, ast.Load, ast.BinOp, ast.UnaryOp, ast.USub, ast.Not),
    *(ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Pow, ast.IfExp, ast.BoolOp, ast.And),
    *(ast.Or, ast.Compare, ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Is, ast.IsNot),
    *(ast.In, ast.NotIn, ast.Tuple, ast.Call),
)


class _Substitute(ast.NodeTransformer):
    """``self.x`` becomes ``x``, a name what it was set to, ``super().passes()`` the base's."""

    def __init__(self, known: dict[str, ast.expr], base: str) -> None:
        self.known, self.base = known, base

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        if isinstance(node.value, ast.Name) and node.value.id == "self":
            return ast.Name(node.attr, ast.Load())
        return node

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return self.known.get(node.id, node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if ast.unparse(node) == "super().passes()" and self.base:
            return ast.parse(self.base.partition(";")[0].strip(), mode="eval").body
        if ast.unparse(node.func) == "int" and len(node.args) == 1:  # all of it counts passes
            inner: ast.AST = self.visit(node.args[0])
            return inner
        return self.generic_visit(node)


def formula(method: ast.FunctionDef, constants: Mapping[str, ast.expr], base: str = "") -> str:
    """The method's result as text, ``2 * steps + 1``; empty where it is more than arithmetic.

    Args:
        constants: values of names at the top of the file.
        base: the formula of the class that it overrides.
    """
    known = dict(constants)
    for statement in method.body:
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
            continue  # its documentation
        replaced = _Substitute(known, base)
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            known[statement.targets[0].id] = replaced.visit(statement.value)
        elif isinstance(statement, ast.Return) and statement.value is not None:
            text = ast.unparse(replaced.visit(statement.value))
            return text if _tree(text) is not None else ""
        else:
            return ""
    return ""


def evaluate(text: str, values: Mapping[str, Any]) -> int | None:
    """What a formula gives for these parameters; None where it is words or lacks one of them."""
    tree = _tree(text.partition(";")[0])
    if tree is None:
        return None
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    if not names <= {*values, *_FUNCTIONS}:
        return None
    scope = {"__builtins__": {}, **_FUNCTIONS, **values}
    try:
        return int(eval(compile(tree, "cost", "eval"), scope))
    except (ArithmeticError, TypeError, ValueError):
        return None


def _tree(text: str) -> ast.Expression | None:
    """The formula, if it is made of plain arithmetic alone."""
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except SyntaxError:
        return None
    for node in ast.walk(tree):
        if not isinstance(node, _PLAIN):
            return None
        if isinstance(node, ast.Call) and ast.unparse(node.func) not in _FUNCTIONS:
            return None
    return tree
