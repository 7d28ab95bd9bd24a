"""`anatomy` on modules of every sort: what is known is right, what is not is said."""

import contextlib

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import robustlab
from robustlab import anatomy
from robustlab.arithmetic import COLUMNS
from robustlab.backbones.lectures import builders
from robustlab.backbones.lectures.locally_connected import LocallyConnected2d
from robustlab.errors import BadRequest

pytestmark = pytest.mark.usefixtures("one_thread")

GOLDEN = [
    *("layer", "call", "kind", "type", "input_shape", "output_shape"),
    *("kernel", "stride", "padding", "dilation", "groups"),
    *("exact_rows", "exact_columns", "rounding", "fits", "dropped_rows", "dropped_columns"),
    *("parameters", "weights", "multiply_adds", "flops", "other_operations", "connections"),
    *("units", "activation_bytes", "field_rows", "field_columns", "stride_rows"),
    *("stride_columns", "centre_row", "centre_column", "aligned", "fully_connected_weights"),
    *("locally_connected_weights", "sources", "status", "note"),
]


class Made(nn.Module):
    """A module of a function of (self, x), with parts."""

    def __init__(self, run, **parts):
        super().__init__()
        self.run = run
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x: Tensor) -> Tensor:
        return self.run(self, x)


def rows(run, shape=(2, 16, 16), **parts):
    return anatomy(Made(run, **parts), shape).layers.set_index("layer")


def test_columns():
    found = anatomy(nn.Conv2d(1, 1, 3), (1, 8, 8))
    assert list(COLUMNS) == GOLDEN
    assert list(found.layers) == GOLDEN
    assert all(name in robustlab.arithmetic.Anatomy.__doc__ for name in GOLDEN)
    assert {name: str(t) for name, t in found.layers.dtypes.items()} == COLUMNS
    assert repr(found) == (
        "Anatomy('Conv2d' at 1x8x8: 10 parameters, 324 multiply-adds, 1 layers, complete)"
    )


def test_one_convolution_by_hand():
    """3 maps of 10x12, 4 kernels of 3x5, stride (2, 1), padding (1, 2), dilation (1, 2)."""
    conv = nn.Conv2d(3, 4, (3, 5), (2, 1), (1, 2), (1, 2))
    row = anatomy(conv, (3, 10, 12)).layers.iloc[0]
    assert row.output_shape == (4, 5, 8)
    assert (row.exact_rows, row.exact_columns) == ((10 - 3 + 2) / 2 + 1, 12 - 9 + 4 + 1)
    assert (row.fits, row.rounding, row.dropped_rows, row.dropped_columns) == (False, "floor", 0, 0)
    assert row.note == "only padding is left over"
    assert row.weights == 4 * 3 * 3 * 5
    assert row.parameters == row.weights + 4
    assert row.multiply_adds == row.weights * 5 * 8
    assert row.flops == 2 * row.multiply_adds
    assert row.other_operations == row.units == 4 * 5 * 8
    assert row.connections == row.multiply_adds + row.units
    assert row.activation_bytes == 4 * row.units
    assert (row.field_rows, row.field_columns) == (3, 9)
    assert (row.stride_rows, row.stride_columns) == (2, 1)
    assert (row.centre_row, row.centre_column) == (0, 2)
    assert row.fully_connected_weights == 3 * 10 * 12 * row.units
    assert row.locally_connected_weights == 5 * 8 * row.weights


def test_double_precision_takes_twice_the_room():
    row = anatomy(nn.Conv2d(1, 1, 3).double(), (1, 8, 8)).layers.iloc[0]
    assert row.activation_bytes == 8 * 36


@pytest.mark.parametrize(
    ("module", "functions"),
    [
        (
            nn.Sequential(nn.Conv2d(2, 3, 3, 2, 1), nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(2)),
            lambda self, x: functional.adaptive_avg_pool2d(
                functional.max_pool2d(functional.conv2d(x, self.a.weight, self.a.bias, 2, 1), 2),
                2,
            ),
        ),
        (
            nn.Sequential(nn.ConvTranspose2d(2, 2, 3, 2, 1, 1), nn.ReLU(), nn.AvgPool2d(3, 2, 1)),
            lambda self, x: functional.avg_pool2d(
                functional.conv_transpose2d(x, self.b.weight, self.b.bias, 2, 1, 1).relu_(), 3, 2, 1
            ),
        ),
    ],
    ids=["convolution", "transposed"],
)
def test_functions_are_told_as_modules_are(module, functions):
    a, b = nn.Conv2d(2, 3, 3), nn.ConvTranspose2d(2, 2, 3)
    one, other = (
        anatomy(module, (2, 16, 16)).layers,
        anatomy(Made(functions, a=a, b=b), (2, 16, 16)),
    )
    columns = [c for c in GOLDEN if c not in ("layer", "type", "sources", "parameters")]
    ran = other.layers[other.layers.kind != "idle"]
    assert one[columns].astype(str).equals(ran[columns].astype(str))
    assert other.parameters == other.layers.parameters.sum()


