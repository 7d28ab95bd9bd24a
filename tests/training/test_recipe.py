"""Recipes: what is read, and what is refused with the nearest valid thing."""

import tomllib

import pytest
import tomli_w

from robustlab import shelf
from robustlab.errors import BadRequest
from robustlab.training import list_recipes, load_recipe

GOOD = """
schema = 1
name = "x@digits"
[backbone]
builder = "lenet5"
[data]
source = "digits"
[train]
epochs = 3
lr = 1
"""


def write(tmp_path, text):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return path


def test_shipped():
    assert list_recipes() == [
        "lenet5-avg@digits",
        "lenet5-max@digits",
        "lenet5-robust@digits",
        "lenet5@mnist",
        "local@digits",
        "mlp@digits",
        "resnet20-narrow@digits",
        "resnet20@cifar10",
        "twin-avg@digits",
        "twin-blur@digits",
        "twin-max@digits",
        "twin-polyphase@digits",
        "twin-strided@digits",
    ]
    for name in list_recipes():
        recipe = load_recipe(name)
        assert recipe.name == name  # the file, the network and its weights bear one name
        written = tomllib.loads((shelf.recipes() / f"{name}.toml").read_text())
        assert recipe.as_dict() == written  # nothing is left to a default


@pytest.mark.parametrize(
    ("kind", "pools"),
    [("lenet5", ["max", "avg"]), ("twin", ["max", "avg", "strided", "blur", "polyphase"])],
)
def test_twins_differ_in_pool_and_name_alone(kind, pools):
    twins = [load_recipe(f"{kind}-{pool}@digits").as_dict() for pool in pools]
    for twin in twins:
        assert twin.pop("name").split("-")[1] == f"{twin['backbone']['options'].pop('pool')}@digits"
    assert all(twin == twins[0] for twin in twins)


def test_what_is_written_reads_back(tmp_path):
    """Later keys are shown where they are set, and the whole comes back as it was."""
    text = GOOD.replace("lr = 1", "lr = 1\nwarmup = 1\nclip = 2.5\nnesterov = false")
    text = text.replace('"lenet5"', '"lenet5"\nweights = "mlp@digits"\nfresh = ["fc3"]')
    text += '[augment]\nflip = 0.5\n[adversarial]\nmethod = "trades"\neps = 0.1\nbeta = 3\n'
    recipe = load_recipe(write(tmp_path, text))
    written = recipe.as_dict()
    assert written["backbone"]["fresh"] == ["fc3"]
    assert "frozen" not in written["backbone"]
    assert (written["train"]["clip"], written["train"]["nesterov"]) == (2.5, False)
    assert "momentum" not in written["train"]
    assert written["adversarial"] == {
        "method": "trades", "eps": "0.1", "norm": "linf", "steps": 10, "beta": 3.0
    }  # fmt: skip
    assert load_recipe(write(tmp_path, tomli_w.dumps(written))) == recipe


def test_a_fast_recipe_takes_one_step_of_five_quarters(tmp_path):
    text = GOOD + '[adversarial]\nmethod = "fast"\neps = "8/255"\n'
    found = load_recipe(write(tmp_path, text)).adversarial
    assert (found.steps, found.step, found.budget) == (1, 1.25, 8 / 255)


