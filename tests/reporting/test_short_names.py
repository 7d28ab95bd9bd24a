"""A network given as a file goes by its builder; its full reference stays where it was made."""

import pytest

from robustlab.evidence import Evidence, short_names

LONG = "file:/data/networks/of/some/one/weights.pth#torchvision:squeezenet1_1"


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (["lenet5-max"], ["lenet5-max"]),
        (["file:a/b.safetensors"], ["file:a/b.safetensors"]),
        (["file:a/b.py#build"], ["build"]),
        (["file:a/b.pth#timm:tiny", "tiny"], ["timm:tiny", "tiny"]),
        (["file:a/b.py#build?width=2", "build"], ["build?width=2", "build"]),
        (["file:a/b.py#build?w=2", "file:a/b.py#build?w=3"], ["build?w=2", "build?w=3"]),
        (["file:x/a.py#build", "file:x/b.py#build"], ["a.py#build", "b.py#build"]),
        (["file:x/a.py#build", "file:y/a.py#build"], ["file:x/a.py#build", "file:y/a.py#build"]),
        (["file:x/a.py#build", "a.py#build"], ["build", "a.py#build"]),
    ],
)
def test_names_are_short_and_never_shared(names, shown):
    assert short_names(names) == dict(zip(names, shown, strict=True))


def test_the_page_says_the_builder_and_once_the_whole_reference(build, runs):
    built = build(runs.Recipe(backbones={LONG: 0.05, "net": 0.1}, n=20, pictures=2))
    names = [*Evidence(built.results).backbones]
    assert names == ["squeezenet1_1", "net"]
    before, making = built.page.split('<section id="making"')
    assert LONG not in before
    assert f"<code>{LONG}</code>" in making
    assert "squeezenet1_1" in built.tree.all("h1")[0].words
    assert set(built.results.summary().backbone) == {LONG, "net"}  # the data keep it
