"""The nearest builder: weights of every kind, searched for by the names and shapes of tensors."""

import pytest
import torch
import torchvision
from torch import nn

from robustlab.backbones import builders, load_backbone
from robustlab.backbones.nearest_builder import nearest_builder
from robustlab.backbones.unfilled import Unfilled
from robustlab.errors import BadRequest

LECTURES = (
    "lenet5",
    "lenet5?width=12&channels=3&classes=7",
    "lenet5?size=28",
    "lenet5?head=gap&norm=batch",
    "mlp?hidden=30,20,10",
    "resnet20?width=8",
    "resnet20?classes=100&norm=off",
    "resnet20?shortcut=B",
    "resnet32?width=4&channels=1",
    "resnet20?head=flatten",
    "lenet5?size=40",
    "local?width=4",
    "local?channels=3&size=28",
    "mlp?size=40",
    "mlp?channels=3&size=28&hidden=7",
    "mlp?norm=batch&hidden=5,6,7,8,9,10,11,12,13,14",
    "vgg11?width=8&size=32",
    "alexnet?width=8&towers=1",
    "alexnet?width=8&towers=1&size=96",
    "googlenet?width=8&branch5=3",
    "googlenet?width=8&auxiliary=True",
    "googlenet?width=8&module=naive",
)


def made(text):
    name, _, query = text.partition("?")
    options = dict(part.split("=") for part in query.split("&") if part)
    return builders[name](**builders[name].bind(options)).state_dict()


# Everyday one of each network; the search behind an error takes seconds.
EVERYDAY = {text.partition("?")[0]: text for text in reversed(LECTURES)}.values()


@pytest.mark.parametrize(
    "text",
    [pytest.param(one, marks=[] if one in EVERYDAY else [pytest.mark.slow]) for one in LECTURES],
)
def test_found_with_its_options(text, tmp_path):
    """The reference it names loads the file; so does the one in the error of a wrong builder."""
    path = tmp_path / "m.pt"
    torch.save(made(text), path)
    wrong = "mlp" if "resnet" in text else "resnet20"
    with pytest.raises(BadRequest, match="these are not weights of that network") as told:
        load_backbone(f"file:{path}#{wrong}")
    said = str(told.value).rpartition("; they fit '")[2].split("'")[0]
    found = dict(part.split("=") for part in said.partition("?")[2].split("&") if part)
    asked = dict(part.split("=") for part in text.partition("?")[2].split("&") if part)
    assert found == asked
    assert said.split("?")[0] == f"file:{path}#{text.split('?')[0]}"
    load_backbone(said)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["squeezenet1_1", "shufflenet_v2_x0_5", "densenet121"])
@pytest.mark.parametrize("classes", [1000, 7])
def test_torchvisions(name, classes, tmp_path):
    with torch.device("meta"):
        weights = torchvision.models.get_model(name, num_classes=classes).state_dict()
    query = "" if classes == 1000 else f"?classes={classes}"
    said = nearest_builder(weights, tmp_path / "m.pt")
    assert said.startswith(
        f"; they fit 'file:{tmp_path}/m.pt#torchvision:{name}{query}'; mean and "
    )


def test_both_where_both_fit(tmp_path):
    with torch.device("meta"):
        weights = torchvision.models.resnet18(num_classes=10).state_dict()
    said = nearest_builder(weights, tmp_path / "m.pt")
    assert "#resnet18?classes=10' and 'file:" in said
    assert "#torchvision:resnet18?classes=10'; pool, padding, " in said


@pytest.mark.parametrize(
    ("text", "untold"),
    [
        ("resnet20", "pool, padding, activation, shortcut=none, mean and std leave no trace"),
        ("resnet20?shortcut=B", "pool, padding, activation, mean and std leave no trace"),
        ("lenet5", "pool, activation, mean and std leave no trace"),
        ("mlp", "activation, mean and std leave no trace"),
        ("zfnet?width=8", "pool, padding, activation, norm=off, mean and std leave no trace"),
        ("googlenet?width=8&norm=off", "pool, padding, activation, norm=lrn, mean and std leave"),
        ("lenet5_1998", "mean and std leave no trace"),
    ],
)
def test_what_the_weights_do_not_tell(text, untold, tmp_path):
    """Nothing that they do tell is called a guess, and nothing that they do not is left out."""
    said = nearest_builder(made(text), tmp_path / "m.pt")
    assert f"'; {untold}" in said


@pytest.mark.slow
@pytest.mark.parametrize("last", [torch.tensor(1.0), torch.zeros(0), torch.zeros(10, 2)])
@pytest.mark.parametrize(
    ("text", "key"), [("lenet5", "fc3.bias"), ("mlp", "fc3.bias"), ("resnet18", "fc.bias")]
)
def test_a_last_tensor_of_another_kind(text, key, last, tmp_path):
    weights = made(text)
    weights[key] = last
    if not last.numel():
        weights[f"{key[:-4]}weight"] = torch.zeros(0, 84)
    said = nearest_builder(weights, tmp_path / "m.pt")
    assert said.startswith("; the nearest is ") or "is near; wrap your own" in said


def test_nothing_but_counters(tmp_path):
    said = nearest_builder({"num_batches_tracked": torch.tensor(1)}, tmp_path)
    assert "is near; wrap your own" in said


def test_nearly(tmp_path):
    weights = made("resnet20?width=8")
    fitting = len([key for key in weights if not key.endswith("num_batches_tracked")])
    weights["linear.bias"] = torch.zeros(11)
    weights["extra"] = torch.zeros(1)
    said = nearest_builder(weights, tmp_path / "m.pt")
    assert "; the nearest is 'resnet20?width=8" in said
    assert f" of {fitting + 1} tensors fit" in said


def test_nothing_near(tmp_path):
    weights = nn.Sequential(nn.Conv2d(1, 16, 4), nn.Flatten(), nn.Linear(9, 2)).state_dict()
    assert "no builder of the lab or of torchvision is near" in nearest_builder(weights, tmp_path)


def test_told_where_no_builder_is_named(tmp_path):
    torch.save(made("lenet5"), tmp_path / "m.pt")
    with pytest.raises(BadRequest, match=r"no card lies beside .*they fit 'file:.*m\.pt#lenet5'"):
        load_backbone(f"file:{tmp_path}/m.pt")


def test_networks_are_laid_out_without_numbers():
    with Unfilled():
        large = builders["vgg16"]()
    assert {one.device.type for one in large.state_dict().values()} == {"meta"}
    small = builders["lenet5"]()  # the mutant: without it they lie on the CPU
    assert {one.device.type for one in small.state_dict().values()} == {"cpu"}
