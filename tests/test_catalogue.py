"""The catalogue read as text is the registry that runs: names, parameters, defaults, kinds."""

import dataclasses
import inspect

import pytest

from robustlab import catalogue
from robustlab.catalogue import entries, read_file
from robustlab.errors import BadRequest
from robustlab.registry import resolve

pytestmark = pytest.mark.usefixtures("forget")
NAMES = sorted(entries())


def told(entry):
    """What the source file says, by `ast`."""
    return {p.name: (p.required, None if p.required else p.default) for p in entry.parameters}


def runtime(name):
    """What Python says of the object that is run."""
    obj = resolve(name).obj
    if dataclasses.is_dataclass(obj):
        fields = dataclasses.fields(obj)
        slots = [(f.name, f.default, f.default is dataclasses.MISSING) for f in fields]
    else:
        parameters = inspect.signature(obj).parameters.values()
        keywords = [p for p in parameters if p.kind is p.KEYWORD_ONLY]
        slots = [(p.name, p.default, p.default is p.empty) for p in keywords]
    return {name: (required, None if required else value) for name, value, required in slots}


def check_equal(entry):
    assert told(entry) == runtime(entry.name)
    registered = resolve(entry.name)
    kinds = {"attack": "attack", "probe": "probe", "clean": "probe"}
    assert kinds[registered.kind] == entry.kind
    for fact, value in entry.facts.items():
        assert getattr(registered.obj, fact) == value


@pytest.mark.parametrize("name", NAMES)
def test_text_and_registry_agree(name):
    check_equal(entries()[name])


@pytest.mark.parametrize("name", NAMES)
def test_everything_is_documented(name):
    entry = entries()[name]
    assert entry.summary.endswith(".")
    assert [p.name for p in entry.parameters if not p.doc] == []
    assert [p.name for p in entry.parameters if not p.type] == []
    if entry.kind == "attack":
        assert {"norms", "knowledge", "paper"} <= set(entry.facts)
        assert entry.facts["norms"]


def test_the_shipped_names():
    assert NAMES == [
        "anatomy",
        "apgd",
        "apgdt",
        "attribution",
        "autoattack",
        "bim",
        "bisection",
        "clean",
        "corruptions",
        "deconvnet",
        "demonstration",
        "depth_trace",
        "ensemble",
        "equivariance",
        "fab",
        "fabt",
        "feature_maps",
        "fgsm",
        "filter_bank",
        "first_layer",
        "fmn",
        "kernels",
        "maximisation",
        "mifgsm",
        "nifgsm",
        "noise",
        "patch",
        "pgd",
        "reach",
        "retrieval",
        "rfgsm",
        "seeing",
        "severity",
        "shift",
        "sigma_zero",
        "sparse_rs",
        "spatial",
        "square",
        "transfer",
        "universal",
    ]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("steps: int = 40", "steps: int = 41"),
        ("    random_start: bool = True\n", "    more: int = 1\n    random_start: bool = True\n"),
        ("random_start: bool = True", "random_start: bool = 1 == 2"),
        ("ClassVar[str]", "str"),
        ('@probe("pgd")', '@probe("pgd")\n@dataclass'),
    ],
)
def test_agreement_kills(tmp_path, old, new):
    """A file that says something else than what runs is told apart, except for an added decorator,
    which changes nothing."""
    source = entries()["pgd"].file.read_text(encoding="utf-8")
    assert old in source
    path = tmp_path / "pgd.py"
    path.write_text(source.replace(old, new), encoding="utf-8")
    if new.endswith("@dataclass"):
        check_equal(read_file(path)[0])
        return
    with pytest.raises((AssertionError, BadRequest)):
        check_equal(read_file(path)[0])


def test_nothing_is_executed(tmp_path):
    path = tmp_path / "evil.py"
    path.write_text(
        f"import pathlib\npathlib.Path({str(tmp_path / 'ran')!r}).touch()\n"
        "from robustlab import probe\n"
        "@probe('p')\n"
        "def p(backbone, data, *, a: int = 1, b: str):\n"
        "    '''First line.\n\n    a: how many\n    '''\n"
    )
    (entry,) = read_file(path)
    assert not (tmp_path / "ran").exists()
    assert (entry.name, entry.kind, entry.summary) == ("p", "probe", "First line.")
    a, b = entry.parameters
    assert (a.name, a.type, a.default, a.doc, a.required) == ("a", "int", 1, "how many", False)
    assert (b.name, b.type, b.default, b.doc, b.required) == ("b", "str", None, "", True)
    exec(compile(path.read_text(), str(path), "exec"), {})  # it would have been seen
    assert (tmp_path / "ran").exists()


def test_fields_are_inherited(tmp_path):
    path = tmp_path / "two.py"
    path.write_text(
        "import typing\nimport robustlab\n"
        "class Base(robustlab.Attack):\n"
        "    knowledge: typing.ClassVar[str] = 'none'\n"
        "    a: int = 1\n    '''the first'''\n"
        "@robustlab.probe('two')\n"
        "class Two(Base):\n    a: int = 2\n    b: int = 3\n"
    )
    (entry,) = read_file(path)
    assert entry.facts["knowledge"] == "none"
    assert entry.facts["norms"] == ("linf", "l2", "l1")
    defaults = {p.name: p.default for p in entry.parameters}
    assert (defaults["a"], defaults["b"], defaults["restarts"]) == (2, 3, 1)


@pytest.mark.parametrize(
    ("source", "told"),
    [
        (b"def f(:", "line 1: "),
        (b"\xff\xfe", "is no Python: "),
        (b"x = '\0'", ""),
        (
            b"import math\n@probe('p')\ndef p(b, d, *, a=math.pi): ...",
            "the default 'math.pi' is not a literal",
        ),
    ],
)
def test_files_that_cannot_be_read(tmp_path, source, told):
    path = tmp_path / "bad.py"
    path.write_bytes(source)
    with pytest.raises(BadRequest, match=r"bad\.py") as error:
        read_file(path)
    assert told in str(error.value)


def test_two_files_with_one_name(tmp_path, monkeypatch):
    """A mistake of the lab's own authors, so no BadRequest."""
    for name in ("one.py", "two.py"):
        (tmp_path / name).write_text("@probe('same')\ndef f(b, d): ...")
    files = {"one": tmp_path / "one.py", "two": tmp_path / "two.py"}
    monkeypatch.setattr(catalogue.shelf, "probe_files", lambda: files)
    entries.cache_clear()
    try:
        with pytest.raises(RuntimeError, match="'same' is registered in two files"):
            entries()
    finally:
        entries.cache_clear()
