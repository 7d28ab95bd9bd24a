"""The catalogue read as text: names, parameters and documentation of attacks and probes by `ast`.

Nothing is imported or executed, so `list` and `show` work without torch and are safe on any file.
The price: defaults must be literals and the decorator must be spelled ``probe("name")``.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from robustlab import cost, shelf
from robustlab.errors import BadRequest

__all__ = ["Entry", "Parameter", "class_parameters", "entries", "read_file", "read_function"]


@dataclass(frozen=True)
class Parameter:
    """One parameter of a probe: its type as written, its default and one line on what it is."""

    name: str
    type: str
    default: Any
    doc: str
    required: bool = False


@dataclass(frozen=True)
class Entry:
    """One attack or probe as its source file tells it."""

    name: str
    kind: str  # "attack" or "probe"
    module: str
    file: Path
    doc: str
    parameters: tuple[Parameter, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)  # class constants: norms, knowledge, ...
    cost: str = ""  # of an attack: passes an image at most, a formula of its parameters

    @property
    def summary(self) -> str:
        """First sentence of the documentation."""
        return self.doc.strip().split("\n\n")[0].replace("\n", " ")

    @property
    def passes(self) -> int | None:
        """Passes an image at most with all defaults, in the first norm; None where none is told."""
        return cost.evaluate(self.cost, {p.name: p.default for p in self.parameters})


def _registered_name(node: ast.ClassDef | ast.FunctionDef) -> str | None:
    """The name given in ``@probe("name")`` or ``@robustlab.probe("name")``."""
    for decorator in node.decorator_list:
        if not isinstance(decorator, ast.Call) or not decorator.args:
            continue
        callee = decorator.func
        called = callee.attr if isinstance(callee, ast.Attribute) else getattr(callee, "id", "")
        first = decorator.args[0]
        if called == "probe" and isinstance(first, ast.Constant) and isinstance(first.value, str):
            return first.value
    return None


def _literal(node: ast.expr, where: str) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise BadRequest(f"{where}: the default {ast.unparse(node)!r} is not a literal") from None


def _is_constant(annotation: ast.expr) -> bool:
    return ast.unparse(annotation).removeprefix("typing.").startswith("ClassVar")


def _class_fields(node: ast.ClassDef, file: Path) -> tuple[dict[str, Parameter], dict[str, Any]]:
    """Annotated attributes of one class: parameters (with the string below as their line) and
    constants (``ClassVar``)."""
    parameters: dict[str, Parameter] = {}
    facts: dict[str, Any] = {}
    for statement, following in zip(node.body, [*node.body[1:], None], strict=True):
        if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
            continue
        name, where = statement.target.id, f"{file.name}, {node.name}"
        if _is_constant(statement.annotation):
            if statement.value is not None:
                facts[name] = _literal(statement.value, where)
            continue
        doc = ""
        if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
            doc = " ".join(str(following.value.value).split())
        default = None if statement.value is None else _literal(statement.value, where)
        parameters[name] = Parameter(
            name, ast.unparse(statement.annotation), default, doc, statement.value is None
        )
    return parameters, facts


def _inherited(
    node: ast.ClassDef, classes: dict[str, ast.ClassDef], file: Path
) -> tuple[dict[str, Parameter], dict[str, Any]]:
    """Fields of the class and of its bases, nearest last, as a dataclass collects them."""
    parameters: dict[str, Parameter] = {}
    facts: dict[str, Any] = {}
    for base in node.bases:
        base_name = base.attr if isinstance(base, ast.Attribute) else getattr(base, "id", "")
        if base_name in classes:
            inherited, inherited_facts = _inherited(classes[base_name], classes, file)
        elif base_name == "Attack":
            inherited, inherited_facts = _attack_base()
        else:
            continue
        parameters |= inherited
        facts |= inherited_facts
    own, own_facts = _class_fields(node, file)
    return parameters | own, facts | own_facts


def _cost(node: ast.ClassDef, classes: dict[str, ast.ClassDef], tree: ast.Module) -> str:
    """The formula that stands nearest: said as a constant, or read from the method."""
    base = ""
    for parent in node.bases:
        name = parent.attr if isinstance(parent, ast.Attribute) else getattr(parent, "id", "")
        if name in classes:
            base = _cost(classes[name], classes, tree)
        elif name == "Attack":
            base = _base_cost()
    for statement in node.body:
        if isinstance(statement, ast.AnnAssign) and ast.unparse(statement.target) == "cost":
            return "" if statement.value is None else str(_literal(statement.value, node.name))
    constants = {
        ast.unparse(one.targets[0]): one.value for one in tree.body if isinstance(one, ast.Assign)
    }
    method = next((n for n in node.body if getattr(n, "name", "") == "passes"), None)
    if not isinstance(method, ast.FunctionDef):
        return base
    return cost.formula(method, constants, base)


@cache
def _base_cost() -> str:
    tree = ast.parse((shelf.HOME / "adversarial" / "base.py").read_text(encoding="utf-8"))
    node = next(n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == "Attack")
    return _cost(node, {}, tree)


@cache
def _attack_base() -> tuple[dict[str, Parameter], dict[str, Any]]:
    file = shelf.HOME / "adversarial" / "base.py"
    tree = ast.parse(file.read_text(encoding="utf-8"))
    node = next(n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == "Attack")
    return _class_fields(node, file)


def class_parameters(file: Path, name: str) -> dict[str, Parameter]:
    """Parameters of an attack class that is not registered itself, those of the base included."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    classes = {n.name: n for n in tree.body if isinstance(n, ast.ClassDef)}
    return _inherited(classes[name], classes, file)[0] if name in classes else _attack_base()[0]