def test_defaults_are_filled_in(tmp_path):
    recipe = load_recipe(write(tmp_path, GOOD))
    assert recipe.seed == 0
    assert (recipe.train.lr, type(recipe.train.lr)) == (1.0, float)
    assert recipe.as_dict()["augment"] == {"shift": 0.0, "rotate": 0.0, "scale": 0.0}
    assert load_recipe(str(tmp_path / "mine.toml")) == recipe


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("schema = 1", "schema = 2", r"recipe mine\.toml: schema is 2; this lab reads schema = 1"),
        ("schema = 1", "", "schema is None"),
        ("epochs = 3", "epochs = 3\nepoch = 4", r"unknown key 'epoch' in \[train\]; .* 'epochs'"),
        ("[data]", "[dta]", "unknown key 'dta' in the recipe; did you mean 'data'"),
        ("epochs = 3", "", r"\[train\] lacks the key 'epochs'"),
        ('[data]\nsource = "digits"', "", "the recipe lacks the key 'data'"),
        ("epochs = 3", "epochs = 3.0", "epochs = 3.0 .* must be a whole number"),
        ("epochs = 3", "epochs = true", "must be a whole number"),
        ("epochs = 3", "epochs = 0", r"\[train\] epochs = 0 must be finite and at least 1"),
        ("lr = 1", "lr = 0", "must be finite and above 0"),
        ("lr = 1", "lr = nan", "must be finite and above 0"),
        ("lr = 1", 'lr = "1e-3"', "must be a number"),
        ("lr = 1", "batch = 0", r"\[train\] batch = 0"),
        ("lr = 1", "weight_decay = -1", r"\[train\] weight_decay = -1"),
        ("lr = 1", 'optimizer = "adam"', "'adam' is unknown; did you mean 'adamw'"),
        ("lr = 1", 'schedule = "cos"', "'cos' is unknown; did you mean 'cosine'"),
        ("lr = 1", "[augment]\nshift = -1", r"\[augment\] shift = -1"),
        ("lr = 1", "[augment]\nscale = 1", r"scale = 1.0 must be below 1"),
        ("lr = 1", "[augment]\nrotate = inf", r"\[augment\] rotate = inf"),
        ('source = "digits"', "", r"\[data\] needs the key 'source'"),
        ('"digits"', '"digits"\ntrain = "npz:a"', "each a source of its own; not both"),
        ('source = "digits"', 'train = "npz:a"\nval = "npz:b"', r"\[data\] lacks the key 'test'"),
        ('"digits"', '"digits"\ntake = -1', r"\[data\] take = -1"),
        ('"digits"', '"digits"\nbalance = true', "unknown key 'balance' .* 'balanced'"),
        ('"digits"', '"digits"\nbalanced = 1', "must be true or false"),
        ('"lenet5"', '"lenet5"\nfreeze = []', "'freeze' in .backbone.; .* 'free'|'frozen'"),
        ('"lenet5"', '"lenet5"\nfrozen = "fc3"', "must be a list of texts"),
        ('"lenet5"', '"lenet5"\nfrozen = [1]', "must be a list of texts"),
        ('"lenet5"', '"lenet5"\nfrozen = ["a"]\nfree = ["b"]', "has frozen and free; give one"),
        ('"lenet5"', '"lenet5"\nfresh = ["a"]', "give weights too"),
        ("lr = 1", "momentum = 1", "momentum = 1.0 must be below 1"),
        ("lr = 1", "momentum = 0\nnesterov = true", "nesterov needs a momentum"),
        ("lr = 1", "warmup = 3", r"warmup = 3.0 epochs must be fewer than epochs = 3"),
        ("lr = 1", "plateau_factor = 1", "plateau_factor = 1.0 must be in"),
        ("lr = 1", "patience = -1", r"\[train\] patience = -1"),
        ("lr = 1", "clip = nan", r"\[train\] clip = nan"),
        ("lr = 1", "label_smoothing = 1", "must be below 1"),
        ("lr = 1", "[augment]\nflip = 1.5", "is a share of the images"),
        ("lr = 1", '[adversarial]\neps = "0.1"', "lacks the key 'method'"),
        ("lr = 1", '[adversarial]\nmethod = "pgd"', "lacks the key 'eps'"),
        ("lr = 1", '[adversarial]\nmethod = "trade"\neps = 1', "did you mean 'trades'"),
        ("lr = 1", '[adversarial]\nmethod = "pgd"\neps = 8', "did you mean '8/255'"),
        (
            "lr = 1",
            '[adversarial]\nmethod = "pgd"\neps = 0',
            "eps = 0.0 must be finite and above 0",
        ),
        ("lr = 1", '[adversarial]\nmethod = "pgd"\neps = true', "eps = True .* must be text"),
        ("lr = 1", '[adversarial]\nmethod = "fast"\neps = 0.1\nsteps = 7', "takes one step, not 7"),
        ("lr = 1", '[adversarial]\nmethod = "pgd"\neps = 0.1\nnorm = "l1"', "'l1' is unknown"),
        (
            "lr = 1",
            '[adversarial]\nmethod = "pgd"\neps = 0.1\nstep_size = 0',
            "step_size = 0.0 must",
        ),
        ('"x@digits"', '"../x"', "must do as a file name"),
        ("schema = 1", "schema = 1\nseed = -1", "seed = -1"),
        ("[data]", "[data", "is not TOML"),
        ("[data]", "[data]\n[backbone]", "is not TOML"),
    ],
)
def test_refused(tmp_path, old, new, message):
    assert old in GOOD
    with pytest.raises(BadRequest, match=message):
        load_recipe(write(tmp_path, GOOD.replace(old, new, 1)))


def test_not_found(tmp_path):
    with pytest.raises(BadRequest, match="no recipe 'mlp@digit'; did you mean 'mlp@digits'"):
        load_recipe("mlp@digit")
    with pytest.raises(BadRequest, match=r"none\.toml cannot be read: No such file"):
        load_recipe(tmp_path / "none.toml")
