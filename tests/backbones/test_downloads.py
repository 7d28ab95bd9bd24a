"""Published weights fetched from a server on this machine: whole, damaged, missing, malicious."""

import os
import socket

import pytest
import torch
import torchvision

from robustlab.backbones import downloads, load_backbone
from robustlab.errors import BadRequest

NAME = "torchvision:squeezenet1_1"
MEMBER = torchvision.models.SqueezeNet1_1_Weights.IMAGENET1K_V1


@pytest.fixture
def published(server, hub, saved, monkeypatch):
    """Call it with what the server shall give as the weights of NAME."""

    def publish(content):
        raw = content if isinstance(content, bytes) else saved(content)
        monkeypatch.setattr(MEMBER.value, "url", server.add("squeezenet1_1", raw))
        return raw

    return publish


def weights(seed=0):
    torch.manual_seed(seed)
    return torchvision.models.squeezenet1_1().state_dict()


def left_over(hub):
    return sorted(path.name for path in hub.glob("*")) if hub.is_dir() else []


def test_fetched_once_and_found_again(published, server, hub):
    expected = weights()
    published(expected)
    first = load_backbone(NAME)
    assert torch.equal(
        first.module.state_dict()["classifier.1.weight"], expected["classifier.1.weight"]
    )
    assert "untrained" not in first.card
    assert left_over(hub) == server.asked
    assert load_backbone(f"{NAME}?weights=imagenet1k_v1").fingerprint == first.fingerprint
    assert len(server.asked) == 1


def test_the_same_as_torchvisions_own_loading(published):
    published(weights(1))
    theirs = torchvision.models.squeezenet1_1(weights="DEFAULT", progress=False).eval()
    image = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in zip(*STATISTICS, strict=True))
    with torch.no_grad():
        expected = theirs((image - mean) / std)
    assert torch.equal(load_backbone(NAME)(image), expected)
    assert not torch.equal(load_backbone(f"{NAME}?mean=none")(image), expected)


STATISTICS = ((0.485, 0.229), (0.456, 0.224), (0.406, 0.225))


def check_refused(hub, message, kept=()):
    with pytest.raises(BadRequest, match=message) as told:
        load_backbone(NAME)
    assert left_over(hub) == sorted(kept)
    return str(told.value)


def test_a_truncated_answer(published, server, hub):
    published(weights())
    server.kept_back = 100
    told = check_refused(hub, "cut off or altered")
    for part in (
        "network 'torchvision:squeezenet1_1': its weights squeezenet1_1-",
        "(4.729 MB)",
        str(hub),
        "127.0.0.1",
        "put the file into that folder",
        "'file:PATH#torchvision:squeezenet1_1'",
        "'torchvision:squeezenet1_1?weights=none'",
    ):
        assert part in told
    server.kept_back = 0
    load_backbone(NAME)  # what came is gone, so the next try starts afresh


def test_another_content_than_the_hash_says(published, server, hub):
    published(weights())
    (name,) = server.files
    server.files[name] = server.files[name][:-1] + b"?"
    check_refused(hub, "cut off or altered")


def test_a_damaged_file_in_the_folder(published, server, hub):
    raw = published(weights())
    (name,) = server.files
    hub.mkdir(parents=True)
    (hub / name).write_bytes(raw[:1000])
    check_refused(hub, f"{name} is damaged or not what its name says.*remove it", kept=[name])
    (hub / name).write_bytes(raw)
    load_backbone(NAME)
    assert server.asked == []


def test_the_hash_is_what_refuses_it(published, server, hub, monkeypatch):
    """Mutant: without the hash a file with other weights passes for the published ones."""
    published(weights())
    (name,) = server.files
    hub.mkdir(parents=True)
    torch.save(weights(1), hub / name)
    monkeypatch.setattr(downloads, "_check_hash", lambda *_: None)
    load_backbone(NAME)


def test_no_such_file_and_nobody_there(published, server, hub, monkeypatch):
    published(weights())
    server.files.clear()
    check_refused(hub, "127.0.0.1 does not give them: HTTP 404")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setattr(MEMBER.value, "url", f"http://127.0.0.1:{port}/w-01234567.pth")
    check_refused(hub, "does not give them: .*[Rr]efused")
    monkeypatch.setattr(MEMBER.value, "url", "http://nowhere.invalid/w-01234567.pth")
    check_refused(hub, "nowhere.invalid does not give them")


def test_the_way_out_keeps_which_weights_were_asked_for(hub, server, monkeypatch):
    """Those of 384 pixels fit no network of 224."""
    member = torchvision.models.ViT_B_16_Weights.IMAGENET1K_SWAG_E2E_V1
    monkeypatch.setattr(member.value, "url", server.address("w-01234567.pth"))
    asked = "torchvision:vit_b_16?weights=IMAGENET1K_SWAG_E2E_V1"
    with pytest.raises(BadRequest) as told:
        load_backbone(asked)
    assert f"'file:PATH#{asked}'" in str(told.value)
    assert "'torchvision:vit_b_16?weights=none'" in str(told.value)


def test_a_silent_server(hub, monkeypatch):
    monkeypatch.setattr(downloads, "_PATIENCE", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        monkeypatch.setattr(MEMBER.value, "url", f"http://127.0.0.1:{port}/w-01234567.pth")
        check_refused(hub, "does not give them: .*timed out")
    assert socket.getdefaulttimeout() is None


def test_a_folder_that_cannot_be_made(hub, published, server):
    published(weights())
    hub.parent.parent.touch()
    with pytest.raises(BadRequest, match=r"hub/checkpoints, cannot be made: .*set TORCH_HOME"):
        load_backbone(NAME)
    assert server.asked == []


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_malicious_file_with_the_right_hash(published, hub, tmp_path):
    trap = tmp_path / "trap"
    published({**weights(), "extra": Bomb(trap)})
    with pytest.raises(BadRequest, match="nothing in it was executed"):
        load_backbone(NAME)
    assert not trap.exists()
    # The mutant: torchvision's own builder unpickles it.
    with pytest.raises(RuntimeError, match="Unexpected key"):
        torchvision.models.squeezenet1_1(weights="DEFAULT", progress=False)
    assert trap.exists()


def test_weights_of_another_network(published):
    published(torchvision.models.squeezenet1_0().state_dict())
    with pytest.raises(BadRequest, match=r"squeezenet1_1-.*not weights of that network"):
        load_backbone(NAME)


def test_a_fresh_head(published):
    body = weights(2)
    published(body)
    first, other = load_backbone(f"{NAME}?classes=7"), load_backbone(f"{NAME}?classes=7&seed=1")
    head = ["classifier.1.weight", "classifier.1.bias"]
    assert first.card["fresh"] == head
    assert len(first.classes) == 7
    kept = [key for key in body if key not in head]
    for backbone in (first, other):
        found = backbone.module.state_dict()
        assert all(torch.equal(found[key], body[key]) for key in kept)
    heads = [one.module.state_dict()[head[0]] for one in (first, other)]
    assert not torch.equal(*heads)
    assert "fresh" not in load_backbone(f"{NAME}?classes=1000").card
