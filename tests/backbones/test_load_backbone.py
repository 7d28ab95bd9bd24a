"""`load_backbone`: every form of reference, and what it says when there is no such network."""

import json
import shlex
import shutil

import pytest
import torch
from torch import nn

from robustlab import shelf
from robustlab.backbones import Backbone, builders, load_backbone
from robustlab.backbones.building import build
from robustlab.errors import BadRequest


def test_shipped_by_name_and_by_options():
    named = load_backbone("lenet5-avg@digits")
    assert (named.name, named.reference) == ("lenet5-avg@digits", "lenet5-avg@digits")
    assert isinstance(named.network.pool1, nn.AvgPool2d)
    for text in ("lenet5?pool=avg@digits", "lenet5?pool=avg&seed=0@digits"):
        found = load_backbone(text)
        assert found.fingerprint == named.fingerprint
        assert found.reference == text
    assert load_backbone("lenet5@digits").name == "lenet5-max@digits"
    assert load_backbone("mlp?hidden=128,64@digits").name == "mlp@digits"


def test_untrained():
    backbone = load_backbone("lenet5?pool=avg&seed=3")
    expected = builders["lenet5"](pool="avg", seed=3).state_dict()
    assert torch.equal(backbone.module.state_dict()["conv2.weight"], expected["conv2.weight"])
    assert backbone.card["untrained"] is True
    assert backbone.card["options"] == builders["lenet5"].bind({"pool": "avg", "seed": 3})
    assert not backbone.module.training


def test_name_device_and_statistics():
    backbone = load_backbone("mlp", name="m", device="cpu", mean=[0.5], std=[0.25])
    assert (backbone.name, backbone.mean, backbone.std) == ("m", (0.5,), (0.25,))


def test_a_backbone_passes_through():
    backbone = load_backbone("mlp")
    assert load_backbone(backbone) is backbone
    assert load_backbone(backbone, device="cpu") is backbone
    assert load_backbone(backbone, name="other").name == "other"
    with pytest.raises(BadRequest, match=r"give mean and std to robustlab\.Backbone"):
        load_backbone(backbone, mean=[0.5], std=[0.5])


def test_the_card_gives_mean_and_std(tmp_path, monkeypatch):
    for end in ("json", "safetensors"):
        shutil.copy(shelf.weights() / f"mlp@digits.{end}", tmp_path)
    card = tmp_path / "mlp@digits.json"
    content = json.loads(card.read_text()) | {"mean": [0.1], "std": [0.3]}
    card.write_text(json.dumps(content))
    monkeypatch.setattr(shelf, "weights", lambda: tmp_path)
    assert load_backbone("mlp@digits").mean == (0.1,)
    assert load_backbone(f"file:{tmp_path}/mlp@digits.safetensors").std == (0.3,)
    assert load_backbone("mlp@digits", mean=[0.2], std=[1]).mean == (0.2,)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("classes", 5, "classes 5 is not a list"),
        ("classes", [1, 2], r"classes \[1, 2\] is not a list of names"),
        ("input_shape", None, "input_shape null is not a list"),
        ("options", None, "options null is not a table"),
        ("options", [], r"options \[\] is not a table"),
        ("builder", 3, "builder 3 is not text"),
        ("name", None, "name null is not text"),
    ],
)
def test_malformed_cards(tmp_path, key, value, message):
    shutil.copy(shelf.weights() / "mlp@digits.safetensors", tmp_path / "m.safetensors")
    card = json.loads((shelf.weights() / "mlp@digits.json").read_text()) | {key: value}
    (tmp_path / "m.json").write_text(json.dumps(card))
    with pytest.raises(
        BadRequest, match=rf"the card .*m\.json: {message}.*; train the network again"
    ):
        load_backbone(f"file:{tmp_path}/m.safetensors")


@pytest.mark.parametrize(
    "builder", ["torchvision:squeezenet1_1?mean=none", "timm:resnet18", "resnet18", "lenet5"]
)
def test_a_file_of_other_classes(tmp_path, builder):
    if builder.startswith("timm:"):
        pytest.importorskip("timm")
    name, _, query = builder.partition("?")
    own = build(name, {"classes": 7}, pretrained=False)
    torch.save(own.module.state_dict(), tmp_path / "m.pt")
    with pytest.raises(BadRequest, match="these are not weights of that network") as told:
        load_backbone(f"file:{tmp_path}/m.pt#{builder}")
    advised = shlex.split(str(told.value).rpartition("; the file has 7 classes: ")[2])
    assert advised == [f"file:{tmp_path}/m.pt#{name}?{query}{'&' * bool(query)}classes=7"]
    loaded = load_backbone(*advised)
    assert len(loaded.classes) == 7
    assert (loaded.mean is None) == (query == "mean=none" or ":" not in name)


@pytest.mark.slow
def test_other_differences_are_not_taken_for_classes(tmp_path):
    for change in ({"classes": 7, "width": 8}, {"norm": "batch"}, {"size": 28}):
        torch.save(builders["lenet5"](**change).state_dict(), tmp_path / "m.pt")
        with pytest.raises(BadRequest) as told:
            load_backbone(f"file:{tmp_path}/m.pt#lenet5")
        assert "the file has" not in str(told.value)
        assert "; they fit" in str(told.value)


@pytest.mark.slow
def test_paths_of_odd_characters(tmp_path):
    """They load, and what an error advises can be pasted into a shell."""
    for folder in ("a#b", "it's", "a b"):
        path = tmp_path / folder / "m.pt"
        path.parent.mkdir()
        torch.save(builders["lenet5"]().state_dict(), path)
        with pytest.raises(BadRequest, match="no card lies beside") as told:
            load_backbone(f"file:{path}")
        advised = shlex.split(str(told.value).partition("; they fit ")[2].partition("; pool")[0])
        assert advised == [f"file:{path}#lenet5"]
        load_backbone(*advised)