def test_a_module_used_twice_has_two_rows_and_its_parameters_once():
    found = rows(lambda self, x: self.conv(self.conv(x)), conv=nn.Conv2d(2, 2, 3))
    assert [*found.call] == [1, 2]
    assert [*found.parameters] == [38, 0]
    assert [*found.field_rows] == [3, 5]
    assert found.multiply_adds.iloc[1] == 36 * 12 * 12


def test_shared_weights_count_once():
    first, second = nn.Linear(4, 4), nn.Linear(4, 4)
    second.weight = first.weight
    found = anatomy(nn.Sequential(nn.Flatten(), first, second), (1, 2, 2))
    assert found.parameters == found.layers.parameters.sum() == 16 + 4 + 4


def test_branches_take_the_longest_path_and_tell_what_is_not_centred():
    def run(self, x):
        return self.near(x) + self.far(x)

    parts = {"near": nn.Conv2d(2, 2, 1), "far": nn.Conv2d(2, 2, 5, padding=2)}
    joint = rows(run, **parts).loc["network:add"]
    assert (joint.field_rows, joint.aligned, joint.sources) == (5, True, (0, 1))
    parts["far"] = nn.Sequential(nn.ZeroPad2d((0, 4, 0, 4)), nn.Conv2d(2, 2, 5))
    joint = rows(run, **parts).loc["network:add"]
    assert (joint.field_rows, joint.aligned) == (5, False)
    parts["near"] = nn.Sequential(nn.ZeroPad2d((6, -6, 6, -6)), nn.Conv2d(2, 2, 1))
    joint = rows(run, **parts).loc["network:add"]
    assert joint.field_rows == 11  # pixels -6 to 4: more than the longest path alone


def test_a_gate_sees_the_whole_map():
    def run(self, x):
        return self.last(x * x.mean((2, 3), keepdim=True).sigmoid())

    row = rows(run, last=nn.Conv2d(2, 2, 3)).loc["last"]
    assert (row.field_rows, row.stride_rows) == (16, 1)
    assert "every place sees the whole map" in row.note


def test_flatten_and_back_keeps_fields():
    def run(self, x):
        return self.last(x.flatten(2).transpose(1, 2).transpose(1, 2).reshape(x.shape))

    assert rows(run, last=nn.Conv2d(2, 2, 3)).loc["last"].field_rows == 3


def test_locally_connected():
    found = anatomy(LocallyConnected2d(2, 3, 3, 8), (2, 8, 8)).layers.iloc[0]
    conv = anatomy(nn.Conv2d(2, 3, 3), (2, 8, 8)).layers.iloc[0]
    assert found.kind == "locally connected"
    assert found.locally_connected_weights == found.weights == conv.locally_connected_weights
    same = ["multiply_adds", "field_rows", "stride_rows", "centre_row", "units", "connections"]
    assert [*found[same]] == [*conv[same]]
    assert found.parameters == found.weights + found.units
    windows = ["kernel", "stride", "padding", "dilation", "exact_rows", "fits", "dropped_rows"]
    assert [*found[windows]] == [*conv[windows]]


class Strided(nn.Module):
    """Locally connected: windows of 3 rows and 2 columns, a step of 2 and 3."""

    def __init__(self, padded=0, turned=False):
        super().__init__()
        self.padded, self.turned = padded, turned
        self.weight = nn.Parameter(torch.zeros(4 * 3, 2 * 6, 5))

    def forward(self, x):
        x = functional.pad(x, (0, 0, self.padded, 0)) if self.padded else x
        x = x.unfold(3, 2, 3).unfold(2, 3, 2) if self.turned else x.unfold(2, 3, 2).unfold(3, 2, 3)
        x = x.permute(2, 3, 0, 1, 4, 5).reshape(12, 1, 12)
        return torch.bmm(x, self.weight).permute(1, 2, 0).reshape(1, 5, 4, 3)


@pytest.mark.parametrize("turned", [False, True])
def test_windows_of_a_locally_connected_layer_of_the_user_s_own(turned):
    found = anatomy(Strided(turned=turned), (2, 10, 8)).layers.iloc[0]
    assert found.kind == "locally connected"
    assert (found.kernel, found.stride) == ((3, 2), (2, 3))
    assert (found.exact_rows, found.exact_columns) == (4.5, 3.0)
    assert (found.dropped_rows, found.dropped_columns, found.fits) == (1, 0, False)


