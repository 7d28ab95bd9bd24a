"""Sentences of findings with their numbers filled in."""

import pytest

from robustlab.outcome import Finding


@pytest.mark.parametrize(
    ("text", "of", "told"),
    [
        ("On {of} images PGD fools none.", 1, "On 1 image PGD fools none."),
        ("On {of} images PGD fools none.", 11, "On 11 images PGD fools none."),
        ("{count} of {of} images differ.", 1, "1 of 1 images differ."),
    ],
)
def test_one_image_is_told_in_the_singular(text, of, told):
    assert Finding("rivals", "green", text, count=1, of=of).sentence == told
