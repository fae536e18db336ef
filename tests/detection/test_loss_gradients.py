"""Gradients of the loss against finite differences, extreme values, and no waiting for the device.

Some parts of the loss are constants for the gradient although they depend on the predictions: the assignment, the IoU
as a target, the ignored slots, CIoU's alpha. The oracle keeps them fixed at one point (`at`) and is differentiated
around it.
"""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
)
from torch.testing import assert_close

from tests.support import oracles
from tests.support.loss_problems import (
    BOX_LOSSES,
    OBJ_LABELS,
    RULES,
    Problem,
    problems,
    random_problem,
    real_head,
    variants,
)
from tests.support.many import examples
from tests.support.oracles import YoloHead
from yolo.detection.loss import compute_loss

COMBINATIONS = list(itertools.product(BOX_LOSSES, OBJ_LABELS, RULES))
EXTRAS: list[dict[str, Any]] = [
    {},
    {"ignore_thresh": 0.3, "focal_gamma": 2.0, "obj_reduction": "sum", "pos_weight": 3.7},
    {"ignore_thresh": 0.5, "focal_gamma": 1.5, "label_smoothing": 0.1, "box_gain": 0.05, "cls_gain": 3.0},
    {"ignore_thresh": 0.7, "focal_gamma": 0.5, "label_smoothing": 0.3, "obj_gain": 3.0},
]
NAMES = ["plain", "sum", "smooth", "sharp"]  # of these
PAIRS = [
    pytest.param(*combination, EXTRAS[n], id="-".join((*combination, NAMES[n])))
    for indices, combination in zip(itertools.product(range(5), range(2), range(3)), COMBINATIONS, strict=True)
    for n in (0, 1 + sum(indices) % 3)
]
"""Every combination, plain and with one of the others, so that any two choices meet."""
READ = [
    (BOX_LOSSES[b], OBJ_LABELS[(b + r) % 2], RULES[r], EXTRAS[(b + r) % 3 == 0])
    for b, r in itertools.product(range(5), range(3))
]
"""Fifteen variants, plain or with the first of the others, in which any two choices meet."""
STEP = 1e-5  # of finite differences in float64: an error of 1e-10 by the third derivative, of 1e-11 by rounding


def gradients(problem: Problem, chosen: dict[str, Any]) -> list[np.ndarray]:
    """Return the gradient of the total for the predictions of each scale, `[B, A, H, W, 5+C]`."""
    predictions = problem.predictions()
    compute_loss(predictions, problem.targets(), problem.model, **chosen).total.backward()
    return [np.zeros(p.shape) if p.grad is None else p.grad.numpy() for p in predictions]


def difference(problem: Problem, chosen: dict[str, Any], direction: list[np.ndarray]) -> float:
    """Return the oracle's central difference along a direction, with all constants fixed."""
    ahead, behind = (
        oracles.yolo_loss(
            [raw + sign * STEP * d for raw, d in zip(problem.raw, direction, strict=True)],
            problem.labels,
            problem.facts,
            at=problem.raw,
            **chosen,
        ).total
        for sign in (1, -1)
    )
    return (ahead - behind) / (2 * STEP)


def kink(problem: Problem, chosen: dict[str, Any]) -> float:
    """Return the distance to the nearest kink of the loss, where a difference is not a derivative.

    Kinks are where edges of a matched box and its label are on one line (all pairs: touching from outside is a kink,
    too), and for focal losses where a probability equals its target. Everything else is smooth, or fixed by `at`.
    """
    rows = [row for row in problem.rows(chosen["assign"]) if row.matched]
    distances = [math.inf]
    for row in rows:
        slot, grid = (row.s, row.b, row.a, row.i, row.j), oracles.grid_of(problem.raw, row.s)
        box = oracles.box_at(problem.raw, problem.facts, slot)
        label = oracles.in_cells(problem.labels[row.n].tolist(), grid)
        for axis in (0, 1):
            ours, theirs = oracles.corners(box)[axis::2], oracles.corners(label)[axis::2]
            distances += [abs(a - b) for a in ours for b in theirs]
    targets = oracles.objectness_targets(problem.raw, problem.labels, problem.facts, rows, chosen["obj_label"])
    if chosen.get("focal_gamma", 0) > 0:
        for (s, b, a, i, j), target in targets.items():
            distances.append(abs(target - oracles.sigmoid(float(problem.raw[s][b, a, i, j, 4]))))
    return min(distances)