def test_windows_over_a_padded_map_are_not_claimed():
    found = anatomy(Strided(padded=1), (2, 9, 8)).layers.set_index("kind")
    assert found.loc["locally connected"].kernel is None


@pytest.mark.slow
@pytest.mark.parametrize("name", list(builders))
def test_every_network_of_the_lectures_is_complete(name):
    builder = builders[name]
    found = anatomy(builder(), builder.published.input_shape)
    assert found.status == "complete"
    assert found.parameters == found.layers.parameters.sum() == builder.published.parameters
    assert not found.real


@pytest.mark.parametrize("pool", ["avg", "strided", "blur", "polyphase"])
def test_every_pooling_is_complete(pool):
    network = builders["lenet5"](pool=pool, padding="circular")
    found = anatomy(network, (1, 32, 32))
    assert found.status == "complete"
    assert (
        found.multiply_adds
        == anatomy(builders["lenet5"](padding="circular"), (1, 32, 32)).multiply_adds
    )
    if pool == "polyphase":
        assert found.layers.note.str.contains("what is picked depends on the image").any()


def test_parts_that_do_not_run():
    found = rows(lambda self, x: self.used(x), used=nn.Conv2d(2, 2, 3), spare=nn.Linear(5, 5))
    assert found.loc["spare"].parameters == 30
    assert found.loc["spare"].kind == "idle"
    assert found.loc["spare"].multiply_adds == 0


def test_the_normalisation_of_a_backbone_keeps_the_names():
    plain = builders["lenet5"]().eval()
    given = {"input_shape": (1, 32, 32), "classes": 10}
    wrapped = robustlab.Backbone(plain, mean=[0.5], std=[0.2], **given)
    one, other = anatomy(robustlab.Backbone(plain, **given)), anatomy(wrapped)
    assert [*other.layers.layer][:3] == ["network:sub", "network:div", "conv1"]
    assert [*other.layers.layer][2:] == [*one.layers.layer]
    assert other.multiply_adds == one.multiply_adds
    assert [*other.layers.field_rows][2:] == [*one.layers.field_rows]
    assert other.parameters == wrapped.parameters
    assert {name: str(t) for name, t in other.layers.dtypes.items()} == COLUMNS


def test_a_branch_taken_by_a_value_is_run_with_values():
    def run(self, x):
        return self.a(x) if float(x.sum()) < 1 else self.b(x)

    found = anatomy(Made(run, a=nn.Conv2d(2, 2, 3), b=nn.Conv2d(2, 2, 5)), (2, 16, 16))
    assert found.real
    assert found.layers.set_index("layer").loc["a"].field_rows == 3


# What is not known is said, never guessed ---------------------------------------------------------


