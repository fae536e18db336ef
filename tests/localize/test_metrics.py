"""Metrics of localizers against slow obvious ones: one loop per image, the definitions as they are written."""

from __future__ import annotations

import math
from collections import Counter
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.support import oracles
from tests.support.many import examples
from yolo.localize.metrics import CLASSES, PRESENCE, Answers, class_metrics, intervals, presence_metrics

MEAN_BOX = torch.tensor([0.2, 0.3, 0.7, 0.8])


def made(seed: int, images: int = 40, share: float = 0.6, scores: int = 7) -> Answers:
    """Return random answers: few different scores, corners in any order, images of different sizes."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(50, 300, (images, 2)).astype(float)
    there = rng.random(images) < share
    near, span = rng.random((images, 2)) * 0.5, rng.random((images, 2)) * 0.4 + 0.1
    true_boxes = np.concatenate((near, near + span), 1)
    boxes = true_boxes + rng.normal(0, 0.06, (images, 4))
    swapped = rng.random(images) < 0.3
    boxes[swapped] = boxes[swapped][:, [2, 3, 0, 1]]
    scale = np.concatenate((sizes, sizes), 1)
    return Answers(
        torch.from_numpy(rng.integers(0, scores, images) / max(1, scores - 1)).float(),
        torch.from_numpy(rng.integers(0, 3, images)),
        torch.from_numpy(boxes * scale),
        torch.from_numpy(np.where(there, rng.integers(0, 3, images), -1)),
        torch.from_numpy(true_boxes * scale * there[:, None]),
        torch.from_numpy(sizes),
    )


def average_precision(score: list[float], there: list[bool]) -> float:
    """Return scikit-learn's average_precision_score: the sum of (R_n - R_{n-1}) P_n over the different scores."""
    total = before = 0.0
    for threshold in sorted(set(score), reverse=True):
        accepted = [t for s, t in zip(score, there, strict=True) if s >= threshold]
        recall = sum(accepted) / sum(there)
        total += (recall - before) * sum(accepted) / len(accepted)
        before = recall
    return total


