"""The cost that the catalogue tells, read as text, is what `passes()` returns."""

import ast

import pytest

from robustlab import catalogue, cost
from robustlab.binding import bind
from robustlab.registry import resolve

pytestmark = pytest.mark.usefixtures("forget")
ATTACKS = {name: e for name, e in catalogue.entries().items() if e.kind == "attack"}
# Whose cost is that of others: words.
WORDS = {"ensemble"}
NEEDED = {"eps": "1"}
OWN = {"transfer": {"surrogates": ["mlp@digits"]}}
# Every parameter with a number is tried at these, one after the other.
VALUES = (1, 2, 7)


def settings(name):
    """Parameters to try: the defaults, each norm, each whole number and flag changed alone."""
    entry = ATTACKS[name]
    yield {}
    norms = entry.facts["norms"]
    if ";" in entry.cost and "L1" in entry.cost:  # the formula is of the other norms
        norms = [norm for norm in norms if norm != "l1"]
    for norm in norms:
        yield {"norm": norm}
        for p in entry.parameters:
            if p.type == "int" and p.name not in ("restarts", "eot"):
                yield from ({"norm": norm, p.name: value} for value in VALUES)
            if p.type == "bool":
                yield {"norm": norm, p.name: not p.default}
    if name not in ("autoattack", "ensemble"):
        yield {"target": "next"}


def check_cost(name, text):
    """A formula agrees with the method at all settings that the attack takes."""
    registered, tried = resolve(name), 0
    for params in settings(name):
        try:
            bound = bind(registered, {**NEEDED, **OWN.get(name, {}), **params})
        except ValueError:  # parameters that do not go together
            continue
        told = cost.evaluate(text, bound)
        took = registered.obj(**bound).passes()
        assert told == took, f"{params}: told {told}, but it is {took}"
        tried += 1
    assert tried > 1


@pytest.mark.parametrize("name", sorted(set(ATTACKS) - WORDS))
def test_the_told_cost_is_what_it_takes(name):
    check_cost(name, ATTACKS[name].cost)


@pytest.mark.parametrize("name", sorted(ATTACKS))
def test_every_attack_tells_its_cost(name):
    assert ATTACKS[name].cost, (
        "its passes() is more than arithmetic: add cost: ClassVar[str] = 'a formula; words'"
    )
    assert (ATTACKS[name].passes is None) == (name in WORDS)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("pgd", "+ 1", "+ 2"),
        ("apgd", "else 1", "else 2"),
        ("apgd", "== 'l1'", "== 'l2'"),
        ("fab", "is None", "is not None"),
        ("fmn", "bool(aimed)", "aimed"),
        ("bisection", "1811", "1810"),
        ("autoattack", "+ 10", "+ 11"),
    ],
)
def test_a_wrong_formula_is_seen(name, old, new):
    assert old in ATTACKS[name].cost
    with pytest.raises(AssertionError):
        check_cost(name, ATTACKS[name].cost.replace(old, new))


def read(body, base="", constants=()):
    method = ast.parse(f"def passes(self):\n{body}").body[0]
    known = {name: ast.Constant(value) for name, value in constants}
    return cost.formula(method, known, base)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (" return 3", "3"),
        (" '''Words.'''\n a = 2 * self.steps\n b = a + 1\n return int(b)", "2 * steps + 1"),
        (" return self.targets * super().passes() + 1", "targets * (steps + 3) + 1"),
        (" return self.steps + LOOKS", "steps + 8"),
        (" return sum(stage.passes() for stage in self.stages())", ""),
        (" for _ in self.stages():\n  pass\n return 1", ""),
        (" return self.inner.passes()", ""),
        (" return len(self.attacks)", ""),
        (" return open(self.path)", ""),
        (" pass", ""),
    ],
)
def test_a_method_is_read_or_left(body, text):
    assert read(body, "steps + 3; words", [("LOOKS", 8)]) == text


@pytest.mark.parametrize(
    ("text", "values", "passes"),
    [
        ("2 * steps + 1", {"steps": 40}, 81),
        ("3; words", {}, 3),
        ("their sum", {}, None),
        ("2 * steps", {}, None),
        ("", {}, None),
        ("1 / steps", {"steps": 0}, None),
        ("steps.real", {"steps": 1}, None),
        ("__import__('os')", {}, None),
    ],
)
def test_a_formula_is_evaluated_or_left(text, values, passes):
    assert cost.evaluate(text, values) == passes


def test_the_nearest_says_it(tmp_path):
    """A class that overrides the method does not keep its base's words."""
    path = tmp_path / "two.py"
    path.write_text(
        "import robustlab\n"
        "class Base(robustlab.Attack):\n"
        "    cost: ClassVar[str] = '2 * steps; at most'\n"
        "    steps: int = 4\n"
        "@robustlab.probe('a')\n"
        "class A(Base):\n    pass\n"
        "@robustlab.probe('b')\n"
        "class B(Base):\n    def passes(self): return super().passes() + 1\n"
        "@robustlab.probe('c')\n"
        "class C(robustlab.Attack):\n    pass\n"
    )
    a, b, c = catalogue.read_file(path)
    assert (a.cost, a.passes) == ("2 * steps; at most", 8)
    assert (b.cost, b.passes) == ("2 * steps + 1", 9)
    assert (c.cost, c.passes) == ("1", 1)