class ThroughNumpy(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.from_numpy(np.fft.ifft2(np.fft.fft2(x.numpy())).real.astype(np.float32))


def test_what_leaves_torch_is_not_known():
    found = anatomy(nn.Sequential(nn.Conv2d(1, 1, 3), ThroughNumpy()), (1, 8, 8))
    assert found.multiply_adds is None or "1" not in found.layers.layer.to_list()
    assert found.real


def test_an_operator_without_a_rule():
    def run(self, x):
        return self.last(torch.fft.fft2(self.first(x)).real)

    found = anatomy(Made(run, first=nn.Conv2d(2, 2, 3), last=nn.Conv2d(2, 2, 3)), (2, 16, 16))
    assert found.multiply_adds is None
    assert found.flops is None
    assert found.status == "unavailable"
    last = found.layers.set_index("layer").loc["last"]
    assert last.multiply_adds == 36 * 12 * 12  # counted all the same
    assert last.isna().field_rows
    assert last.status == "partial"
    assert "receptive field not known" in last.note


@pytest.mark.parametrize(
    "run",
    [
        lambda self, x: torch.cat([x[:, :, 1:], x[:, :, :1]], 2),
        lambda self, x: x.roll(1, 2),
        lambda self, x: x.flip(3),
        lambda self, x: torch.zeros_like(x).index_copy(2, torch.arange(3), x[:, :, :3]),
        lambda self, x: x + x.transpose(2, 3),
        lambda self, x: x.flatten(1)[:, 5:133].reshape(1, 2, 8, 8),
        lambda self, x: functional.interpolate(x, scale_factor=1.3),
    ],
)
def test_fields_that_cannot_be_followed_are_missing(run):
    found = rows(lambda self, x: self.last(run(self, self.first(x))), **convolutions())
    assert found.loc["first"].field_rows == 3
    assert found.isna().loc["last"].field_rows
    assert found.loc["last"].status == "partial"


def convolutions():
    return {"first": nn.Conv2d(2, 2, 3, padding=1), "last": nn.Conv2d(2, 2, 1)}


def test_what_is_written_piece_by_piece_is_not_known():
    def run(self, x):
        x = self.first(x)
        made = torch.zeros_like(x)
        made[:, :, :8] = self.wide(x)[:, :, :8]
        made[:, :, 8:] = x[:, :, 8:]
        return self.last(made)

    found = rows(run, wide=nn.Conv2d(2, 2, 5, padding=2), **convolutions())
    assert found.isna().loc["last"].field_rows or found.loc["last"].field_rows >= 7


def test_what_takes_of_the_image_its_shape_alone_is_a_constant():
    """As the masks of windowed attention are made: neither work nor a field of its own."""

    def run(self, x):
        mask = x.new_zeros(x.shape[2:])
        mask[2:5, :3] = 1
        mask = mask[None].masked_fill(mask[None] > 0, -1.0) + torch.ones_like(x[:, :1])
        return self.last(self.first(x) + mask)

    found = anatomy(Made(run, **convolutions()), (2, 16, 16))
    assert found.status == "complete"
    assert found.multiply_adds == (36 + 4) * 16 * 16
    assert found.layers.set_index("layer").loc["last"].field_rows == 3


def test_tokens_of_a_window_see_less_than_the_window():
    """Windows of 4x4 put apart and together again, with nothing mixed between: 3 pixels each."""

    def run(self, x):
        x = self.first(x)  # [n, 2, 16, 16]
        apart = x.reshape(-1, 2, 4, 4, 4, 4).permute(0, 2, 4, 3, 5, 1).reshape(-1, 16, 2)
        apart = self.tokens(apart)
        whole = apart.reshape(-1, 4, 4, 4, 4, 2).permute(0, 5, 1, 3, 2, 4).reshape(-1, 2, 16, 16)
        return self.last(whole)

    found = rows(run, tokens=nn.Linear(2, 2), **convolutions())
    for name in ("tokens", "last"):
        assert found.isna().loc[name].field_rows or found.loc[name].field_rows == 3
        assert found.loc[name].multiply_adds == 4 * 16 * 16
    assert "tokens of one window" in found.loc["tokens"].note


def test_slices_of_concatenated_branches_are_not_guessed():
    def run(self, x):
        both = torch.cat([x, self.first(x)], 1)
        return self.last(both[:, :2])

    assert rows(run, **convolutions()).isna().loc["last"].field_rows


# Bad input ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "shape", "told"),
    [
        (builders["lenet5"](), (3, 32, 32), r"cannot take images of 3x32x32.*\(1, 32, 32\), which"),
        (builders["lenet5"](), (1, 30, 30), r"pass input_shape=\(1, 32, 32\), which it takes"),
        (nn.Conv2d(3, 1, 5), (3, 2, 2), "cannot take images of 3x2x2: .*pass input_shape="),
        (nn.Conv2d(3, 1, 5), (3, 2), r"give \(channels, height, width\)"),
        (nn.Conv2d(3, 1, 5), 224, r"input_shape is 224; give"),
        (nn.Conv2d(3, 1, 5), (3, 0, 5), r"give \(channels, height, width\)"),
        (nn.Conv2d(3, 1, 5), (3, 5.0, 5), r"give \(channels, height, width\)"),
        (torch.zeros(3), (3, 8, 8), "anatomy takes an nn.Module, a Backbone or a reference"),
        ("lenet6", (1, 32, 32), "lenet6"),
        (nn.Identity(), (3, 8, 8), "does nothing with an image"),
    ],
)
def test_bad_requests(given, shape, told):
    with pytest.raises(BadRequest, match=told):
        anatomy(given, shape)


def test_a_network_without_convolutions():
    found = anatomy("mlp@digits")
    assert found.status == "complete"
    assert found.multiply_adds == found.layers.weights.sum()
    assert found.layers.kernel.isna().all()
    assert found.layers.stride_rows.isna().all()
    assert (found.layers.field_rows.iloc[-1], found.layers.field_columns.iloc[-1]) == (32, 32)


def test_the_module_is_left_as_it_was():
    network = builders["resnet20"](width=2)
    network.layer1.eval()
    modes = [one.training for one in network.modules()]
    before = {name: one.clone() for name, one in network.state_dict().items()}
    for shape in ((3, 32, 32), (1, 32, 32)):  # the second is an error
        with contextlib.suppress(BadRequest):
            anatomy(network, shape)
        assert [one.training for one in network.modules()] == modes
        assert all(torch.equal(before[name], one) for name, one in network.state_dict().items())
        parts = [*network.modules()]
        assert not any(one._forward_hooks or one._forward_pre_hooks for one in parts)
        assert all(one.device.type == "cpu" for one in network.parameters())
