"""The loss: values by hand, and every variant against the oracle, which is written from the definitions only.

Gradients, extreme values and waiting for the device are in `test_loss_gradients.py`.
"""

from __future__ import annotations

import math
from fractions import Fraction
from types import SimpleNamespace
from typing import Any, get_args, get_type_hints

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close
from torchvision import ops

from tests.support import oracles
from tests.support.loss_problems import BOX_LOSSES, RULES, Problem, problems, random_problem, real_head, variants
from tests.support.many import examples
from tests.support.oracles import YoloHead
from yolo import boxes
from yolo.darknet.heads import Head
from yolo.darknet.sections import Region, Yolo
from yolo.detection.assign import SCORES, assign
from yolo.detection.loss import MEASURES, LossTerms, compute_loss
from yolo.options.loss import LossOptions

LOG2 = math.log(2)  # the cross entropy of a logit of 0, whatever the target

# by hand: one head of stride 32 with the anchor 16 x 16, one class, an input of one cell


def one_cell(
    labels: list[list[float]],
    *,
    anchors: int = 1,
    columns: int = 1,
    images: int = 1,
    logit: float = 0.0,
    **chosen: Any,
) -> LossTerms:
    """Return the loss of predictions that are all zero: boxes of half a cell in its middle. `logit`: of the class."""
    head = YoloHead([(16, 16)] * anchors, stride=32, classes=1)
    raw = torch.zeros(images, anchors, 1, columns, 6, dtype=torch.float64)
    raw[..., 5] = logit
    packed = torch.tensor(labels, dtype=torch.float64).reshape(-1, 6)
    return compute_loss([raw], packed, SimpleNamespace(heads=[real_head(head)]), **chosen)


SAME = [0, 0.5, 0.5, 0.5, 0.5, 0]  # the predicted box itself
LARGER = [0, 0.5, 0.5, 0.75, 0.75, 0]  # IoU 4/9
HIGHER = [0, 0.5, 0.5, 0.5, 1.0, 0]  # IoU 1/2
LEFT = [0, 0.25, 0.5, 0.5, 0.5, 0]  # half of it: IoU 1/3
V = 4 / math.pi**2 * (math.atan(1 / 2) - math.atan(1)) ** 2  # CIoU's v of HIGHER


@pytest.mark.parametrize(
    ("label", "bbox_loss", "expected"),
    [
        (SAME, "iou", 0),
        (SAME, "giou", 0),
        (SAME, "diou", 0),
        (SAME, "ciou", 0),
        (SAME, "mse", 0),
        (LARGER, "iou", 5 / 9),
        (LARGER, "giou", 5 / 9),  # the larger box encloses both and is covered by them
        (LARGER, "diou", 5 / 9),
        (LARGER, "ciou", 5 / 9),
        (LARGER, "mse", (1 / 4) ** 2 / 10),
        (HIGHER, "iou", 1 / 2),
        (HIGHER, "ciou", 1 / 2 + V / (1 / 2 + V) * V),
        (HIGHER, "mse", (1 / 2) ** 2 / 2 / 10),
        (LEFT, "iou", 2 / 3),
        (LEFT, "giou", 2 / 3),
        (LEFT, "diou", 2 / 3 + 1 / 13),  # d² = 1/16, c² = 9/16 + 4/16
        (LEFT, "ciou", 2 / 3 + 1 / 13),
        (LEFT, "mse", (1 / 4) ** 2 / 2),
    ],
)
def test_box_by_hand(label: list[float], bbox_loss: str, expected: float) -> None:
    """One label, one slot."""
    terms = one_cell([label], bbox_loss=bbox_loss)
    assert_close(terms.box.item(), float(expected), rtol=1e-12, atol=1e-12)
    assert_close(
        terms.obj.item(), LOG2, rtol=1e-12, atol=0
    )  # a single positive and no other prediction: the weight is 1


