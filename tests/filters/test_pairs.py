"""One pair of pictures: the numbers of the probes, from Python and without them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from robustlab.data import Data
from robustlab.errors import BadRequest
from robustlab.filters import explained_pair as explained_file
from robustlab.filters import trace_pair as trace_file
from robustlab.filters.depth_trace import depth_trace
from robustlab.filters.explained import Explainer, Settings
from robustlab.filters.explained_pair import explain_pair
from robustlab.filters.projection import randomised
from robustlab.filters.trace_pair import trace_pair

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def undecided(tiny, some):
    """A network whose noise falls to several classes, and eight images it is right on."""

    def made(channels=1):
        net, data = tiny(channels), some(8, channels)
        x = data.batch(range(8))
        last = [m for m in net.network.modules() if isinstance(m, torch.nn.Linear)][-1]
        with torch.no_grad():
            last.bias -= net(x).mean(dim=0)
        says = net(x).argmax(1).numpy()
        assert len(set(says.tolist())) > 1
        return net, Data(data.images, says, classes=3)

    return made


@pytest.fixture
def pairs(undecided):
    """Of one channel."""
    return undecided()


def check_trace(net, data):
    asked = {"change": "circular", "images": 0, "layers": 0, "draws": 2, "readout": 0}
    found = depth_trace(net, data, **asked)
    row = int(np.flatnonzero(found.samples["lost"])[0])
    moved = np.roll(data.images[row], 1, axis=2)
    one = trace_pair(net, data.images[row], moved, layers=0, draws=2, image=data.ids[row])
    a = found.arrays
    assert one.layers == tuple(a["layers"].tolist())
    assert one.lost
    assert list(one.predictions) == a["predictions"][row].tolist()
    far = a["relative_distance"][row] / a["input_distance"][row]
    assert one.amplification == pytest.approx(far, rel=1e-4)  # batches differ
    others = a["control_relative_distance"][row] / a["control_input_distance"][row][:, None]
    assert one.control_amplification == pytest.approx(others, rel=1e-4)  # batches differ
    assert one.cut.tolist() == a["whole_exact"][row].tolist()
    same = ("cosine", "flips", "restoring", "restoring_random", "changed_channels", "method")
    for name in same:
        assert np.allclose(getattr(one, name), a[name][row], rtol=1e-4), name
    assert set(one.maps) >= {"maps_layer", "maps_clean_0", "maps_changed_0"}


def test_a_pair_is_traced_as_the_probe_traces_it(pairs):
    check_trace(*pairs)


@pytest.mark.parametrize("mutant", ["other image", "other controls"])
def test_that_check_kills(pairs, monkeypatch, mutant):
    if mutant == "other image":
        right = trace_file.as_pair
        monkeypatch.setattr(trace_file, "as_pair", lambda b, x, z: right(b, z, x))
    else:
        monkeypatch.setattr(trace_file, "Data", _renamed)
    with pytest.raises(AssertionError):
        check_trace(*pairs)


def _renamed(*given, ids, **options):
    return Data(*given, ids=["another"], **options)


def test_layers_by_name_and_pictures_that_are_equal(pairs):
    net, data = pairs
    one = trace_pair(net, data.images[0], data.images[0], layers=["2", "output"][:1])
    assert one.layers == ("2",)
    assert not one.lost
    assert one.restoring.tolist() == [0]
    assert np.isnan(one.amplification).all()
    assert one.relative_distance.tolist() == [0.0]


METHODS = ("gradient", "smoothgrad", "integrated", "gradcam", "occlusion", "deconvnet", "guided")


@pytest.mark.parametrize("channels", [1, 3])
def test_a_pair_is_explained_each_for_what_is_said_on_it(undecided, standing, channels):
    net, data = undecided(channels)
    before = standing(net)
    says = data.labels.tolist()
    other = next(i for i in range(8) if says[i] != says[0])
    asked = {"samples": 2, "steps": 4}
    found = explain_pair(net, data.images[0], data.images[other], methods=METHODS, **asked)
    assert found.predictions == (says[0], says[other])
    settings = Settings.of(net.input_shape, 2, 0.1, 4, 0, 0, 0)
    own = Explainer(net, net.network, settings)
    control = Explainer(net, randomised(net.network, 0), settings)
    x, z = (torch.tensor(data.images[[i]]).float() / 255 for i in (0, other))
    for m in METHODS:
        assert np.array_equal(found.clean[m], own(m, x, says[0], "image")), m
        assert np.array_equal(found.changed[m], own(m, z, says[other], "image")), m
        assert np.array_equal(found.control[m], control(m, x, says[0], "image")), m
    assert not np.array_equal(found.changed["gradient"], own("gradient", z, says[0], "image"))
    assert not found.left_out
    assert set(found.control_likeness) == set(METHODS)
    assert standing(net) == before
    without = explain_pair(net, data.images[0], data.images[1], methods=["gradient"], control=False)
    assert not without.control
    assert not without.control_likeness


def test_that_check_kills_the_clean_class_on_the_changed_image(undecided, monkeypatch):
    class Stuck(Explainer):
        def __call__(self, method, x, target, image):
            self.first = getattr(self, "first", target)
            return super().__call__(method, x, self.first, image)

    monkeypatch.setattr(explained_file, "Explainer", Stuck)
    with pytest.raises(AssertionError):
        test_a_pair_is_explained_each_for_what_is_said_on_it(undecided, lambda _: 0, 1)


@pytest.mark.parametrize(
    ("clean", "changed", "asked", "told"),
    [
        (np.zeros((1, 12, 12)), None, {}, "8-bit pixels"),
        (None, np.zeros((1, 9, 12), np.uint8), {}, r"changed picture is uint8 \[1, 9, 12\]"),
        (None, None, {"layers": -1}, "layers=-1"),
        (None, None, {"layers": ["2x"]}, "no layer '2x'"),
        (None, None, {"draws": -1}, "draws=-1"),
    ],
)
def test_bad_requests(pairs, clean, changed, asked, told):
    net, data = pairs
    given = [data.images[0] if one is None else one for one in (clean, changed)]
    with pytest.raises(BadRequest, match=told):
        trace_pair(net, *given, **asked)
    if not asked:
        with pytest.raises(BadRequest, match=told):
            explain_pair(net, *given)


@pytest.mark.parametrize("asked", [{"steps": 0}, {"window": -1}, {"methods": ["gradeint"]}])
def test_bad_requests_of_an_explanation(tiny, some, asked):
    with pytest.raises(BadRequest):
        explain_pair(tiny(), *some(2).images, **asked)
