"""The lectures' networks as they were published: a table. Needs no torch.

A network is a function in ``robustlab/backbones/lectures/``; this table says which, and what it is
with its default options. A test holds every row against the network itself.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PUBLISHED", "Published"]


@dataclass(frozen=True)
class Published:
    """One network.

    Attributes:
        name: what references call it.
        home: the file in ``lectures/`` that builds it.
        function: the function there.
        input_shape: (C, H, W) of the default options.
        classes: number of logits of the default options.
        parameters: number of parameters of the default options, shared ones counted once.
        source: the paper.
        arguments: what the function is given first, as the depth.
    """

    name: str
    home: str
    function: str
    input_shape: tuple[int, int, int]
    classes: int
    parameters: int
    source: str
    arguments: tuple[int, ...] = ()


_DIGITS = ((1, 32, 32), 10)
_CIFAR = ((3, 32, 32), 10)
_PHOTOGRAPHS = ((3, 224, 224), 1000)


def _vgg(depth: int, parameters: int) -> Published:
    source = "Simonyan and Zisserman 2014"
    return Published(f"vgg{depth}", "vgg", "vgg", *_PHOTOGRAPHS, parameters, source, (depth,))


def _small_resnet(depth: int, parameters: int) -> Published:
    home, source = "resnet_cifar", "He et al. 2015, section 4.2"
    return Published(f"resnet{depth}", home, home, *_CIFAR, parameters, source, (depth,))


def _resnet(depth: int, parameters: int) -> Published:
    home, source = "resnet_imagenet", "He et al. 2015, table 1"
    return Published(f"resnet{depth}", home, home, *_PHOTOGRAPHS, parameters, source, (depth,))


_ROWS = (
    Published("mlp", "mlp", "mlp", *_DIGITS, 140_106, "Rumelhart et al. 1986"),
    Published("local", "lenet", "local", *_DIGITS, 423_038, "LeCun 1989, at lenet5's geometry"),
    Published("lenet5", "lenet", "lenet5", *_DIGITS, 61_706, "LeCun et al. 1998, as taught"),
    Published("lenet5_1998", "lenet_1998", "lenet5_1998", *_DIGITS, 60_000, "LeCun et al. 1998"),
    Published(
        "alexnet",
        "alexnet",
        "alexnet",
        (3, 227, 227),
        1000,
        60_965_224,
        "Krizhevsky et al. 2012",
    ),
    Published(
        "alexnet2014", "alexnet", "alexnet2014", *_PHOTOGRAPHS, 61_100_840, "Krizhevsky 2014"
    ),
    Published("zfnet", "zfnet", "zfnet", *_PHOTOGRAPHS, 62_357_608, "Zeiler and Fergus 2013"),
    _vgg(11, 132_863_336),
    _vgg(13, 133_047_848),
    _vgg(16, 138_357_544),
    _vgg(19, 143_667_240),
    Published(
        "googlenet", "googlenet", "googlenet", *_PHOTOGRAPHS, 7_005_832, "Szegedy et al. 2014"
    ),
    _small_resnet(20, 269_722),
    _small_resnet(32, 464_154),
    _small_resnet(44, 658_586),
    _small_resnet(56, 853_018),
    _resnet(18, 11_689_512),
    _resnet(34, 21_797_672),
    _resnet(50, 25_557_032),
    _resnet(101, 44_549_160),
    _resnet(152, 60_192_808),
)

PUBLISHED: dict[str, Published] = {row.name: row for row in _ROWS}