def test_giou_of_boxes_apart() -> None:
    """Predicted 1/4 to 3/4 of the first cell of two, the label 1/4 to 3/4 of the second cell."""
    a, b = torch.tensor([0.5, 0.5, 0.5, 0.5]), torch.tensor([1.5, 0.5, 0.5, 0.5])
    assert_close(boxes.giou(a, b).item(), -1 / 3)  # the enclosing box has 0.75, the boxes 0.5 of it
    assert oracles.giou(a.tolist(), b.tolist()) == pytest.approx(-1 / 3)


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ({"obj_label": "iou", "pos_weight": 2.0}, (2 * 4 / 9 + 5 / 9) * LOG2),
        ({"obj_label": "1", "pos_weight": 2.0}, 2 * LOG2),
        ({"obj_label": "iou", "focal_gamma": 1.0}, (1 / 2 - 4 / 9) * LOG2),
        ({"obj_label": "1", "focal_gamma": 2.0}, LOG2 / 4),
    ],
)
def test_obj_by_hand(chosen: dict[str, Any], expected: float) -> None:
    """One slot and a label whose IoU with it is 4/9."""
    assert_close(one_cell([LARGER], **chosen).obj.item(), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize(("count", "weight"), [(0, 1), (1, 0.5 * 7), (2, 0.5 * 6 / 2), (3, 1)])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_auto_pos_weight_by_hand(count: int, weight: float, reduction: str) -> None:
    """`max(1, 0.5 (P - N) / N)` with 8 slots in each of 2 images; all labels are in one slot, 15 others are empty."""
    labels = [[1, 3.5 / 8, 0.5, 0.5 / 8, 0.5, 0]] * count
    terms = one_cell(labels, columns=8, images=2, obj_reduction=reduction)
    assert_close(terms.obj.item(), (15 + weight) * LOG2 / (16 if reduction == "mean" else 2), rtol=1e-12, atol=0)


@pytest.mark.parametrize("order", [[LARGER, SAME], [SAME, LARGER]])
def test_two_labels_in_one_slot_by_hand(order: list[list[float]]) -> None:
    """The larger target counts for objectness, and both labels contribute to the box and class loss."""
    terms = one_cell(order, pos_weight=3.0, logit=math.log(3))
    assert_close(terms.obj.item(), 3 * LOG2, rtol=1e-12, atol=0)  # the target is 1, not 4/9
    assert_close(terms.box.item(), (0 + 5 / 9) / 2, rtol=1e-12, atol=0)
    assert_close(terms.cls.item(), -math.log(3 / 4), rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("label", "threshold", "counted"),
    [
        (SAME, None, 2),
        (SAME, 0.99, 1),  # the second anchor predicts the same box and is ignored
        (HIGHER, 0.49, 1),
        (HIGHER, 0.5, 2),  # an IoU of exactly the threshold counts
        ([1, *SAME[1:]], 0.5, 1),
    ],
)
def test_ignore_by_hand(label: list[float], threshold: float | None, counted: int) -> None:
    """Two equal anchors: one matches, the other contributes or not. The divisor is always the 4 slots of 2 images."""
    terms = one_cell([label], anchors=2, images=2, ignore_thresh=threshold, pos_weight=1.0)
    assert_close(terms.obj.item(), (counted + 2) * LOG2 / 4, rtol=1e-12, atol=0)


@pytest.mark.parametrize("count", [255, 256, 257])
def test_a_crowd_is_ignored_once(count: int) -> None:
    """As many images as labels, all in the first: a prediction that is near many labels is ignored like any other."""
    terms = one_cell([SAME] * count, anchors=2, images=count, ignore_thresh=0.5, pos_weight=1.0)
    assert_close(terms.obj.item(), (2 * count - 1) * LOG2 / (2 * count), rtol=1e-12, atol=0)


def test_smoothing_by_hand() -> None:
    """The only class has probability 3/4 and the target 0.9 + 0.05."""
    plain = one_cell([SAME], logit=math.log(3)).cls
    assert_close(plain.item(), -math.log(3 / 4), rtol=1e-12, atol=0)
    smooth = one_cell([SAME], logit=math.log(3), label_smoothing=0.1).cls
    assert_close(smooth.item(), -0.95 * math.log(3 / 4) - 0.05 * math.log(1 / 4), rtol=1e-12, atol=0)


def test_gains_by_hand() -> None:
    """The terms do not include the gains, the total does. All are scalars with the dtype of the predictions."""
    plain = one_cell([LARGER])
    assert isinstance(plain, LossTerms)
    assert all(term.shape == () and term.dtype == torch.float64 for term in plain)
    assert_close(plain.total, plain.box + plain.obj + plain.cls)
    scaled = one_cell([LARGER], box_gain=2.0, obj_gain=3.0, cls_gain=0.5)
    assert scaled[1:] == plain[1:]
    assert_close(scaled.total, 2 * plain.box + 3 * plain.obj + plain.cls / 2)


def test_nothing_but_background() -> None:
    """Without labels the box and class losses are 0, and objectness has a loss."""
    terms = one_cell([], columns=2, images=2, obj_reduction="sum")
    assert terms.box == 0
    assert terms.cls == 0
    assert_close(terms.obj.item(), 4 * LOG2 / 2, rtol=1e-12, atol=0)


# against the oracle


@given(problem=problems(), chosen=variants())
@examples(150)
def test_every_variant_equals_the_oracle(problem: Problem, chosen: dict[str, Any]) -> None:
    """All four numbers are equal to 1e-9 in float64.

    Left out are cases in which rounding decides: two candidates within 1e-12 of each other, an overlap within 1e-12 of
    the threshold. Exact ties and an overlap of exactly the threshold have tests of their own, here and in test_assign.
    """
    assume(problem.gap(chosen["assign"]) > 1e-12)
    if chosen["ignore_thresh"] is not None:
        assume(problem.ignore_gap(chosen["ignore_thresh"]) > 1e-12)
    terms = compute_loss(problem.predictions(), problem.targets(), problem.model, **chosen)
    expected = oracles.yolo_loss(problem.raw, problem.labels, problem.facts, **chosen)
    for name, ours, exact in zip(LossTerms._fields, terms, expected, strict=True):
        assert ours.item() == pytest.approx(exact, rel=1e-9, abs=1e-9), name


@given(problem=problems())
@examples(25)
def test_defaults(problem: Problem) -> None:
    """A call without options is the loss with the documented defaults."""
    assume(problem.gap("ratio") > 1e-12)
    terms = compute_loss(problem.predictions(), problem.targets(), problem.model)
    expected = oracles.yolo_loss(
        problem.raw, problem.labels, problem.facts, bbox_loss="iou", obj_label="iou", assign="ratio"
    )
    assert_close([term.item() for term in terms], list(expected), rtol=1e-9, atol=1e-9)


@given(problem=problems(), chosen=variants(), seed=st.integers(0, 2**32))
@examples(40)
def test_order_of_labels(problem: Problem, chosen: dict[str, Any], seed: int) -> None:
    """Label order does not matter, up to the rounding of a sum in another order."""
    labels = problem.targets()
    shuffled = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))]
    one = compute_loss(problem.predictions(), labels, problem.model, **chosen)
    other = compute_loss(problem.predictions(), shuffled, problem.model, **chosen)
    assert_close(torch.stack(one), torch.stack(other), rtol=1e-12, atol=1e-12)