def _function_parameters(node: ast.FunctionDef, file: Path) -> tuple[Parameter, ...]:
    """Keyword parameters of a probe function; a line ``name: text`` of its docstring is its doc."""
    lines = [line.strip() for line in (ast.get_docstring(node) or "").splitlines()]
    found = []
    for arg, default in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True):
        doc = next(
            (x[len(arg.arg) + 1 :].strip() for x in lines if x.startswith(arg.arg + ":")), ""
        )
        annotation = ast.unparse(arg.annotation) if arg.annotation else ""
        value = None if default is None else _literal(default, f"{file.name}, {node.name}")
        found.append(Parameter(arg.arg, annotation, value, doc, default is None))
    return tuple(found)


def read_file(file: Path, module: str = "") -> list[Entry]:
    """Every attack and probe that ``file`` registers, in the order they stand."""
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"), str(file))
    except SyntaxError as error:
        raise BadRequest(f"{file}, line {error.lineno}: {error.msg}") from None
    except ValueError as error:  # not UTF-8, or a null byte
        raise BadRequest(f"{file} is no Python: {error}") from None
    classes = {n.name: n for n in tree.body if isinstance(n, ast.ClassDef)}
    found = []
    for node in tree.body:
        if not isinstance(node, ast.ClassDef | ast.FunctionDef):
            continue
        name = _registered_name(node)
        if name is None:
            continue
        doc = ast.get_docstring(node) or ast.get_docstring(tree) or ""
        if isinstance(node, ast.ClassDef):
            parameters, facts = _inherited(node, classes, file)
            found.append(
                Entry(
                    name,
                    "attack",
                    module,
                    file,
                    doc,
                    tuple(parameters.values()),
                    facts,
                    _cost(node, classes, tree),
                )
            )
        else:
            found.append(Entry(name, "probe", module, file, doc, _function_parameters(node, file)))
    return found


def read_function(file: Path, function: str, name: str, kind: str) -> Entry:
    """What the top-level ``function`` of ``file`` says of itself, as the entry ``name``."""
    tree = ast.parse(file.read_text(encoding="utf-8"), str(file))
    node = next(n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == function)
    parameters = _function_parameters(node, file)
    return Entry(name, kind, "", file, ast.get_docstring(node) or "", parameters)


@cache
def entries() -> dict[str, Entry]:
    """Name -> entry of everything shipped."""
    found: dict[str, Entry] = {}
    for module, file in shelf.probe_files().items():
        for entry in read_file(file, module):
            if entry.name in found:
                raise RuntimeError(f"{entry.name!r} is registered in two files: {file}")
            found[entry.name] = entry
    return found