def small_problem() -> Problem:
    """Return two scales of 1 x 2 and 2 x 4 cells, one anchor each, two classes; labels that match, share a slot, do not
    match."""
    rng = np.random.default_rng(5)
    facts = [YoloHead([(24, 20)], stride=32, classes=2, k=1.2), YoloHead([(13, 17)], stride=16, classes=2)]
    raw = [0.7 * rng.standard_normal((1, 1, 32 // head.stride, 64 // head.stride, 7)) for head in facts]
    labels = [
        [0, 0.3, 0.4, 0.4, 0.5, 0],
        [0, 0.28, 0.45, 0.45, 0.6, 1],
        [0, 0.9, 0.9, 0.2, 0.4, 1],
        [0, 0.6, 0.1, 1.0, 0.01, 0],
    ]
    return Problem(raw, np.array(labels), facts)


# gradients


@pytest.mark.parametrize(("bbox_loss", "obj_label", "rule", "extra"), PAIRS)
def test_every_gradient(bbox_loss: str, obj_label: str, rule: str, extra: dict[str, Any]) -> None:
    """Each of the 70 numbers of a small problem."""
    problem, chosen = small_problem(), {"bbox_loss": bbox_loss, "obj_label": obj_label, "assign": rule, **extra}
    assert kink(problem, chosen) > 1e-3
    ours = gradients(problem, chosen)
    for s, scale in enumerate(problem.raw):
        for index in np.ndindex(*scale.shape):
            direction = [np.zeros_like(raw) for raw in problem.raw]
            direction[s][index] = 1
            assert ours[s][index] == pytest.approx(difference(problem, chosen, direction), rel=1e-6, abs=1e-8), (
                s,
                index,
            )


@given(problem=problems(), chosen=variants(), seed=st.integers(0, 2**32))
@examples(40)
def test_gradients_along_directions(problem: Problem, chosen: dict[str, Any], seed: int) -> None:
    """All numbers of any problem at once, then its boxes alone, which are few; away from kinks (see `kink`)."""
    assume(problem.gap(chosen["assign"]) > 1e-6)
    assume(chosen["ignore_thresh"] is None or problem.ignore_gap(chosen["ignore_thresh"]) > 1e-12)
    assume(kink(problem, chosen) > 1e-3)
    rng = np.random.default_rng(seed)
    everything = [rng.standard_normal(raw.shape) for raw in problem.raw]
    boxes = [d * (np.arange(d.shape[-1]) < 4) for d in everything]
    size = abs(oracles.yolo_loss(problem.raw, problem.labels, problem.facts, **chosen).total)
    ours = gradients(problem, chosen)
    for direction in (everything, boxes):
        along = sum(float((g * d).sum()) for g, d in zip(ours, direction, strict=True))
        # rounding of the two losses, divided by the step, is up to 1e-10 of the loss
        assert along == pytest.approx(difference(problem, chosen, direction), rel=1e-5, abs=1e-6 + 1e-9 * size)


@pytest.mark.parametrize("extra", EXTRAS, ids=NAMES)
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("bbox_loss", ["mse", "iou", "giou", "diou"])
def test_gradcheck(bbox_loss: str, rule: str, extra: dict[str, Any]) -> None:
    """The loss against its own differences, in variants without constants that vary: no CIoU and no IoU targets.

    Within a step of 1e-6 neither the assignment nor the ignored slots change, and no size is beyond its limit, where
    the gradient is not the derivative.
    """
    problem, chosen = small_problem(), {"bbox_loss": bbox_loss, "obj_label": "1", "assign": rule, **extra}
    for raw in problem.raw:
        raw[..., 2:4] = np.minimum(raw[..., 2:4], 0.5)
    assert kink(problem, chosen) > 1e-3
    assert problem.gap(rule) > 1e-3
    assert problem.ignore_gap(chosen.get("ignore_thresh", 2.0)) > 1e-3
    labels, model = problem.targets(), problem.model
    assert torch.autograd.gradcheck(
        lambda *raw: compute_loss(raw, labels, model, **chosen).total, problem.predictions(), fast_mode=True
    )


@pytest.mark.parametrize("bbox_loss", BOX_LOSSES)
def test_a_box_that_is_too_large_shrinks(bbox_loss: str) -> None:
    """Gradient descent from boxes of e^9 anchors, which are limited to the grid's longer side, makes them small again.

    Two labels share a slot, so some loss remains.
    """
    problem = small_problem()
    predictions = [torch.from_numpy(raw.copy()) for raw in problem.raw]
    for raw in predictions:
        raw[..., 2:4] = 9.0
        raw.requires_grad_()
    optimizer, targets, model = torch.optim.Adam(predictions, 0.2), problem.targets(), problem.model
    first = last = 0.0
    for step in range(160):
        optimizer.zero_grad()
        loss = compute_loss(predictions, targets, model, bbox_loss=bbox_loss).box
        loss.backward()
        optimizer.step()
        first, last = (loss.item() if step == 0 else first), loss.item()
    assert last < first / 6, (first, last)


def test_targets_have_no_gradient() -> None:
    """Objectness with the IoU as its target has no gradient for boxes."""
    problem = small_problem()
    chosen = {"obj_label": "iou", "box_gain": 0.0, "cls_gain": 0.0}
    for gradient in gradients(problem, chosen):
        assert np.abs(gradient[..., 4]).min() > 0
        assert not gradient[..., [0, 1, 2, 3, 5, 6]].any()


# extreme values


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@given(seed=st.integers(0, 2**32), chosen=variants())
@examples(40)
def test_extreme_values_are_finite(dtype: torch.dtype, seed: int, chosen: dict[str, Any]) -> None:
    """Raw values from -1e4 to 1e4, the ends often, in the dtypes of training: loss and gradients are finite."""
    problem, rng = random_problem(seed), np.random.default_rng(seed)
    for raw in problem.raw:
        wild = np.where(
            rng.random(raw.shape) < 0.5,
            rng.choice([-1e4, -100, -20, 0, 20, 100, 1e4], size=raw.shape),
            rng.uniform(-1e4, 1e4, raw.shape),
        )
        raw[:] = np.where(rng.random(raw.shape) < rng.choice([0.3, 1.0]), wild, raw)
    predictions = problem.predictions(dtype)
    terms = compute_loss(predictions, problem.targets(torch.float32), problem.model, **chosen)
    terms.total.backward()
    assert all(term.dtype == torch.float32 for term in terms)
    assert torch.isfinite(torch.stack(terms)).all()
    for prediction in predictions:
        assert prediction.grad is not None
        assert torch.isfinite(prediction.grad).all()


@pytest.mark.parametrize("value", [-1e4, -88.0, 0.0, 88.0, 1e4])
@pytest.mark.parametrize(("bbox_loss", "obj_label", "rule", "extra"), PAIRS[1::2])
def test_one_extreme_everywhere(bbox_loss: str, obj_label: str, rule: str, extra: dict[str, Any], value: float) -> None:
    """All raw values are the same, so both sides of every box are at the same limit."""
    problem = small_problem()
    predictions = [torch.full(raw.shape, value).requires_grad_() for raw in problem.raw]
    chosen = {"bbox_loss": bbox_loss, "obj_label": obj_label, "assign": rule, **extra}
    terms = compute_loss(predictions, problem.targets(torch.float32), problem.model, **chosen)
    assert torch.isfinite(torch.stack(terms)).all()
    for gradient in torch.autograd.grad(terms.total, predictions):
        assert torch.isfinite(gradient).all()


@given(problem=problems(), chosen=variants())
@examples(40)
def test_float32_is_near(problem: Problem, chosen: dict[str, Any]) -> None:
    """float32 gives the loss of float64 to 1e-3, unless rounding decides on an anchor (`Problem.gap`) or on a cell."""
    rounded = Problem([raw.astype(np.float32).astype(np.float64) for raw in problem.raw], problem.labels, problem.facts)
    labels = problem.labels.copy()
    labels[:, 1:3] = labels[:, 1:3] * 0.98 + 0.0123  # most are on borders on purpose
    rounded = Problem(rounded.raw, labels.astype(np.float32).astype(np.float64), problem.facts)
    assume(rounded.gap(chosen["assign"]) > 1e-3)
    assume(chosen["ignore_thresh"] is None or rounded.ignore_gap(chosen["ignore_thresh"]) > 1e-3)
    assume(
        not len(rounded.labels) or rounded.labels[:, 3:5].min() > 1e-3
    )  # the corners of smaller ones are mostly rounding
    edges = [side * rounded.labels[:, 1:3] for raw in rounded.raw for side in (np.array(raw.shape[3:1:-1]),)]
    assume(all(np.abs(edge - edge.round()).min(initial=1) > 1e-4 for edge in edges))
    single = compute_loss(rounded.predictions(torch.float32), rounded.targets(torch.float32), rounded.model, **chosen)
    double = compute_loss(rounded.predictions(), rounded.targets(), rounded.model, **chosen)
    assert_close(torch.stack(single).double(), torch.stack(double), rtol=1e-3, atol=1e-3)


# no waiting for the device


def fake(problem: Problem, mode: FakeTensorMode, dtype: torch.dtype) -> tuple[list[Tensor], Tensor, SimpleNamespace]:
    """Return predictions, labels and model as tensors without values: reading a value is an exception."""
    heads = [real_head(head) for head in problem.facts]
    for head in heads:
        head.anchors = mode.from_tensor(head.anchors)
    predictions: list[Tensor] = [mode.from_tensor(raw) for raw in problem.predictions(dtype)]
    return predictions, mode.from_tensor(problem.targets(torch.float32)), SimpleNamespace(heads=heads)


@pytest.mark.parametrize(("bbox_loss", "obj_label", "rule", "extra"), READ)
def test_no_value_is_read(bbox_loss: str, obj_label: str, rule: str, extra: dict[str, Any]) -> None:
    """Forward and backward of variants in which any two choices meet."""
    chosen = {"bbox_loss": bbox_loss, "obj_label": obj_label, "assign": rule, **extra}
    with FakeTensorMode() as mode:
        predictions, labels, model = fake(small_problem(), mode, torch.bfloat16)
        terms = compute_loss(predictions, labels, model, **chosen)
        gradients = torch.autograd.grad(terms.total, predictions)
    assert [gradient.shape for gradient in gradients] == [raw.shape for raw in predictions]


@pytest.mark.parametrize(
    "read",
    [
        lambda labels: labels.sum().item(),
        lambda labels: labels.tolist(),
        lambda labels: bool(labels.any()),
        lambda labels: int(labels[0, 5]),
        lambda labels: labels.nonzero(),
        lambda labels: labels[labels[:, 3] > 0.5],
        lambda labels: labels[:, 5].unique(),
        lambda labels: torch.nn.functional.one_hot(labels[:, 5].long()),
    ],
    ids=["item", "tolist", "bool", "int", "nonzero", "mask", "unique", "one_hot"],
)
def test_a_read_value_is_found(read: Any) -> None:
    """Each way to read a value raises what the test above relies on."""
    with FakeTensorMode() as mode:
        _, labels, _ = fake(small_problem(), mode, torch.float32)
        with pytest.raises((DataDependentOutputException, DynamicOutputShapeException)):
            read(labels)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype")
def test_nothing_waits_for_the_gpu() -> None:
    """Forward and backward of every variant while every synchronisation is an error, and the same loss."""
    problem = small_problem()
    predictions = [raw.detach().cuda().requires_grad_() for raw in problem.predictions(torch.float32)]
    labels = problem.targets(torch.float32).cuda()
    model = SimpleNamespace(heads=[head.cuda() for head in problem.model.heads])
    for (bbox_loss, obj_label, rule), extra in itertools.product(COMBINATIONS, EXTRAS):
        chosen = {"bbox_loss": bbox_loss, "obj_label": obj_label, "assign": rule, **extra}
        torch.cuda.synchronize()
        try:
            torch.cuda.set_sync_debug_mode("error")
            terms = compute_loss(predictions, labels, model, **chosen)
            terms.total.backward()
        finally:
            torch.cuda.set_sync_debug_mode("default")
        exact = compute_loss(problem.predictions(), problem.targets(), problem.model, **chosen)
        assert_close(torch.stack(terms).cpu().double(), torch.stack(exact), rtol=1e-4, atol=1e-4)