def overlap(a: list[float], b: list[float]) -> float:
    """Return the IoU of two xyxy boxes, the first with corners in any order."""
    a = [min(a[0], a[2]), min(a[1], a[3]), max(a[0], a[2]), max(a[1], a[3])]
    return oracles.iou(*(((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1) for x1, y1, x2, y2 in (a, b)))


def of_boxes(answers: Answers) -> dict[str, float]:
    """Return the four metrics of boxes, image by image."""
    found, mean, far = [], [], []
    for box, truth, label, (w, h) in zip(
        answers.boxes.tolist(),
        answers.true_boxes.tolist(),
        answers.true_label.tolist(),
        answers.sizes.tolist(),
        strict=True,
    ):
        if label < 0:
            continue
        found.append(overlap(box, truth))
        mean.append(overlap([side * f for side, f in zip((w, h, w, h), MEAN_BOX.tolist(), strict=True)], truth))
        for axis, side in enumerate((w, h)):
            low, high = sorted((box[axis], box[axis + 2]))
            far += [abs(low - truth[axis]) / side * 224, abs(high - truth[axis + 2]) / side * 224]
    return {
        "IoU": float(np.mean(found)),
        "IoU_mean_box": float(np.mean(mean)),
        "IoU50": float(np.mean([value >= 0.5 for value in found])),
        "L1/224": float(np.mean(far)),
    }


@examples(25)
@given(seed=st.integers(0, 2**32 - 1), scores=st.sampled_from((1, 2, 7, 10**6)), threshold=st.sampled_from((0.5, 0.9)))
def test_presence(seed: int, scores: int, threshold: float) -> None:
    """Every metric is that of counting one image after the other, whether scores are equal or not."""
    answers = made(seed, scores=scores)
    score, there = answers.score.tolist(), (answers.true_label >= 0).tolist()
    said = [value > threshold for value in score]
    both = sum(s and t for s, t in zip(said, there, strict=True))
    expected = {
        "accuracy": sum(s == t for s, t in zip(said, there, strict=True)) / len(said),
        "majority": max(sum(there), len(there) - sum(there)) / len(there),
        "precision": both / sum(said) if any(said) else math.nan,
        "recall": both / sum(there),
        "AP_presence": average_precision(score, there),
    } | of_boxes(answers)
    found = presence_metrics(answers, MEAN_BOX, threshold)
    assert tuple(found) == PRESENCE
    assert found == pytest.approx(expected, abs=1e-9, nan_ok=True)


@examples(25)
@given(seed=st.integers(0, 2**32 - 1))
def test_classes(seed: int) -> None:
    """Every metric is that of counting one object after the other; images without object do not count."""
    answers = made(seed)
    truths = [label for label in answers.true_label.tolist() if label >= 0]
    rows = list(zip(*(field.tolist() for field in answers.objects()), strict=True))
    expected = {
        "accuracy": sum(row[1] == row[3] for row in rows) / len(rows),
        "majority": Counter(truths).most_common(1)[0][1] / len(truths),
        "correct": sum(row[1] == row[3] and overlap(row[2], row[4]) >= 0.5 for row in rows) / len(rows),
    } | of_boxes(answers)
    found = class_metrics(answers, MEAN_BOX)
    assert tuple(found) == CLASSES
    assert found == pytest.approx(expected, abs=1e-9)


def test_average_precision_by_hand() -> None:
    """The example of scikit-learn's documentation: 0.83; one tie of all scores: the share of positives."""
    answers = made(0, images=4)._replace(true_label=torch.tensor([-1, -1, 0, 0]))
    answers = answers._replace(score=torch.tensor([0.1, 0.4, 0.35, 0.8]))
    assert presence_metrics(answers, MEAN_BOX)["AP_presence"] == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    tied = answers._replace(score=torch.full((4,), 0.5))
    assert presence_metrics(tied, MEAN_BOX)["AP_presence"] == 0.5
    assert math.isnan(presence_metrics(tied, MEAN_BOX)["precision"])  # 0.5 does not exceed the threshold


def test_what_is_not_defined() -> None:
    """Without objects nothing is known of recall and boxes; without images nothing at all; all objects: AP is 1."""
    answers = made(1)
    none = presence_metrics(answers.of(answers.true_label < 0), MEAN_BOX)
    undefined = {"recall", "AP_presence", "IoU", "IoU_mean_box", "IoU50", "L1/224"}
    assert {name for name, value in none.items() if math.isnan(value)} == undefined
    assert (none["majority"], none["precision"]) == (1, 0)
    everywhere = presence_metrics(answers.objects(), MEAN_BOX)
    assert (everywhere["AP_presence"], everywhere["majority"], everywhere["precision"]) == (1, 1, 1)
    for metrics, names in ((presence_metrics, PRESENCE), (class_metrics, CLASSES)):
        empty = answers.of(torch.zeros(0, dtype=torch.int64))
        assert [name for name, value in metrics(empty, MEAN_BOX).items() if math.isnan(value)] == list(names)
        assert intervals(empty, partial(metrics, mean_box=MEAN_BOX), 3) == {}


def test_a_perfect_answer() -> None:
    """The true boxes, corners swapped or not, have IoU 1 and distance 0; always the mean box is worse."""
    answers = made(2)
    for order in ([0, 1, 2, 3], [2, 3, 0, 1], [2, 1, 0, 3]):
        perfect = answers._replace(boxes=answers.true_boxes[:, order], label=answers.true_label)
        found = class_metrics(perfect, MEAN_BOX)
        assert [found[name] for name in ("accuracy", "IoU", "IoU50", "correct")] == pytest.approx([1] * 4)
        assert found["L1/224"] == 0
    assert found["IoU_mean_box"] < 0.5
    always = answers.always(MEAN_BOX)
    assert class_metrics(always, MEAN_BOX)["IoU"] == found["IoU_mean_box"]


def test_intervals() -> None:
    """A share on n images has the normal interval p ± 1.96 sqrt(p (1 - p) / n); equal seeds give equal intervals."""
    answers = made(3, images=400)
    metrics = partial(presence_metrics, mean_box=MEAN_BOX)
    value, found = metrics(answers), intervals(answers, metrics, 400)
    assert found == intervals(answers, metrics, 400)
    assert found != intervals(answers, metrics, 400, seed=1)
    assert tuple(found) == PRESENCE
    assert all(low < value[name] < high for name, (low, high) in found.items())
    half = 1.96 * math.sqrt(value["accuracy"] * (1 - value["accuracy"]) / 400)
    expected = (value["accuracy"] - half, value["accuracy"] + half)
    assert found["accuracy"] == pytest.approx(expected, abs=0.015)
    assert found["L1/224"][1] > 1  # pixels are not clipped as shares are
    assert intervals(answers.objects(), metrics, 50)["AP_presence"] == pytest.approx((1, 1))


def test_intervals_of_a_rare_object() -> None:
    """Resamples without the only object do not count; a metric that no resample has is left out."""
    answers = made(4, images=30)
    answers = answers._replace(true_label=torch.arange(30) - 29)
    found = intervals(answers, partial(presence_metrics, mean_box=MEAN_BOX), 60)
    assert found["IoU"] == pytest.approx([presence_metrics(answers, MEAN_BOX)["IoU"]] * 2)
    assert "IoU" not in intervals(answers.of(torch.arange(29)), partial(presence_metrics, mean_box=MEAN_BOX), 9)
