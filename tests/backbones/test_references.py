"""References taken apart."""

import pytest

from robustlab.backbones import Reference, parse_reference
from robustlab.errors import BadRequest


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("lenet5-max@digits", {"kind": "named", "builder": "lenet5-max", "data": "digits"}),
        ("mlp?hidden=128,64", {"kind": "named", "builder": "mlp", "options": {"hidden": "128,64"}}),
        (
            "lenet5?pool=avg&seed=1@digits",
            {
                "kind": "named",
                "builder": "lenet5",
                "options": {"pool": "avg", "seed": "1"},
                "data": "digits",
            },
        ),
        (
            "file:a b/m@x.safetensors#lenet5?pool=max",
            {
                "kind": "file",
                "path": "a b/m@x.safetensors",
                "builder": "lenet5",
                "options": {"pool": "max"},
            },
        ),
        ("file:m.pt", {"kind": "file", "path": "m.pt"}),
        ("python:C:/my.py:build", {"kind": "python", "path": "C:/my.py", "function": "build"}),
    ],
)
def test_parts(text, parts):
    assert parse_reference(f" {text} ") == Reference(text, **parts)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "write 'NAME@DATA'"),
        ("@digits", "write 'NAME@DATA'"),
        ("lenet5@", "write 'NAME@DATA'"),
        ("lenet5?pool", "option 'pool' is not of the form name=value"),
        ("lenet5?pool=", "not of the form"),
        ("lenet5?a=1&a=2", "given twice"),
        ("file:", "write 'file:PATH#BUILDER'"),
        ("file:m.pt#", "write 'file:PATH#BUILDER'"),
        ("file:m.pt#lenet5@digits", "leave out '@digits'"),
        ("python:my.py", "write 'python:FILE:FUNCTION'"),
        ("python::build", "write 'python:FILE:FUNCTION'"),
        ("torchvision:resnet50", "torchvision networks are not built yet"),
        ("timm:convnext_tiny", "timm networks are not built yet"),
    ],
)
def test_malformed(text, message):
    with pytest.raises(BadRequest, match=message):
        parse_reference(text)
