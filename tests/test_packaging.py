"""The wheel holds all that a user needs and nothing that would clash on their machine."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
SETUP = PYPROJECT["tool"]["setuptools"]
FOLDERS = {"robustlab._attacks": "attacks", "robustlab._reports": "reports"}


def source_of(package):
    return ROOT / FOLDERS.get(package, package.replace(".", "/"))


def check_packages(listed):
    """Every folder of Python is listed, and every listed package is there."""
    on_disk = {
        ".".join(file.parent.relative_to(ROOT).parts)
        for file in (ROOT / "robustlab").rglob("__init__.py")
    }
    assert set(listed) == on_disk | set(FOLDERS)
    assert all(source_of(package).is_dir() for package in listed)


def test_packages():
    check_packages(SETUP["packages"])
    assert SETUP["package-dir"] == {"robustlab": "robustlab", **FOLDERS}


def test_a_forgotten_package_is_seen():
    with pytest.raises(AssertionError):
        check_packages([p for p in SETUP["packages"] if p != "robustlab.engines"])


def test_every_folder_of_modules_is_a_package():
    """A folder without `__init__.py` would work here and be missing from the wheel."""
    folders = {file.parent for file in (ROOT / "robustlab").rglob("*.py")}
    assert [str(f) for f in folders if not (f / "__init__.py").is_file()] == []


SHIPPED = {".txt", ".toml", ".json", ".safetensors", ".html", ".css", ".js", ".typed"}


def data_files():
    """Path in the wheel of every file of a package that is no Python and must be shipped."""
    for package in SETUP["packages"]:
        folder = source_of(package)
        for file in folder.rglob("*"):
            inside = file.relative_to(folder)
            built = package == "robustlab._reports" and inside.parts[0] in ("out", "specimen")
            if file.suffix in SHIPPED and not built:
                yield f"{package.replace('.', '/')}/{inside.as_posix()}"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy of the tree, so that no build folder is left in it."""
    pytest.importorskip("setuptools", reason="the wheel is built with the setuptools that is here")
    pytest.importorskip("pip", reason="the wheel is built with the pip that is here")
    copy = tmp_path_factory.mktemp("tree")
    ignore = shutil.ignore_patterns("__pycache__", "out", "*.egg-info")
    for name in ("robustlab", "attacks", "reports"):
        shutil.copytree(ROOT / name, copy / name, ignore=ignore)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy / name)
    out = tmp_path_factory.mktemp("wheel")
    line = [sys.executable, "-m", "pip", "wheel", ".", "--no-deps", "--no-build-isolation"]
    line += ["--no-index", "-q", "-w", str(out)]
    done = subprocess.run(line, cwd=copy, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (built,) = out.glob("*.whl")
    return built


@pytest.mark.slow
def test_what_the_wheel_holds(wheel):
    with zipfile.ZipFile(wheel) as file:
        names = set(file.namelist())
    tops = {name.split("/")[0] for name in names}
    assert {re.sub(r"-.*", "", top) for top in tops} == {"robustlab"}  # and its .dist-info
    for package in SETUP["packages"]:
        folder = package.replace(".", "/")
        for module in source_of(package).glob("*.py"):
            assert f"{folder}/{module.name}" in names
    wanted = set(data_files())
    assert wanted <= names
    for one in (
        "robustlab/py.typed",
        "robustlab/_attacks/suites/quick.toml",
        "robustlab/_reports/page.html",
        "robustlab/_reports/page.css",
        "robustlab/backbones/weights/mlp@digits.safetensors",
        "robustlab/backbones/weights/mlp@digits.json",
        "robustlab/training/recipes/mlp@digits.toml",
    ):
        assert one in wanted
    assert not any("/out/" in name or "__pycache__" in name or "tests/" in name for name in names)
    assert sum(info.file_size for info in zipfile.ZipFile(wheel).infolist()) < 20 << 20


ELSEWHERE = """
import importlib.util, pathlib, sys
import robustlab
from robustlab.cli import main
assert pathlib.Path(robustlab.__file__).is_relative_to(sys.argv[1]), robustlab.__file__
assert importlib.util.find_spec("attacks") is None
assert importlib.util.find_spec("reports") is None
for arguments in (["list", "attacks"], ["list", "backbones"], ["show", "quick"], ["show", "pgd"]):
    assert main(arguments) == 0
assert main(["check", "quick"]) == 0
assert main(["run", "quick", "--take", "6", "-b", "mlp@digits", "-o", "run"]) == 0
assert "torch" in sys.modules
"""


@pytest.mark.slow
def test_installed_elsewhere(wheel, tmp_path):
    """Without the source tree in sight: what is read is what was packed."""
    target = tmp_path / "site"
    line = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "-q"]
    done = subprocess.run(
        [*line, "--target", str(target), str(wheel)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, str(target)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(target)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "pgd" in done.stdout
    assert (tmp_path / "run" / "report.html").is_file()
