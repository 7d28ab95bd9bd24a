"""Panda to vulture on a real ImageNet network, and another reader that agrees.

Weights and pictures are read where they lie beside the checkout; without them the tests are
skipped.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import robustlab
from robustlab.backbones import load_backbone
from robustlab.fooling.checks import load_png
from robustlab.fooling.controls import controls
from robustlab.fooling.pictures import read_file
from robustlab.fooling.readings import look
from robustlab.fooling.sight import sight_of

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "data" / "imagenet"
NETWORK = f"file:{FOLDER / 'squeezenet1_1.safetensors'}#torchvision:squeezenet1_1"
PANDA = FOLDER / "nips17" / "000b7d55b6184b08.png"
VULTURE, GIANT_PANDA = 23, 388
pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.skipif(not FOLDER.is_dir(), reason="the real data are not beside here"),
]


@pytest.fixture(scope="module")
def squeezenet():
    return load_backbone(NETWORK)


def answers(backbone, files, resize):
    """Logits [n, 1000] of picture files as the lab reads them, some at a time."""
    sight = sight_of(backbone, resize)
    return look(backbone, (sight.read(read_file(file).pixels) for file in files))


def labelled():
    with (FOLDER / "nips17" / "images.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    files = [FOLDER / "nips17" / f"{row['ImageId']}.png" for row in rows]
    return files, np.array([int(row["TrueLabel"]) - 1 for row in rows])


def right(logits, labels, most):
    best = np.argsort(-logits, axis=1)[:, :most]
    return int((best == labels[:, None]).any(axis=1).sum())


def test_the_photographs_are_seen_as_their_readme_says(squeezenet):
    files, labels = labelled()
    logits = answers(squeezenet, files, "whole")
    assert (right(logits, labels, 1), right(logits, labels, 5)) == (69, 93)
    assert right(logits, labels - 1, 1) < 10  # mutant: labels that count from 0 already
    assert right(answers(squeezenet, files, None), labels, 1) != 69  # mutant: another sight


def test_foolboxes_samples_are_seen_as_their_readme_says(squeezenet):
    """Their names end in the label: ``imagenet_03_331.jpg``."""
    from importlib.resources import files

    folder = Path(str(files("foolbox") / "data"))
    found = sorted(folder.glob("imagenet_*"))
    labels = np.array([int(file.stem.rsplit("_", 1)[1]) for file in found])
    assert len(found) == 20
    assert right(answers(squeezenet, found, None), labels, 1) == 14


@pytest.fixture(scope="module")
def fooled(tmp_path_factory, squeezenet):
    """At one grey level, the whole picture squeezed to the input."""
    folder = tmp_path_factory.mktemp("panda") / "vulture"
    settings = {"target": "vulture", "eps": "1/255", "resize": "whole", "evidence": False}
    found = robustlab.fool(PANDA, backbone=squeezenet, out=folder, **settings)
    return found, folder


def test_the_panda_is_a_vulture_at_one_grey_level(fooled):
    found, folder = fooled
    assert [one.question for one in found.checks if not one.passed] == []
    assert found.label == "giant panda"
    assert found.before.label == pytest.approx(0.987, abs=0.001)
    clean, changed = (load_png(folder / name).pixels for name in ("original.png", "fooled.png"))
    assert np.array_equal(clean, np.asarray(Image.open(PANDA).convert("RGB")).transpose(2, 0, 1))
    assert np.abs(changed.astype(int) - clean).max() == 1
    assert found.smallest.linf == 1
    assert found.after.index == VULTURE
    assert found.after.target > 0.9


def test_by_a_network_and_a_reader_that_are_torchvisions_own(fooled):
    """Nothing of the lab: torchvision's network, its weights from the file, its normalisation."""
    from safetensors.torch import load_file
    from torchvision.models import SqueezeNet1_1_Weights, squeezenet1_1
    from torchvision.transforms import functional as drawn

    network = squeezenet1_1().eval()
    weights = load_file(FOLDER / "squeezenet1_1.safetensors")
    network.load_state_dict({key: value.float() for key, value in weights.items()})
    preset = SqueezeNet1_1_Weights.DEFAULT.transforms()
    seen = []
    for name in ("original.png", "fooled.png", "smallest.png"):
        with Image.open(fooled[1] / name) as image:
            image = drawn.resize(image, [224, 224], antialias=True)
            x = drawn.normalize(drawn.to_tensor(image), preset.mean, preset.std)
        with torch.no_grad():
            seen.append(int(network(x[None]).argmax()))
    assert seen == [GIANT_PANDA, VULTURE, VULTURE]


def test_noise_of_the_same_size_and_the_same_pixels_elsewhere_do_not(fooled, squeezenet):
    found, _ = fooled
    read = sight_of(squeezenet, "whole").read
    told = controls(squeezenet, read, found.original, found.changed, GIANT_PANDA, VULTURE, draws=8)
    assert [(one.tries, one.fooling, one.hitting) for one in told] == [(8, 0, 0), (8, 0, 0)]


def test_the_single_step_leaves_the_panda_and_misses_the_vulture(tmp_path, squeezenet):
    settings = {"target": "vulture", "eps": "2/255", "resize": "whole", "evidence": False}
    found = robustlab.fool(
        PANDA, backbone=squeezenet, attack="fgsm", out=tmp_path / "a", **settings
    )
    assert not found.succeeded
    assert found.after.index not in (VULTURE, GIANT_PANDA)


def exported(network, file):
    """The network as ONNX Runtime runs it: a function from images [1, 3, 224, 224] to logits."""
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason=f"{package} is not installed: no other reader")
    import onnxruntime

    example = (torch.zeros(1, 3, 224, 224),)
    torch.onnx.export(network, example, file, dynamo=True, external_data=False, verbose=False)
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(file), settings, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()

    def run(x):
        return session.run(None, {given.name: x.astype(np.float32)})[0]

    return run


@pytest.mark.filterwarnings("ignore")  # the exporter warns of itself
def test_onnx_runtime_sees_a_vulture_too(fooled, squeezenet, tmp_path):
    run = exported(squeezenet.network, tmp_path / "squeezenet.onnx")
    sight = sight_of(squeezenet, "whole")
    for name, wanted in (("original", GIANT_PANDA), ("fooled", VULTURE), ("smallest", VULTURE)):
        x = sight.read(load_png(fooled[1] / f"{name}.png").pixels)[None]
        theirs, ours = run(x), squeezenet(x).numpy()
        assert int(theirs.argmax()) == wanted
        assert np.abs(theirs - ours).max() < 1e-3
    # Mutant: an exported network that lost its normalisation.
    bare = exported(squeezenet.module, tmp_path / "bare.onnx")
    assert np.abs(bare(x) - ours).max() > 0.1