# the IoU family


def matched_pairs(count: int = 3000) -> tuple[Tensor, Tensor]:
    """Return predicted boxes and labels of the matches of many random problems, float64 `[M, 4]` cxcywh in cells."""
    pairs = []
    for seed in range(count // 10):
        problem = random_problem(seed)
        for row in problem.rows("ratio"):
            if row.matched:
                predicted = oracles.box_at(problem.raw, problem.facts, (row.s, row.b, row.a, row.i, row.j))
                label = oracles.in_cells(problem.labels[row.n].tolist(), oracles.grid_of(problem.raw, row.s))
                pairs.append((predicted, label))
    both = torch.tensor(pairs[:count], dtype=torch.float64)
    assert len(both) > 1000
    return both[:, 0], both[:, 1]


@pytest.mark.parametrize("kind", BOX_LOSSES[1:])
def test_overlaps_equal_torchvision(kind: str) -> None:
    """They equal torchvision's, which adds 1e-7 to its divisors: boxes of 1e9 units make that negligible."""
    a, b = matched_pairs()
    ours = getattr(boxes, kind)(a, b)
    corners_a, corners_b = boxes.cxcywh_to_xyxy(1e9 * a), boxes.cxcywh_to_xyxy(1e9 * b)
    if kind == "iou":
        expected = ops.box_iou(corners_a, corners_b).diagonal()
    else:
        exact = {"eps": 1e-30} if kind == "ciou" else {}  # it also affects alpha, which has no unit
        name = {"giou": "generalized", "diou": "distance", "ciou": "complete"}[kind]
        expected = 1 - getattr(ops, f"{name}_box_iou_loss")(corners_a, corners_b, **exact)
    assert_close(ours, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", BOX_LOSSES[1:])
def test_overlaps_equal_the_oracle(kind: str) -> None:
    """The measures of the loss, on the same pairs."""
    a, b = matched_pairs()
    expected = [getattr(oracles, kind)(p, y) for p, y in zip(a.tolist(), b.tolist(), strict=True)]
    assert_close(getattr(boxes, kind)(a, b), torch.tensor(expected, dtype=torch.float64), rtol=1e-9, atol=1e-9)


# what is refused


def test_new_coords_are_refused() -> None:
    """Its raw values are not logits."""
    section = Yolo(classes=1, num=1, mask=(0,), anchors=(16.0, 16.0), new_coords=1)
    head = Head(section, (Fraction(32), Fraction(32)))
    with pytest.raises(ValueError, match="new_coords"):
        compute_loss([torch.zeros(1, 1, 1, 1, 6)], torch.tensor([SAME]), SimpleNamespace(heads=[head]))


def test_region_is_refused() -> None:
    """Its classes are a softmax."""
    section = Region(classes=1, num=1, anchors=(0.5, 0.5), softmax=1)
    head = Head(section, (Fraction(32), Fraction(32)))
    with pytest.raises(ValueError, match="region"):
        compute_loss([torch.zeros(1, 1, 1, 1, 6)], torch.tensor([SAME]), SimpleNamespace(heads=[head]))


@pytest.mark.parametrize(
    "chosen",
    [{"bbox_loss": "l1"}, {"obj_label": "2"}, {"assign": "best"}, {"obj_reduction": "none"}, {"pos_weight": "all"}],
)
def test_unknown_words_are_refused(chosen: dict[str, Any]) -> None:
    """The message names the word, whether it comes as a keyword or in the options."""
    (word,) = chosen.values()
    with pytest.raises(ValueError, match=word):
        one_cell([SAME], **chosen)
    with pytest.raises(ValueError, match=word):
        LossOptions(**chosen)


def test_unknown_options_are_refused() -> None:
    """The message names the keyword and all options that there are."""
    with pytest.raises(TypeError, match=r"got box_loss, gain; the options of the loss are bbox_loss, .*, focal_gamma"):
        one_cell([SAME], box_loss="iou", gain=1.0)


def test_every_word_has_its_code() -> None:
    """The words of the options are those that the loss and the assignment know."""
    words = {name: get_args(kind) for name, kind in get_type_hints(LossOptions).items()}
    assert set(words["bbox_loss"]) == {"mse", *MEASURES}
    assert words["assign"] == tuple(SCORES)


@given(problem=problems(), chosen=variants())
@examples(15)
def test_options_and_keywords_are_the_same(problem: Problem, chosen: dict[str, Any]) -> None:
    """As an object, as keywords, and as keywords that replace fields of an object; with the assignment given or not."""
    raw, labels, model = problem.predictions(), problem.targets(), problem.model
    expected = compute_loss(raw, labels, model, **chosen)
    other = LossOptions(bbox_loss="mse", assign="prior", pos_weight=7.0, focal_gamma=3.0)
    assert compute_loss(raw, labels, model, LossOptions(**chosen)) == expected
    assert compute_loss(raw, labels, model, other, **chosen) == expected
    found = assign(raw, labels, model.heads, chosen["assign"])
    other_rule = {**chosen, "assign": "prior"}
    assert compute_loss(raw, labels, model, assignment=found, **other_rule) == expected


@pytest.mark.parametrize("rule", RULES)
def test_no_labels_of_any_rule(rule: str) -> None:
    """The loss is finite and has gradients for objectness only."""
    head = YoloHead([(16, 16)], stride=32, classes=1)
    raw = torch.zeros(1, 1, 2, 3, 6, requires_grad=True)
    terms = compute_loss(
        [raw], torch.zeros(0, 6), SimpleNamespace(heads=[real_head(head)]), assign=rule, ignore_thresh=0.5
    )
    terms.total.backward()
    assert torch.isfinite(torch.stack(terms)).all()
    assert raw.grad is not None
    assert raw.grad[..., 4].gt(0).all()
    assert raw.grad[..., [0, 1, 2, 3, 5]].eq(0).all()