def test_statistics_in_the_reference(tmp_path):
    assert load_backbone("mlp?mean=0.5&std=0.25").std == (0.25,)
    own = load_backbone("torchvision:shufflenet_v2_x0_5?weights=none&size=32")
    assert own.mean == (0.485, 0.456, 0.406)
    torch.save(own.module.state_dict(), tmp_path / "m.pt")
    text = f"file:{tmp_path}/m.pt#torchvision:shufflenet_v2_x0_5?size=32"
    assert load_backbone(text).fingerprint == own.fingerprint
    for none in ("mean=none", "mean=none&std=none", "std=none"):
        assert load_backbone(f"{text}&{none}").mean is None
    assert load_backbone(f"{text}&mean=0,0,0&std=1,1,1").mean == (0, 0, 0)
    assert load_backbone(text, mean=[0.5] * 3, std=[0.5] * 3).mean == (0.5, 0.5, 0.5)
    with pytest.raises(BadRequest, match="mean and std are given beside it too; keep one"):
        load_backbone("mlp?mean=0.5&std=0.5", mean=[0.5], std=[0.5])
    with pytest.raises(BadRequest, match=r"mean has 1 numbers, the images have 3 channels"):
        load_backbone(f"{text}&mean=0.5&std=0.5")


def test_the_card_names_file_and_builder(tmp_path):
    torch.save(load_backbone("mlp").module.state_dict(), tmp_path / "m.pt")
    card = load_backbone(f"file:{tmp_path}/m.pt#mlp").card
    assert (card["file"], card["builder"]) == (str(tmp_path / "m.pt"), "mlp")
    assert "untrained" not in card


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("resnet51", "unknown network 'resnet51'; did you mean .*torchvision:resnet51"),
        ("vision:resnet18", "unknown library 'vision' .*did you mean 'torchvision'"),
        (
            "lenet5-mx@digits",
            "unknown network 'lenet5-mx@digits'; did you mean 'lenet5-max@digits'",
        ),
        ("lenet5-max@digit", "did you mean 'lenet5-max@digits'"),
        ("zzz@q", "unknown network 'zzz@q'; there is lenet5-avg@digits"),
        ("lenet5?pool=mex@digits", "unknown pool 'mex' of 'lenet5'; did you mean 'max'"),
        ("lenet5?seed=7@digits", "no network 'lenet5.seed=7@digits' is shipped .*robustlab train"),
        ("mlp?hidden=5@digits", r"there is lenet5-avg@digits, .*robustlab train"),
        ("mlp@cats", r"no network 'mlp@cats' is shipped"),
        ("lenet", "unknown network 'lenet'; did you mean 'lenet5'"),
        ("lenet5-max", "unknown network 'lenet5-max'; did you mean 'lenet5-max@digits'"),
        ("file:none.pt#lenet5", "no file none.pt"),
    ],
)
def test_unknown(text, message):
    with pytest.raises(BadRequest, match=message):
        load_backbone(text)


def test_a_bare_module():
    with pytest.raises(BadRequest, match=r"robustlab\.Backbone\(module, input_shape=\(C, H, W\)"):
        load_backbone(nn.Flatten())


PYTHON = """
import torch
from robustlab.backbones import Backbone
def build():
    return Backbone(torch.nn.Flatten().eval(), input_shape=(1, 2, 2), classes=4)
def named():
    return Backbone(torch.nn.Flatten().eval(), input_shape=(1, 2, 2), classes=4, name="mine")
def bare():
    return torch.nn.Flatten()
def nothing():
    pass
def wrong():
    return Backbone(torch.nn.Flatten(), input_shape=(1, 2, 2), classes=4)
def failing():
    raise KeyError("weights")
number = 3
"""


@pytest.fixture
def own_file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(PYTHON)
    return path


def test_own_file(own_file, monkeypatch):
    text = f"python:{own_file}:build"
    backbone = load_backbone(text)
    assert isinstance(backbone, Backbone)
    assert (backbone.name, backbone.reference) == (text, text)
    assert load_backbone(f"python:{own_file}:named").name == "mine"
    monkeypatch.chdir(own_file.parent)
    assert load_backbone("python:./mine.py:build").fingerprint == backbone.fingerprint
    with pytest.raises(BadRequest, match="give mean and std in the Backbone"):
        load_backbone(text, mean=[0.5], std=[0.5])


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("bild", "no function 'bild'; did you mean 'build'"),
        ("number", "no function 'number'"),
        ("bare", r"returned a Flatten, not a Backbone; wrap it: return robustlab\.Backbone"),
        ("nothing", "returned a NoneType, not a Backbone$"),
        ("wrong", r"wrong': own: the network is in train mode"),
        ("failing", r"failing\(\) failed: KeyError: 'weights'"),
    ],
)
def test_own_files_that_fail(own_file, function, message):
    with pytest.raises(BadRequest, match=message):
        load_backbone(f"python:{own_file}:{function}")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("broken.py", "def build(:", "fails: SyntaxError"),
        ("broken.py", "import nowhere_at_all", "fails: ModuleNotFoundError: No module named"),
        ("broken.txt", "", "no Python file"),
        ("broken.py", None, "there is no file"),
    ],
)
def test_own_files_that_cannot_be_imported(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(BadRequest, match=message):
        load_backbone(f"python:{tmp_path / name}:build")
