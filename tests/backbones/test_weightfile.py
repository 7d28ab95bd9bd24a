"""Weights from files: safetensors and checkpoints, whole, damaged and malicious."""

import os
import pickle
import shutil

import pytest
import torch
from safetensors.torch import save_file

from robustlab import shelf
from robustlab.backbones import builders, load_backbone
from robustlab.errors import BadRequest

WEIGHTS = builders["lenet5"](seed=5).state_dict()
EXPECTED = load_backbone("lenet5?seed=5").fingerprint


def load(path, builder="lenet5?pool=max"):
    return load_backbone(f"file:{path}#{builder}")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("m.safetensors", WEIGHTS),
        ("m.pt", WEIGHTS),
        ("m.pth", {"state_dict": WEIGHTS, "epoch": 3}),
        ("m.ckpt", {"model": {f"module.{key}": value for key, value in WEIGHTS.items()}}),
    ],
)
def test_read(tmp_path, name, content):
    path = tmp_path / name
    (save_file if name.endswith("safetensors") else torch.save)(content, path)
    backbone = load(path)
    assert backbone.fingerprint == EXPECTED
    assert backbone.card["options"] == {"pool": "max", "seed": 0}
    assert load(path, "lenet5?pool=avg").fingerprint != EXPECTED


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_the_files_dtype_is_kept(tmp_path, dtype):
    save_file({key: value.to(dtype) for key, value in WEIGHTS.items()}, tmp_path / "m.safetensors")
    assert load(tmp_path / "m.safetensors").dtype == dtype


def test_mixed_dtypes_lose_nothing(tmp_path):
    mixed = {k: v.double() if k.startswith("fc") else v.half() for k, v in WEIGHTS.items()}
    torch.save(mixed, tmp_path / "m.pt")
    assert load(tmp_path / "m.pt").dtype == torch.float64


def test_a_card_beside_the_file_tells_the_builder(tmp_path):
    path = tmp_path / "mine.safetensors"
    shutil.copy(shelf.weights() / "lenet5-avg@digits.safetensors", path)
    with pytest.raises(BadRequest, match=r"no card lies beside .*#BUILDER"):
        load_backbone(f"file:{path}")
    shutil.copy(shelf.weights() / "lenet5-avg@digits.json", path.with_suffix(".json"))
    found = load_backbone(f"file:{path}")
    assert found.fingerprint == load_backbone("lenet5-avg@digits").fingerprint


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("wrapped", ["zip", "bare", "safetensors"])
def test_a_malicious_pickle_is_refused_and_not_executed(tmp_path, wrapped):
    trap = tmp_path / "trap"
    path = tmp_path / ("m.safetensors" if wrapped == "safetensors" else "m.pt")
    if wrapped == "zip":
        torch.save({**WEIGHTS, "extra": Bomb(trap)}, path)
    else:
        path.write_bytes(pickle.dumps(Bomb(trap)))
    with pytest.raises(BadRequest, match=r"nothing in it was executed|damaged or cut-off"):
        load(path)
    assert not trap.exists()
    if wrapped == "zip":  # the mutant: without weights_only the trap snaps
        torch.load(path, weights_only=False)
        assert trap.exists()


def test_malice_is_told_as_such(tmp_path):
    torch.save(Bomb(tmp_path / "trap"), tmp_path / "m.pt")
    with pytest.raises(BadRequest, match="refused and nothing in it was executed; save model"):
        load(tmp_path / "m.pt")


@pytest.mark.parametrize("name", ["m.safetensors", "m.pt"])
@pytest.mark.parametrize("keep", [0, 5, 300, 0.5, 0.99])
def test_cut_off(tmp_path, name, keep):
    path = tmp_path / name
    (save_file if name.endswith("safetensors") else torch.save)(WEIGHTS, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: keep if isinstance(keep, int) else int(keep * len(whole))])
    with pytest.raises(BadRequest, match=rf"{name}.*damaged"):
        load(path)


def without(*names):
    return {key: value for key, value in WEIGHTS.items() if key not in names}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (without("fc1.bias"), "not weights of that network: fc1.bias is missing; check"),
        ({**WEIGHTS, "fc9.bias": torch.ones(1)}, "fc9.bias is not expected"),
        (
            {**WEIGHTS, "conv1.bias": torch.ones(7)},
            r"conv1\.bias has shape \[7\] instead of \[6\]",
        ),
        (without(*list(WEIGHTS)[2:]), r"conv2\.weight is missing, .* and 5 more"),
        ({**WEIGHTS, "fc1.bias": torch.full((120,), torch.nan)}, "logits of a grey image"),
        ({**WEIGHTS, "epoch": 3}, "'epoch' is no tensor but a int; save model.state_dict"),
        ([1, 2], "no weights in it"),
        ({}, "no weights in it"),
    ],
)
def test_other_weights(tmp_path, content, message):
    torch.save(content, tmp_path / "m.pt")
    with pytest.raises(BadRequest, match=message):
        load(tmp_path / "m.pt")


def test_unknown_kinds_and_places(tmp_path):
    (tmp_path / "m.onnx").touch()
    with pytest.raises(BadRequest, match=r"unknown kind '\.onnx'; there is \.bin, "):
        load(tmp_path / "m.onnx")
    with pytest.raises(BadRequest, match=r"no file .*n\.onnx; did you mean 'm\.onnx'"):
        load(tmp_path / "n.onnx")
    (tmp_path / "m.pt").touch()
    with pytest.raises(BadRequest, match="unknown builder 'lenet'; did you mean 'lenet5'"):
        load(tmp_path / "m.pt", "lenet")
