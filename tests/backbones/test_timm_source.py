"""``timm:NAME``: options, metadata, errors; weights from a server on this machine."""

import os
import socket
import sys

import pytest
import torch
from safetensors.torch import save

from robustlab.backbones import load_backbone
from robustlab.backbones.building import build
from robustlab.errors import BadRequest

timm = pytest.importorskip("timm", reason="timm is not installed")
NAME = "test_resnet"  # timm's own small network for tests


@pytest.fixture
def published(server, hub, saved, monkeypatch):
    """Call it with what the server shall give as the weights of NAME."""

    def publish(content):
        cfg = timm.models.get_pretrained_cfg(NAME)
        monkeypatch.setattr(cfg, "hf_hub_id", None)
        monkeypatch.setattr(cfg, "url", server.add(NAME, saved(content)))
        monkeypatch.setattr(timm.models, "get_pretrained_cfg", lambda *_, **__: cfg)
        monkeypatch.setattr(timm.models._builder, "get_pretrained_cfg", lambda *_, **__: cfg)

    return publish


def weights(seed=0):
    torch.manual_seed(seed)
    return timm.create_model(NAME).state_dict()


def test_untrained():
    built = build(f"timm:{NAME}", {"weights": "none", "classes": "10", "seed": 3})
    assert built.options == {"weights": "none", "classes": 10, "size": 160, "seed": 3}
    assert (built.input_shape, built.classes) == ((3, 160, 160), 10)
    config = timm.data.resolve_model_data_config(timm.create_model(NAME))
    assert (built.mean, built.std) == (config["mean"], config["std"])
    assert built.facts == {
        "preprocessing": {
            "resize": int(160 / config["crop_pct"]),
            "crop": 160,
            "interpolation": config["interpolation"],
        }
    }
    again = build(f"timm:{NAME}", {"weights": "none", "classes": "10", "seed": 3})
    other = build(f"timm:{NAME}", {"weights": "none", "classes": "10", "seed": 4})
    first = built.module.state_dict()
    assert all(torch.equal(first[k], v) for k, v in again.module.state_dict().items())
    assert any(not torch.equal(first[k], v) for k, v in other.module.state_dict().items())


def test_as_a_backbone_and_from_a_file(tmp_path):
    backbone = load_backbone(f"timm:{NAME}?weights=none")
    assert backbone.card["untrained"] is True
    assert backbone.classes[388] == "giant panda"
    torch.save(backbone.module.state_dict(), tmp_path / "m.pt")
    poured = load_backbone(f"file:{tmp_path}/m.pt#timm:{NAME}")
    assert poured.fingerprint == backbone.fingerprint
    assert poured.mean == backbone.mean


def test_another_size():
    for name in (NAME, "test_vit"):  # a transformer is built for its size
        backbone = load_backbone(f"timm:{name}?weights=none&size=96&classes=3")
        assert backbone.input_shape == (3, 96, 96)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("test_resnt", "unknown network 'timm:test_resnt'; did you mean 'timm:test_resnet"),
        ("test_resnet.none_such", "unknown network 'timm:test_resnet.none_such'; did you mean"),
        ("test_resnet?weights=v1", "unknown weights 'v1' .*others have a tag"),
        ("test_resnet?weight=none", "unknown option 'weight' of .*did you mean 'weights'"),
        ("test_resnet?weights=none&classes=0", "no whole number of at least 1"),
        ("vit_small_patch14_dinov2.lvd142m?weights=none", "has no classifier; give it one"),
        ("test_vit?weights=none&size=7", "'timm:test_vit' cannot be built|fails on an image"),
    ],
)
def test_refused(text, message):
    with pytest.raises(BadRequest, match=message):
        load_backbone(f"timm:{text}")


