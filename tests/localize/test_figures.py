"""Figures of localizers: images that show the data."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from tests.localize.test_metrics import MEAN_BOX, made
from yolo.localize.figures import iou_figure, presence_figure
from yolo.localize.metrics import Answers

FIGURES: list[Callable[[Answers], np.ndarray]] = [presence_figure, lambda answers: iou_figure(answers, MEAN_BOX)]


pytestmark = pytest.mark.drawn


@pytest.mark.parametrize("figure", FIGURES)
def test_an_image_of_the_data(figure: Callable[[Answers], np.ndarray]) -> None:
    """The figure is an RGB image with colours on white, equal for equal answers and another one for others."""
    image = figure(made(0))
    assert (image.dtype, image.ndim, image.shape[2]) == (np.uint8, 3, 3)
    assert min(image.shape[:2]) > 300
    assert (image[0, 0] == 255).all()
    blue = image[..., 2].astype(int) - image[..., 0] > 60  # the curve or the bars
    assert blue.sum() > 200
    assert np.array_equal(image, figure(made(0)))
    other = figure(made(1))
    assert other.shape == image.shape
    assert (other != image).any(2).sum() > 500


@pytest.mark.parametrize("figure", FIGURES)
def test_without_objects(figure: Callable[[Answers], np.ndarray]) -> None:
    """Without objects or images there is no curve, and the figure says so."""
    answers = made(0)
    for few in (answers.of(answers.true_label < 0), answers.of(torch.zeros(0, dtype=torch.int64))):
        image = figure(few)
        assert (np.ptp(image.astype(int), axis=2) < 10).all()  # no colours
        assert (image < 100).all(2).any()


def test_what_does_not_belong_to_a_figure() -> None:
    """Boxes do not change the figure of presence, nor scores that of the boxes; the mean box does."""
    answers = made(0)
    assert np.array_equal(presence_figure(answers), presence_figure(answers.always(MEAN_BOX)))
    scores = answers._replace(score=1 - answers.score)
    assert np.array_equal(iou_figure(answers, MEAN_BOX), iou_figure(scores, MEAN_BOX))
    assert not np.array_equal(iou_figure(answers, MEAN_BOX), iou_figure(answers, MEAN_BOX / 2))
