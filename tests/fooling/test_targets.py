"""The class to reach: names with near misses, indices, WordNet ids, rules."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from robustlab.data.imagenet import class_names
from robustlab.data.wordnet import synsets
from robustlab.errors import BadRequest
from robustlab.fooling.targets import SeenAlready, choose, class_index

CLASSES = class_names()
DIGITS = tuple("0123456789")
# From the paper's and the field's own examples, not from any list that ships: name -> WordNet id.
KNOWN = {
    "tench": "n01440764",
    "goldfish": "n01443537",
    "vulture": "n01616318",
    "axolotl": "n01632777",
    "tailed frog": "n01644900",
    "ostrich": "n01518878",
    "giant panda": "n02510455",
    "tabby": "n02123045",
    "Egyptian cat": "n02124075",
    "toilet tissue": "n15075141",
}


@pytest.mark.parametrize("name", KNOWN)
def test_wordnet_ids_that_everybody_knows(name):
    assert synsets()[CLASSES.index(name)] == KNOWN[name]


def lemmas():
    found = importlib.util.find_spec("timm")
    if found is None:
        pytest.skip("timm is not installed, whose list of synset names is compared")
    folder = Path(found.origin).parent / "data" / "_info"
    lines = (folder / "imagenet_synset_to_lemma.txt").read_text(encoding="utf-8").splitlines()
    return {line.split("\t")[0]: line.split("\t")[1] for line in lines}


def disagreeing(ids):
    """Classes of torchvision whose name is none of the synset's names, by WordNet."""
    names, wrong = lemmas(), []
    for identity, name in zip(ids, CLASSES, strict=True):
        plain = name.split(" (")[0].lower()
        known = {one.strip().lower() for one in names[identity].split(",")}
        if plain not in known:
            wrong.append((name, names[identity]))
    return wrong


def test_every_id_bears_the_name_that_torchvision_gives_the_index():
    """torchvision's categories and WordNet's lemmas come from two lists."""
    ids = synsets()
    assert len(set(ids)) == 1000
    assert list(ids) == sorted(ids)
    assert [name for name, _ in disagreeing(ids)] == ["crane bird", "maillot tank suit"]


def test_a_list_out_of_step_is_seen():
    moved = (*synsets()[1:], synsets()[0])
    assert len(disagreeing(moved)) > 900
    swapped = list(synsets())
    swapped[23], swapped[388] = swapped[388], swapped[23]
    assert len(disagreeing(swapped)) == len(disagreeing(synsets())) + 2


@pytest.mark.parametrize(
    ("asked", "index"),
    [
        ("vulture", 23),
        (" Vulture ", 23),
        ("giant_panda", 388),
        ("23", 23),
        (23, 23),
        ("n01616318", 23),
        ("N01616318", 23),
        ("crane", 517),
    ],
)
def test_classes(asked, index):
    assert class_index(asked, CLASSES) == index


def test_a_name_comes_before_an_index():
    assert class_index("1", ("1", "0")) == 0


@pytest.mark.parametrize(
    ("asked", "classes", "told"),
    [
        ("vultur", CLASSES, "unknown target 'vultur'; did you mean 'vulture'?"),
        ("panda", CLASSES, "classes with that word: 'lesser panda', 'giant panda'"),
        ("lest-likely", CLASSES, "did you mean 'least-likely'?"),
        ("qqqqqq", CLASSES, "give one of the 1000 class names, an index, a WordNet id, or least-l"),
        ("", CLASSES, "give one of the 1000 class names"),
        ("1000", CLASSES, "there are classes 0 to 999"),
        (-1, CLASSES, "unknown target '-1'"),
        ("n00000001", CLASSES, "none of the 1,000 classes of ILSVRC 2012"),
        ("n01616318", DIGITS, "this network's classes are not ImageNet's"),
        ("eight", DIGITS, "there is least-likely, second, random, 0, 1"),
        ("²", DIGITS, "unknown target"),
    ],
)
def test_what_is_no_class(asked, classes, told):
    with pytest.raises(BadRequest) as error:
        class_index(asked, classes)
    assert told in str(error.value)


LOGITS = np.array([0.0, 5.0, 3.0, -2.0, 4.0, 1.0, 1.5, -1.0, 0.5, 0.2])


def test_rules():
    assert choose(None, DIGITS, LOGITS, "k", 0) is None
    assert choose("second", DIGITS, LOGITS, "k", 0) == 4
    assert choose("least-likely", DIGITS, LOGITS, "k", 0) == 3
    drawn = [choose("random", DIGITS, LOGITS, f"k{i}", 0) for i in range(200)]
    assert set(drawn) == set(range(10)) - {1}
    assert drawn == [choose("random", DIGITS, LOGITS, f"k{i}", 0) for i in range(200)]
    assert drawn != [choose("random", DIGITS, LOGITS, f"k{i}", 1) for i in range(200)]


def test_the_class_that_is_seen_already():
    with pytest.raises(SeenAlready, match=r"takes the picture for '1' already.*likeliest is '4'"):
        choose("1", DIGITS, LOGITS, "k", 0)
    with pytest.raises(BadRequest, match="one class alone"):
        choose("second", ("it",), np.array([1.0]), "k", 0)
