"""The floors of the house: a file imports from lower floors only, in no circles, and the doors that
must be light stay light. Walks the source by `ast`."""

import ast
import json
import shutil
import sys
from functools import cache
from pathlib import Path

import pytest

import robustlab
from robustlab import shelf

# Floor of every file or room, by its name inside robustlab/. A new one must be added here.
FLOORS = {
    0: "lazy errors units identity shelf environment atomic cost catalogue",
    1: "statistics resting suite registry binding outcome record store randomness fooled",
    2: "data backbones hooks pooling seeding",
    3: "adversarial arithmetic filters fooling invariance training",
    4: "bound plan work engines runner estimate machine",
    5: "kinds results evidence verdict reporting runs",
    6: "__main__ cli doors planted testing twinning",
}
FLOOR_OF = {name: floor for floor, names in FLOORS.items() for name in names.split()}
# Third-party packages a floor may import, inside functions too; the floors left out may import any.
RETELLING = {"numpy", "pandas", "jinja2", "markupsafe", "seaborn", "matplotlib", "PIL"}
ALLOWED = {0: set(), 1: {"numpy", "scipy"}, 5: RETELLING}


@cache
def imports(tree, package):
    """(module, names, at module level) of every import; those for type checkers are left out."""

    def visit(node, top):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                continue
            if isinstance(child, ast.Import):
                yield from ((alias.name, [], top) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                base = package.split(".")[: -child.level + 1 or None] if child.level else []
                module = ".".join([*base, child.module or ""]).strip(".")
                yield module, [alias.name for alias in child.names], top
            else:
                inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
                yield from visit(child, top and not inside)

    return list(visit(tree, True))


@cache
def parsed(text):
    return ast.parse(text)


def modules(root):
    """Dotted name -> (file, tree) of the package that lies in ``root``."""
    found = {}
    for file in sorted(root.rglob("*.py")):
        parts = ["robustlab", *file.relative_to(root).with_suffix("").parts]
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = file, parsed(file.read_text(encoding="utf-8"))
    return found


def targets(module, names, known):
    """The modules an import reaches: ``from robustlab import errors`` reaches robustlab.errors."""
    below = [f"{module}.{name}" for name in names]
    return [one if one in known else module for one in below] or [module]


def floor_of(name):
    return FLOOR_OF.get(name.split(".")[1]) if "." in name else 6


def violations(root):
    """Sentences, one for each import that goes up or outside what its floor may use."""
    known, wrong = modules(root), []
    for name, (file, tree) in known.items():
        floor = floor_of(name)
        if floor is None:
            wrong.append(f"{name} stands on no floor")
            continue
        package = name if file.name == "__init__.py" else name.rpartition(".")[0]
        for module, names, _ in imports(tree, package):
            if module.split(".")[0] != "robustlab":
                first, allowed = module.split(".")[0], ALLOWED.get(floor)
                third_party = first not in sys.stdlib_module_names
                if third_party and allowed is not None and first not in allowed:
                    wrong.append(f"{name} (floor {floor}) imports {first}")
                continue
            for target in targets(module, names, known):
                if target == "robustlab":
                    if names != ["__version__"]:
                        wrong.append(f"{name} imports {names} through the front door")
                elif (above := floor_of(target)) is None or above > floor:
                    wrong.append(f"{name} (floor {floor}) imports {target} (floor {above})")
    return wrong


def circle(root):
    """Modules that import each other in a circle when they are imported, or an empty list."""
    known = modules(root)
    edges = {}
    for name, (file, tree) in known.items():
        package = name if file.name == "__init__.py" else name.rpartition(".")[0]
        reached = set()
        for module, names, top in imports(tree, package):
            if top and module.split(".")[0] == "robustlab":
                for target in targets(module, names, known):
                    parts = target.split(".")
                    # Importing a.b.c executes a and a.b first, unless we are inside of them.
                    reached |= {".".join(parts[: i + 1]) for i in range(len(parts))}
        edges[name] = sorted(t for t in reached & set(known) if not f"{name}.".startswith(f"{t}."))
    state, path = {}, []

    def visit(name):
        state[name] = "open"
        path.append(name)
        for target in edges[name]:
            if state.get(target) == "open":
                return path[path.index(target) :]
            if target not in state and (found := visit(target)):
                return found
        state[name] = "done"
        path.pop()
        return []

    return next((found for name in known if name not in state and (found := visit(name))), [])


def private_names(folder):
    """Imports of the catalogue's modules that are not ``from robustlab import PUBLIC``."""
    wrong = []
    for file in sorted(folder.glob("*.py")):
        for module, names, _ in imports(parsed(file.read_text(encoding="utf-8")), "x"):
            private = module == "robustlab" and set(names) - set(robustlab.__all__)
            if module.startswith("robustlab.") or private:
                wrong.append(f"{file.name}: {module} {names}")
    return wrong


def test_floors():
    assert violations(shelf.HOME) == []


def test_no_circles():
    assert circle(shelf.HOME) == []


def test_attacks_use_public_names_only():
    assert private_names(shelf.attacks()) == []


def test_no_module_bears_the_name_of_a_public_function():
    functions = {n for n in robustlab.__all__ if n[0].islower() and n != "testing"}
    taken = {name.split(".")[1] for name in modules(shelf.HOME) if "." in name}
    assert functions & taken == set()
    assert {"run", "report"} & functions  # the check compares something


@pytest.mark.parametrize(
    ("file", "line", "told"),
    [
        ("errors.py", "import numpy", "robustlab.errors (floor 0) imports numpy"),
        ("units.py", "import torch.nn", "robustlab.units (floor 0) imports torch"),
        ("suite.py", "def f():\n    import torch", "robustlab.suite (floor 1) imports torch"),
        ("results.py", "from torch import Tensor", "robustlab.results (floor 5) imports torch"),
        ("store.py", "from robustlab import plan", "imports robustlab.plan (floor 4)"),
        ("data/npz.py", "from robustlab.adversarial import search", "(floor 3)"),
        ("adversarial/search.py", "from .. import verdict", "robustlab.verdict (floor 5)"),
        ("plan.py", "from robustlab import load_data", "through the front door"),
        ("novel.py", "x = 1", "robustlab.novel stands on no floor"),
    ],
)
def test_the_floors_kill(tmp_path, file, line, told):
    root = shutil.copytree(shelf.HOME, tmp_path / "copy", ignore=only_python)
    with (root / file).open("a", encoding="utf-8") as source:
        source.write(f"\n{line}\n")
    (wrong,) = violations(root)
    assert told in wrong


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("errors.py", "from robustlab.units import Budget"),
        ("data/query.py", "from robustlab.data.sources import load_data"),
        ("data/checks.py", "from robustlab.backbones.checks import as_device\n"),
    ],
)
def test_the_circles_kill(tmp_path, file, line):
    root = shutil.copytree(shelf.HOME, tmp_path / "copy", ignore=only_python)
    target = root / "backbones" / "checks.py"
    if "backbones" in line:
        target.write_text(target.read_text() + "\nfrom robustlab.data import Data\n")
    with (root / file).open("a", encoding="utf-8") as source:
        source.write(f"\n{line}\n")
    assert circle(root)


