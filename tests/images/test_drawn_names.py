"""Any name of a class or a file can be drawn: line breaks, control characters, surrogates, very long ones."""

from __future__ import annotations

import io

import numpy as np
import pytest
from matplotlib.figure import Figure

from tests.images.test_draw import found
from yolo.data.sheet import Tile, sheet
from yolo.evaluation.plots import words
from yolo.explain.draw import _fitted
from yolo.images.draw import draw, drawable
from yolo.size import Size

NAMES = [
    *(
        "two\nlines",
        "two\r\nlines",
        "\u05d0\u2029a",
        "\x85",
        "a\x1c\u05d0",
        "\0",
        "\x1b[31m",
        "\ud800",
        "\udcff.png",
        "",
    ),
    *("\u202eabc", "\u200d", "$\\frac{$", "$x", "\\$x$", "_", "^{", "%s", "x" * 1_000_000, "\u05d0\n" * 300_000),
]


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_any_name_is_drawn(name: str) -> None:
    """On an image, in the caption and the title of a sheet, in the legend of an explanation, and in a plot."""
    image = np.full((64, 96, 3), 99, np.uint8)
    drawn = draw(image, found((5, 20, 60, 60)), [name])
    assert drawn.shape == image.shape
    assert sheet([Tile(image, name)], Size(64, 96), name).any()
    assert len(_fitted(name, 300)) < 200
    figure = Figure(figsize=(1, 1))
    figure.text(0, 0, words([name])[0])
    figure.savefig(io.BytesIO(), format="png")


def test_what_is_kept_of_a_name() -> None:
    """Letters of all alphabets, joiners among them, stay; what has no shape becomes a box."""
    assert drawable("قط\u200cها 猫 क्\u200dष é") == "قط\u200cها 猫 क्\u200dष é"
    assert drawable("a\nb\ud800\x1b") == "a□b□□"
    assert drawable("x" * 200) == "x" * 200
    assert drawable("x" * 201) == "x" * 199 + "…"