def test_published_weights(published, server):
    body = weights()
    published(body)
    backbone = load_backbone(f"timm:{NAME}")
    found = backbone.module.state_dict()
    assert all(torch.equal(found[key], body[key]) for key in body)
    assert "untrained" not in backbone.card
    theirs = timm.create_model(NAME, pretrained=True).eval()
    image = torch.rand(1, 3, 160, 160, generator=torch.Generator().manual_seed(0))
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (backbone.mean, backbone.std))
    with torch.no_grad():
        torch.testing.assert_close(backbone(image), theirs((image - mean) / std))
    assert len(server.asked) == 1
    fresh = load_backbone(f"timm:{NAME}?classes=7")
    assert fresh.card["fresh"] == ["fc.weight", "fc.bias"]
    kept = fresh.module.state_dict()
    assert all(torch.equal(kept[k], body[k]) for k in body if not k.startswith("fc."))


def test_weights_that_cannot_be_had(published, server, hub):
    published(weights())
    server.kept_back = 50
    for message in ("cut off or altered", "HTTP 404"):
        with pytest.raises(BadRequest, match=message) as told:
            load_backbone(f"timm:{NAME}")
        for part in (f"weights {NAME}-", str(hub), "127.0.0.1", f"'timm:{NAME}?weights=none'"):
            assert part in str(told.value)
        assert list(hub.iterdir()) == []
        server.files.clear()


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_malicious_file_with_the_right_hash(published, hub, tmp_path):
    trap = tmp_path / "trap"
    published({**weights(), "extra": Bomb(trap)})
    with pytest.raises(BadRequest, match="nothing in it was executed"):
        load_backbone(f"timm:{NAME}")
    assert not trap.exists()
    (file,) = hub.iterdir()  # the mutant: without weights_only the trap snaps
    torch.load(file, weights_only=False)
    assert trap.exists()


@pytest.fixture
def hugging_face(server, monkeypatch, tmp_path):
    """The hub's address and folder, both of this test's own; returns the folder."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    monkeypatch.setattr(constants, "ENDPOINT", server.address("")[:-1])
    template = server.address("{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    return tmp_path / "hf"


HUB = f"timm/{NAME}.r160_in1k/resolve/main"


@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin"])
def test_the_hub(file, server, hugging_face, saved):
    body = weights()
    server.files[f"{HUB}/{file}"] = save(body) if "safe" in file else saved(body)
    backbone = load_backbone(f"timm:{NAME}")
    found = backbone.module.state_dict()
    assert all(torch.equal(found[key], body[key]) for key in body)
    assert backbone.card["published"] == f"timm/{NAME}.r160_in1k"
    server.files.clear()
    assert load_backbone(f"timm:{NAME}").fingerprint == backbone.fingerprint
    assert server.asked.count(f"{HUB}/{file}") == 1


def test_no_hub(server, hugging_face, monkeypatch):
    from huggingface_hub import constants

    with pytest.raises(BadRequest, match=rf"model\.safetensors of timm/{NAME}\.r160.*404") as told:
        load_backbone(f"timm:{NAME}")
    for part in (str(hugging_face), "127.0.0.1", f"file:PATH#timm:{NAME}"):
        assert part in str(told.value)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setattr(constants, "ENDPOINT", nobody)
    with pytest.raises(BadRequest, match=rf"{nobody} does not give them: .*[Rr]efused"):
        load_backbone(f"timm:{NAME}")


@pytest.mark.slow  # the hub's client tries five times
def test_a_hub_that_breaks_off(server, hugging_face):
    server.files[f"{HUB}/model.safetensors"] = save(weights())
    server.kept_back = 1000
    with pytest.raises(BadRequest, match="does not give them"):
        load_backbone(f"timm:{NAME}")
    assert not list(hugging_face.rglob("model.safetensors"))
    server.kept_back = 0
    load_backbone(f"timm:{NAME}")


def test_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(BadRequest, match=r"timm is not installed; pip install 'robustlab\[timm\]'"):
        load_backbone("timm:resnet18")
