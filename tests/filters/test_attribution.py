"""Attribution against direct gradients and slow loops; the probe on a few images."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
import torch
from torch import nn

from robustlab import Data
from robustlab.backbones import Backbone
from robustlab.errors import BadRequest
from robustlab.filters import explained, integrated
from robustlab.filters.attribution import attribution
from robustlab.filters.attribution_tiles import attribution_row, occlusion_picture
from robustlab.filters.explained import Explainer, Occluded, Settings, occluded
from robustlab.filters.integrated import integrated_gradients
from robustlab.filters.likeness import rank_correlation
from robustlab.filters.projection import randomised
from robustlab.filters.tiles import signed
from robustlab.randomness import SampleRandom

pytestmark = pytest.mark.usefixtures("one_thread")

SETTINGS = Settings(samples=5, noise=0.2, steps=200, window=4, stride=3, grey=0.5, seed=0)


def small(channels=1, act=nn.ReLU, seed=0):
    torch.manual_seed(seed)
    module = nn.Sequential(
        nn.Conv2d(channels, 4, 3, padding=1), act(), nn.MaxPool2d(2), nn.Conv2d(4, 6, 3), act(),
        nn.Flatten(), nn.Linear(6 * 12, 3),
    ).eval()  # fmt: skip
    module[6].weight.data *= 8  # so that an attack has something to turn
    std = [0.5] * channels
    return Backbone(
        module, input_shape=(channels, 12, 10), classes=3, mean=std, std=std, name="small"
    )


def images(n=6, channels=1):
    pixels = np.random.default_rng(0).integers(0, 256, (n, channels, 12, 10), dtype=np.uint8)
    return Data(pixels, np.arange(n) % 3, classes=["0", "1", "2"])


def own_labels(one, data):
    says = one(data.batch(range(len(data)))).argmax(1).numpy()
    return Data(data.images, says, classes=["0", "1", "2"])


def explainer(one, **changes):
    return Explainer(one, one.network, Settings(**{**vars(SETTINGS), **changes}))


def gradient(one, x, target):
    x = x.clone().requires_grad_()
    (found,) = torch.autograd.grad(one.network(x)[:, target].sum(), x)
    return found


X = torch.rand(1, 1, 12, 10, generator=torch.Generator().manual_seed(3))


def check_gradient(found):
    assert np.allclose(found, gradient(small(), X, 2)[0], atol=1e-6)


def check_smoothgrad(found):
    noise = torch.tensor(SampleRandom(0, ["a"], "smoothgrad").normal((5, 1, 12, 10))[0]).float()
    each = [gradient(small(), X + 0.2 * n, 2)[0] for n in noise]
    assert np.allclose(found, torch.stack(each).mean(0), atol=1e-6)


def check_integrated(found):
    """They add up to the change of the logit from black (Sundararajan et al., completeness)."""
    with torch.no_grad():
        ends = [small().network(t * X)[0, 2] for t in (1, 0)]
    assert abs(found.sum() - float(ends[0] - ends[1])) < 0.01 * np.abs(found).sum()
    middle = torch.stack([gradient(small(), (k + 0.5) / 400 * X, 2)[0] for k in range(400)]).mean(0)
    wanted = (middle * X[0]).numpy()
    assert np.linalg.norm(found - wanted) < 0.05 * np.linalg.norm(wanted)


def check_gradcam(found):
    module = small().module
    x = (X - 0.5) / 0.5
    maps = module[:5](x).detach().requires_grad_()
    (slopes,) = torch.autograd.grad(module[5:](maps)[0, 2], maps)
    cam = (slopes.mean((2, 3), keepdim=True) * maps).sum(1, keepdim=True).relu()
    wide = nn.functional.interpolate(cam, (12, 10), mode="bilinear")[0]
    assert np.allclose(found, wide.detach(), atol=1e-6)
    assert found.max() > 0


CHECKS = {
    "gradient": check_gradient,
    "smoothgrad": check_smoothgrad,
    "integrated": check_integrated,
    "gradcam": check_gradcam,
}


@pytest.mark.parametrize("method", CHECKS)
@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad])
def test_measures_against_direct_ones(method, mode):
    made = explainer(small())
    with mode():
        found = made(method, X.clone(), 2, "a")
    CHECKS[method](found)


@pytest.mark.parametrize("method", CHECKS)
def test_the_checks_kill_another_class(method):
    with pytest.raises(AssertionError):
        CHECKS[method](explainer(small())(method, X, 1, "a"))


def test_noise_is_the_images_own():
    one = explainer(small())
    first = one("smoothgrad", X, 2, "a")
    assert np.array_equal(explainer(small())("smoothgrad", X, 2, "a"), first)
    assert not np.allclose(one("smoothgrad", X, 2, "b"), first)
    torch.manual_seed(1)
    assert np.array_equal(one("smoothgrad", X, 2, "a"), first)  # no global generator


def slow_occlusion(one, x, target, side, stride):
    _, _, height, width = x.shape
    rows, columns = (range(-(-(n - side) // stride) + 1) for n in (height, width))
    p, winner = np.zeros((len(rows), len(columns))), np.zeros((len(rows), len(columns)), int)
    for i in rows:
        for j in columns:
            other = x.clone()
            y, z = i * stride, j * stride
            other[:, :, y : y + side, z : z + side] = 0.5
            said = one(other).softmax(1)[0]
            p[i, j], winner[i, j] = float(said[target]), int(said.argmax())
    return p, winner


def check_occlusion(found, one, x, target):
    p, winner = slow_occlusion(one, x, target, 4, 3)
    assert np.allclose(found.probability, p, atol=1e-6)
    assert np.array_equal(found.winner, winner)
    clean = float(one(x).softmax(1)[0, target])
    assert found.drop[0, 0] == pytest.approx(clean - p[0, 0], abs=1e-6)  # one square covers it


def test_occlusion_is_that_of_a_slow_loop():
    one = small()
    check_occlusion(occluded(explainer(one), X, 1), one, X, 1)


@pytest.mark.parametrize("part", ["probability", "winner", "drop"])
def test_that_check_kills_columns_for_rows(part):
    one = small()
    found = vars(occluded(explainer(one), X, 1))
    wrong = {**found, part: np.roll(found[part], 1, axis=1)}
    if part == "winner":
        wrong["winner"] = (found["winner"] + 1) % 3
    with pytest.raises(AssertionError):
        check_occlusion(Occluded(**wrong), one, X, 1)


def test_another_order_of_captum_is_told(monkeypatch):
    monkeypatch.setattr(explained, "_places", lambda *_: (3, 4))  # rows taken for columns
    with pytest.raises(RuntimeError, match="another order"):
        occluded(explainer(small()), X, 1)


def test_occlusion_counts_what_captum_asks(monkeypatch):
    monkeypatch.setattr(explained, "_places", lambda *_: (2, 2))
    with pytest.raises(RuntimeError, match="occlusions"):
        occluded(explainer(small()), X, 1)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_probe(channels):
    one = small(channels)
    data = own_labels(one, images(channels=channels))
    methods = ("gradient", "gradcam", "occlusion", "guided")
    asked = {"methods": methods, "eps": ("0.05", "0.5"), "images": 4, "pictures": 2, "window": 4}
    before = one.fingerprint
    found = attribution(one, data, **asked).checked(len(data))
    assert one.fingerprint == before
    columns, arrays = found.samples, found.arrays
    assert columns["measured"].sum() == 4
    assert arrays["methods"].tolist() == list(methods)
    row = int(arrays["pictured"][0])
    x = torch.tensor(data.images[[row]]).float() / 255
    says = int(columns["prediction"][row])
    assert says == data.labels[row]
    control = Backbone(randomised(one.network, 0), input_shape=(channels, 12, 10), classes=3)
    wanted = rank_correlation(gradient(one, x, says).numpy(), gradient(control, x, says).numpy())
    assert columns["randomised_likeness[method=gradient]"][row] == pytest.approx(wanted, abs=0.01)
    fooled = columns["fooled"]
    assert fooled.any()
    assert (columns["adversarial_prediction"][fooled] != columns["prediction"][fooled]).all()
    assert np.isnan(columns["adversarial_likeness[method=gradient]"][~fooled]).all()
    made, occlusion = found.pictures
    assert made.pixels.shape == (6 * 14 - 2, 5 * 12 - 2, 3)
    shown = data.images[row] if channels == 3 else np.repeat(data.images[row], 3, 0)
    assert np.array_equal(made.pixels[:12, :10], shown.transpose(1, 2, 0))
    assert arrays["occlusion_probability"].shape[0] == 2
    assert occlusion.pixels.shape == (2 * 14 - 2, 3 * 12 - 2, 3)
    order = data.subset([5, 4, 3, 2, 1, 0])
    again = attribution(one, order, **asked)
    for name in ("measured", "randomised_likeness[method=gradient]"):
        assert np.allclose(again.samples[name][::-1], columns[name], equal_nan=True), name
    without = attribution(one, data, **{**asked, "attack": ""})
    assert not without.samples["fooled"].any()


def test_what_is_left_out_is_told():
    flat = Backbone(
        nn.Sequential(nn.Flatten(), nn.Linear(120, 8), nn.GELU(), nn.Linear(8, 3)).eval(),
        input_shape=(1, 12, 10), classes=3, name="flat",
    )  # fmt: skip
    asked = {"methods": ("gradient", "gradcam", "guided"), "attack": "", "images": 2}
    found = attribution(flat, images(), **asked)
    assert found.arrays["methods"].tolist() == ["gradient"]
    assert found.notes[0].startswith("gradcam is left out: flat has no map")
    assert "guided is not defined for layer '3' of flat" in found.notes[1]
    assert "Gelu" in found.notes[1]


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"methods": ("gradeint",)}, "did you mean 'gradient'"),
        ({"methods": ()}, "nothing to do"),
        ({"methods": ("gradient", "gradient")}, "given twice"),
        ({"attack": "clean"}, "is a probe"),
        ({"attack": "pdg"}, "did you mean"),
        ({"steps": 0}, "steps=0"),
        ({"images": -1}, "images=-1"),
    ],
)
def test_bad_requests(asked, told):
    with pytest.raises(BadRequest, match=told):
        attribution(small(), images(), **{"images": 1, **asked})


def test_hooks_and_mode_are_left_as_they_were_where_a_measure_raises():
    one = small()
    made = explainer(one)
    made.network.module[6].register_forward_pre_hook(lambda *_: 1 / 0)
    hooks = [(len(m._forward_hooks), len(m._backward_hooks)) for m in one.network.modules()]
    for method in explained.METHODS:
        with pytest.raises(ZeroDivisionError):
            made(method, X, 0, "a")
    assert [(len(m._forward_hooks), len(m._backward_hooks)) for m in one.network.modules()] == hooks
    assert torch.is_grad_enabled()
    assert all(not p.requires_grad and p.grad is None for p in one.network.parameters())
    assert X.grad is None
    assert not X.requires_grad


def test_the_occlusion_picture_by_numbers():
    p = np.array([[0.0, 1.0]])
    maps = Occluded(np.zeros((2, 2)), p, np.array([[7, 7]]))
    other = Occluded(np.zeros((2, 2)), p, np.array([[7, 4]]))
    blank = np.zeros((1, 2, 2), np.uint8)
    pixels, classes = occlusion_picture([(blank, maps), (blank, other)])
    assert classes.tolist() == [7, 4]
    assert pixels[0, 8].tolist() == [31, 119, 180]
    assert pixels[4, 9].tolist() == [255, 127, 14]
    assert pixels[0, 4].tolist() == [0, 34, 78]  # cividis at 0


def test_rank_correlation():
    a = np.array([1.0, -2.0, 3.0, 5.0])
    assert rank_correlation(a, a**3) == 1.0
    assert rank_correlation(a, 1 / a) == -1.0
    assert np.isnan(rank_correlation(a, np.ones(4)))


@pytest.mark.parametrize("baseline", [0.0, 0.5])
def test_the_completeness_error_by_hand(baseline, monkeypatch):
    one, wide = small(), torch.full_like(X, baseline)
    change = float((one.network(X) - one.network(wide)).detach()[0, 2])
    errors = {}
    monkeypatch.setattr(integrated, "DOUBLINGS", 0)
    for steps in (1, 4, 1000):
        found, off, taken = integrated_gradients(one.network, X.clone(), 2, steps, baseline)
        wanted = abs(float(found.detach().sum()) - change) / abs(change)
        assert off == pytest.approx(wanted, abs=1e-4), steps
        assert taken == steps
        errors[steps] = off
    assert errors[1000] < 0.1 * errors[1]
    assert integrated_gradients(one.network, wide.clone(), 2, 4, baseline)[1] == 0.0  # nothing


def test_steps_are_doubled_while_the_sum_is_off(monkeypatch):
    one = small()
    monkeypatch.setattr(integrated, "DOUBLINGS", 0)
    alone = [integrated_gradients(one.network, X, 2, n, 0.5) for n in (4, 8, 16)]
    monkeypatch.setattr(integrated, "DOUBLINGS", 2)
    for bound, rules in ((0.0, 3), (alone[0][1], 1), (1e-9, 3)):
        monkeypatch.setattr(integrated, "INCOMPLETE", bound)
        found, off, taken = integrated_gradients(one.network, X, 2, 4, 0.5)
        assert taken == sum((4, 8, 16)[:rules])
        assert off == alone[rules - 1][1]
        assert torch.equal(found, alone[rules - 1][0])


def test_few_steps_are_told_and_enough_are_not():
    one = small()
    data = own_labels(one, images())
    asked = {"methods": ("integrated", "integrated_grey"), "attack": "fgsm", "eps": ("0.3",)}
    few = attribution(one, data, **asked, steps=1).checked(len(data))
    off = few.samples["completeness_error[method=integrated]"]
    (finding,) = [f for f in few.findings if f.text.startswith("integrated:")]
    assert finding.level == "amber"
    assert (finding.count, finding.of) == ((off > 0.05).sum(), 6)
    assert "even with 4 steps; take steps=8" in finding.sentence
    many = attribution(one, data, **asked, steps=256).checked(len(data))
    assert {f.level for f in many.findings} == {"green"}
    x = torch.tensor(data.images[[0]]).float() / 255
    alone = explainer(one, steps=1)
    alone("integrated", x, int(data.labels[0]), data.ids[0])
    assert off[0] >= alone.incomplete - 1e-6  # the larger of the image's and its twin's


def test_black_pixels_get_nothing_from_black_and_are_told():
    """All of the evidence lies in a background that is black: one baseline sees it, one cannot."""
    flat = nn.Sequential(nn.Flatten(), nn.Linear(120, 3)).eval()
    flat[1].weight.data = torch.zeros(3, 120)
    flat[1].weight.data[1, :60] = 1.0
    flat[1].weight.data[0, 60:] = 0.1
    one = Backbone(flat, input_shape=(1, 12, 10), classes=3, name="flat")
    pixels = np.random.default_rng(0).integers(1, 256, (4, 1, 12, 10), dtype=np.uint8)
    pixels[:, :, :6] = 0
    data = Data(pixels, np.zeros(4, int), classes=["0", "1", "2"])
    found = attribution(one, data, methods=("integrated", "integrated_grey"), attack="")
    assert found.samples["black"].tolist() == [0.5] * 4
    assert any("50 % of the pixel values are black" in n for n in found.notes)
    x = torch.tensor(pixels[:1]).float() / 255
    made = explainer(one)
    assert not made("integrated", x, 1, "a").any()
    assert made("integrated_grey", x, 1, "a")[0, :6] == pytest.approx(-0.5)
    light = Data(np.maximum(pixels, 1), np.zeros(4, int), classes=["0", "1", "2"])
    told = attribution(one, light, methods=("integrated",), attack="").notes
    assert not any("values are black" in n for n in told)


def check_off_baseline():
    """Ties of zeros at the black pixels must not make two maps alike."""
    one, pixels = small(), images(2).images.copy()
    pixels[:, :, :8] = 0
    data = own_labels(one, Data(pixels, [0, 1], classes=3))
    asked = {"methods": ("integrated",), "attack": "fgsm", "eps": ("0.5",)}
    columns = attribution(one, data, **asked).samples
    x = torch.tensor(pixels[:1]).float() / 255
    maps = [
        explainer(one, steps=32)("integrated", x, int(data.labels[0]), data.ids[0]),
        Explainer(one, randomised(one.network, 0), Settings(1, 0, 32, 1, 1, 0.5, 0))(
            "integrated", x, int(data.labels[0]), data.ids[0]
        ),
    ]
    keep = (x[0] != 0).numpy()
    assert not maps[0][~keep].any()
    found = columns["randomised_likeness[method=integrated]"][0]
    assert found == pytest.approx(rank_correlation(*(m[keep] for m in maps)), abs=1e-6)
    assert rank_correlation(*maps) > found + 0.1  # what the ties would have made of it


def test_correlations_are_over_pixels_off_the_baseline():
    check_off_baseline()


def test_that_check_kills_all_pixels(monkeypatch):
    module = importlib.import_module(attribution.__module__)
    monkeypatch.setattr(module, "off_baseline", lambda *_: None)
    with pytest.raises(AssertionError):
        check_off_baseline()


def check_tiles():
    """Every tile of the grid is the map that its row and column say."""
    one, methods = small(), ("gradient", "integrated", "occlusion")
    data = own_labels(one, images())
    found = attribution(
        one, data, methods=methods, attack="fgsm", eps=("0.5",), steps=8, images=1, pictures=1
    )
    (row,) = found.arrays["pictured"].tolist()
    assert found.arrays["adversarial"].tolist() == [row]
    pixels, settings = found.pictures[0].pixels, Settings(16, 0.1, 8, 2, 1, 0.5, 0)
    own = Explainer(one, one.network, settings)
    control = Explainer(one, randomised(one.network, 0), settings)
    shown = pixels[14:26, :10, 0]
    x = torch.tensor(data.images[[row]]).float() / 255
    z = torch.tensor(shown[None, None].copy()).float() / 255
    assert int(one(z).argmax()) == found.samples["adversarial_prediction"][row]
    says = [int(one(image).argmax()) for image in (x, z)]
    asked = [(own, x, says[0]), (own, z, says[1]), (control, x, says[0])]
    for r, (explainer_, image, said) in enumerate(asked):
        for c, method in enumerate(methods, start=1):
            target = int(data.labels[row]) if method == "occlusion" else said
            wanted = signed(explainer_(method, image, target, data.ids[row]))
            tile = pixels[14 * r : 14 * r + 12, 12 * c : 12 * c + 10]
            assert np.abs(tile.astype(int) - wanted.astype(int)).max() <= 1, (r, method)


def test_every_tile_is_what_its_row_and_column_say():
    check_tiles()


@pytest.mark.parametrize("mutant", ["columns", "rows"])
def test_that_check_kills_tiles_exchanged(monkeypatch, mutant):
    module, right = importlib.import_module(attribution.__module__), attribution_row
    calls = []

    def wrong(image, maps, methods):
        calls.append(maps)
        return right(image, maps if mutant == "columns" else calls[0], methods[::-1]
                     if mutant == "columns" else methods)  # fmt: skip

    monkeypatch.setattr(module, "attribution_row", wrong)
    with pytest.raises(AssertionError):
        check_tiles()


@pytest.mark.parametrize(("side", "told"), [(56, False), (112, True)])
def test_pictures_drawn_smaller_are_told(side, told):
    module = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4, 3)).eval()
    one = Backbone(module, input_shape=(1, side, 8), classes=3)
    data = Data(np.zeros((1, 1, side, 8), np.uint8), [0], classes=3)
    notes = attribution(one, data, methods=("gradient",), attack="").notes
    assert any("mean over 2 x 2" in n for n in notes) == told