def test_an_import_inside_a_function_makes_no_circle(tmp_path):
    root = shutil.copytree(shelf.HOME, tmp_path / "copy", ignore=only_python)
    with (root / "errors.py").open("a", encoding="utf-8") as source:
        source.write("\ndef f():\n    from robustlab.units import Budget\n")
    assert circle(root) == []


@pytest.mark.parametrize(
    "line", ["from robustlab.units import parse_norm", "from robustlab import parse_norm"]
)
def test_the_public_names_kill(tmp_path, line):
    folder = shutil.copytree(shelf.attacks(), tmp_path / "copy")
    (folder / "pgd.py").write_text(line)
    (wrong,) = private_names(folder)
    assert "parse_norm" in wrong


def only_python(folder, names):
    keep = [n for n in names if n.endswith(".py") or (Path(folder) / n).is_dir()]
    return [n for n in names if n not in keep or n == "__pycache__"]


# What must stay light -------------------------------------------------------------------------

LIGHT = """
import json, sys
from robustlab.cli import main
heavy = {}
for arguments in json.loads(sys.argv[1]):
    try:
        main(arguments)
    except SystemExit:
        pass
    found = sorted({"torch", "torchvision", "foolbox"} & set(sys.modules))
    if found:
        heavy[" ".join(arguments)] = found
print("\\n" + json.dumps(heavy))
"""


def heavy(python, *commands):
    done = python("-c", LIGHT, json.dumps(commands))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_looking_needs_no_torch(python, finished, own_probes):
    commands = [
        ["--help"],
        ["list", "attacks"],
        ["list", "probes"],
        ["list", "backbones"],
        ["list", "suites"],
        ["list", "data"],
        ["list", "recipes"],
        ["show", "pgd"],
        ["show", "clean"],
        ["show", "quick"],
        ["show", "mlp@digits"],
        ["show", "lenet5"],
        ["show", f"{own_probes / 'mine.py'}:brighter"],
        ["report", str(finished), "-o", str(own_probes / "page.html")],
        ["report", str(finished), "-o", str(own_probes / "page.html"), "--json"],
    ]
    assert heavy(python, *commands) == {}
    assert (own_probes / "page.html").stat().st_size > 1000


@pytest.mark.slow
def test_that_check_sees_torch(python):
    assert heavy(python, ["--help"], ["doctor"]) == {"doctor": ["torch"]}


IMPORTED = "import json, sys; import robustlab; print(json.dumps(sorted(sys.modules)))"


def test_import_is_light(python):
    done = python("-c", IMPORTED)
    loaded = set(json.loads(done.stdout))
    assert "robustlab" in loaded
    assert not loaded & {"torch", "numpy", "pandas", "click", "robustlab.errors"}


SOCKETS = """
import sys
opened = []
sys.addaudithook(lambda event, _: opened.append(event) if event.startswith("socket.") else None)
{code}
print(opened)
"""


def sockets(python, code):
    done = python("-c", SOCKETS.format(code=code))
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_import_opens_no_socket(python):
    code = "import robustlab; [getattr(robustlab, n) for n in ('Run', 'Suite', 'list_attacks')]"
    assert sockets(python, code) == "[]"
    assert "socket.__new__" in sockets(python, "import socket; socket.socket().close()")


FIND = "import importlib.util as u; print([n for n in ('attacks', 'reports') if u.find_spec(n)])"


def test_no_top_level_names(python, tmp_path):
    """`import attacks` must not work on a user's machine, wherever they stand."""
    assert python("-c", FIND).stdout.strip() == "[]"
    (tmp_path / "attacks").mkdir()  # a folder of the user's own is found
    assert python("-c", FIND).stdout.strip() == "['attacks']"
