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
        ("file:a#b/m.pt", {"kind": "file", "path": "a#b/m.pt"}),
        ("file:a#b/m#1.pt#mlp", {"kind": "file", "path": "a#b/m#1.pt", "builder": "mlp"}),
        (
            "torchvision:resnet50?weights=none&classes=10",
            {
                "kind": "named",
                "builder": "torchvision:resnet50",
                "options": {"weights": "none", "classes": "10"},
            },
        ),
        ("timm:resnet18.a1_in1k", {"kind": "named", "builder": "timm:resnet18.a1_in1k"}),
        (
            "file:out/m.pth#torchvision:resnet18?classes=10&dtype=float16",
            {
                "kind": "file",
                "path": "out/m.pth",
                "builder": "torchvision:resnet18",
                "options": {"classes": "10"},
                "dtype": "float16",
            },
        ),
        (
            "file:m.pt#resnet20?mean=0.5,0.25,1e-1&width=8&std=1,1,.5",
            {
                "kind": "file",
                "path": "m.pt",
                "builder": "resnet20",
                "options": {"width": "8"},
                "statistics": ((0.5, 0.25, 0.1), (1.0, 1.0, 0.5)),
            },
        ),
        (
            "torchvision:resnet18?mean=none",
            {"kind": "named", "builder": "torchvision:resnet18", "statistics": (None, None)},
        ),
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
        ("torchvision:", "write 'torchvision:NAME', as torchvision:resnet18"),
        ("timm:?weights=none", "write 'timm:NAME'"),
        ("torchvision:resnet50@imagenet", "'weights' says which; leave out '@imagenet'"),
        ("mlp?mean=0.5", "network 'mlp.mean=0.5': give mean and std both, or mean=none"),
        ("mlp?mean=none&std=0.5", "mean='none' is no list of numbers"),
        ("mlp?mean=a&std=1", "mean='a' is no list of numbers, one a channel"),
        ("mlp?dtype=float61", "unknown dtype 'float61'; did you mean 'float"),
    ],
)
def test_malformed(text, message):
    with pytest.raises(BadRequest, match=message):
        parse_reference(text)
