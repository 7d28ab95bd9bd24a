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
        ("m.pth", {"model_state_dict": WEIGHTS, "epoch": 3, "loss": torch.ones(1)}),
        ("m.ckpt", {"model": {f"module.{key}": value for key, value in WEIGHTS.items()}}),
        ("m.pt", {"net": WEIGHTS, "acc": 93.5, "epoch": 10}),
        ("m.pt", {"weights": {"state_dict": WEIGHTS}, "optimizer": {"lr": 0.1, "state": {}}}),
        ("m.pt", {**WEIGHTS, "epoch": 3, "optimizer": {"step": torch.ones(1)}}),
        ("m.pt", {f"_orig_mod.module.{key}": value for key, value in WEIGHTS.items()}),
        ("m.bin", {f"model.{key}": value for key, value in WEIGHTS.items()}),
        ("m.safetensors", {f"net.{key}": value for key, value in WEIGHTS.items()}),
    ],
)
def test_read(tmp_path, name, content):
    path = tmp_path / name
    (save_file if name.endswith("safetensors") else torch.save)(content, path)
    backbone = load(path)
    assert backbone.fingerprint == EXPECTED
    assert backbone.card["options"] == builders["lenet5"].bind({"pool": "max", "seed": 0})
    assert load(path, "lenet5?pool=avg").fingerprint != EXPECTED


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_half_precision_is_raised_and_nothing_else_changed(tmp_path, dtype):
    weights = {key: value.to(dtype) for key, value in WEIGHTS.items()}
    save_file(weights, tmp_path / "m.safetensors")
    backbone = load(tmp_path / "m.safetensors")
    assert backbone.dtype == (dtype if dtype == torch.float64 else torch.float32)
    found = backbone.module.state_dict()
    assert all(torch.equal(found[key], weights[key].to(backbone.dtype)) for key in weights)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_another_dtype_for_who_asks(tmp_path, dtype):
    save_file(WEIGHTS, tmp_path / "m.safetensors")
    backbone = load(tmp_path / "m.safetensors", f"lenet5?dtype={dtype}")
    assert backbone.dtype == getattr(torch, dtype)
    assert (backbone.fingerprint == EXPECTED) == (dtype == "float32")


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
        (without("fc1.bias"), "not weights of that network: fc1.bias is missing; the nearest"),
        ({**WEIGHTS, "fc9.bias": torch.ones(1)}, "fc9.bias is not expected"),
        (
            {**WEIGHTS, "conv1.bias": torch.ones(7)},
            r"conv1\.bias has shape \[7\] instead of \[6\]",
        ),
        (without(*list(WEIGHTS)[2:]), r"conv2\.weight is missing, .* and 5 more"),
        ({**WEIGHTS, "fc1.bias": torch.full((120,), torch.nan)}, "logits of a grey image"),
        (
            {k: v.to(torch.int8) for k, v in WEIGHTS.items()},
            r"conv1\.weight holds torch\.int8, .*; save the weights from before it was quantised$",
        ),
        ({k: v + 0j for k, v in WEIGHTS.items()}, r"conv1\.weight holds torch\.complex64, not"),
        ([1, 2], "no weights in it but a list"),
        ({}, "no weights in it; it holds nothing, .* save model.state_dict"),
        ({"epoch": 3, "net": None}, "it holds 'epoch', 'net', weights are looked for .*'net'"),
    ],
)
def test_other_weights(tmp_path, content, message):
    torch.save(content, tmp_path / "m.pt")
    with pytest.raises(BadRequest, match=message):
        load(tmp_path / "m.pt")


def test_files_that_are_something_else(tmp_path):
    save_file(WEIGHTS, tmp_path / "a.pt")
    with pytest.raises(BadRequest, match=r"by its content safetensors; call it a\.safetensors"):
        load(tmp_path / "a.pt")
    torch.save(WEIGHTS, tmp_path / "b.safetensors")
    with pytest.raises(BadRequest, match=r"by its content a torch checkpoint; call it b\.pt"):
        load(tmp_path / "b.safetensors")
    with pytest.raises(BadRequest, match="is a folder; name a file in it"):
        load(tmp_path)
    (tmp_path / "c.pt").touch()
    with pytest.raises(BadRequest, match=r"c\.pt is empty"):
        load(tmp_path / "c.pt")


def test_counts_of_batches_may_lack(tmp_path):
    built = builders["resnet20"](width=4)
    weights = built.state_dict()
    kept = {k: v for k, v in weights.items() if not k.endswith("num_batches_tracked")}
    assert len(kept) < len(weights)
    for name in ("m.safetensors", "m.pt"):
        (save_file if name.endswith("safetensors") else torch.save)(kept, tmp_path / name)
        found = load(tmp_path / name, "resnet20?width=4").module.state_dict()
        assert all(torch.equal(found[key], kept[key]) for key in kept)
    del kept["bn1.running_var"]  # the mutant: what decides logits must be there
    torch.save(kept, tmp_path / "m.pt")
    with pytest.raises(BadRequest, match=r"bn1\.running_var is missing"):
        load(tmp_path / "m.pt", "resnet20?width=4")


def test_unknown_kinds_and_places(tmp_path):
    (tmp_path / "m.onnx").touch()
    with pytest.raises(BadRequest, match=r"unknown kind '\.onnx'; there is \.bin, "):
        load(tmp_path / "m.onnx")
    with pytest.raises(BadRequest, match=r"no file .*n\.onnx; did you mean 'm\.onnx'"):
        load(tmp_path / "n.onnx")
    (tmp_path / "m.pt").touch()
    with pytest.raises(BadRequest, match="unknown builder 'lenet'; did you mean 'lenet5'"):
        load(tmp_path / "m.pt", "lenet")
