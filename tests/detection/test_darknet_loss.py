"""darknet's loss: the deltas that darknet itself computed, a sequential oracle on random problems, and the gradient."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.testing import assert_close

from tests.support.darknet_loss_oracle import DEFAULTS, Layer
from tests.support.paths import GOLDEN
from yolo.darknet.cfg import Cfg, parse_cfg, read_cfg
from yolo.darknet.heads import Head
from yolo.darknet.net import Net
from yolo.darknet.network import Darknet
from yolo.darknet.sections import Yolo
from yolo.detection.darknet_loss import DarknetTerms, darknet_loss

CASES = sorted((GOLDEN / "training").glob("*.npz"))
NET = Net(width=96, height=64, channels=3)
ANCHORS = (7.0, 9.0, 12.0, 18.0, 20.0, 14.0, 18.0, 34.0, 34.0, 24.0, 30.0, 48.0, 52.0, 36.0, 44.0, 60.0, 80.0, 52.0)


class Problem(NamedTuple):
    """Raw predictions, labels `[N, 6]`, and the head with its section."""

    raw: Tensor
    labels: Tensor
    head: Head
    section: Yolo

    @property
    def model(self) -> SimpleNamespace:
        return SimpleNamespace(heads=[self.head], cfg=Cfg(NET, (self.section,)))

    def solved(self) -> Layer:
        """Return what the oracle computes."""
        options = {key: getattr(self.section, key) for key in DEFAULTS}
        mask, (y, x) = self.section.anchor_numbers, self.head.strides
        net = round(self.raw.shape[3] * x), round(self.raw.shape[2] * y)
        return Layer(self.raw.numpy(), self.labels.numpy(), net, {**options, "mask": mask}).run()


def golden(file: Path) -> tuple[Problem, Any]:
    """Return a case that darknet computed, and its numbers."""
    case = np.load(file)
    section = read_cfg(file.with_suffix(".cfg")).layers[1]
    assert isinstance(section, Yolo)
    used = (case["truth"][..., 0] != 0).cumprod(1).astype(bool)
    labels = np.concatenate((np.nonzero(used)[0][:, None], case["truth"][used][:, :5]), axis=1, dtype=np.float32)
    stride = Fraction(16)
    return Problem(
        torch.from_numpy(case["raw"]), torch.from_numpy(labels), Head(section, (stride, stride)), section
    ), case


def random_section(rng: np.random.Generator) -> Yolo:
    """Return a section with any combination of the keys of training."""
    classes = int(rng.choice([1, 3, 4]))
    options: dict[str, Any] = {
        "iou_loss": rng.choice(["mse", "iou", "giou", "diou", "ciou", "word"]),
        "iou_thresh": rng.choice([1.0, 0.2, 0.5]),
        "iou_thresh_kind": rng.choice(["iou", "giou", "diou", "ciou", "word"]),
        "truth_thresh": rng.choice([1.0, 1.0, 0.15, 0.4]),
        "ignore_thresh": rng.choice([0.05, 0.2, 0.5]),
        "objectness_smooth": rng.choice([0, 1]),
        "new_coords": rng.choice([0, 1]),
        "scale_x_y": rng.choice([1.0, 1.05, 2.0]),
        "label_smooth_eps": rng.choice([0.0, 0.1]),
        "focal_loss": rng.choice([0, 0, 1]),
        "max_delta": rng.choice([3.4e38, 2.0, 0.05]),
        "show_details": rng.choice([1, 1, 0]),
        **{f"{name}_normalizer": rng.choice([1.0, 0.4, 2.0]) for name in ("iou", "obj", "cls")},
        "counters_per_class": (),
    }
    options = {key: value.item() if isinstance(value, np.generic) else value for key, value in options.items()}
    if rng.random() < 0.3:
        options["counters_per_class"] = tuple(int(n) for n in rng.choice([0, 5, 20, 100], classes))
    mask = tuple(int(n) for n in rng.permutation(9)[: rng.integers(1, 5)])
    return Yolo(classes=classes, num=9, anchors=ANCHORS, mask=mask, **options)


def random_problem(seed: int) -> Problem:
    """Return few cells with many labels, so that slots are shared. Some probabilities are 0 or not finite."""
    rng = np.random.default_rng(seed)
    section = random_section(rng)
    strides = Fraction(16), Fraction(int(rng.choice([16, 32])))
    head = Head(section, strides)
    B, H, W = (int(n) for n in rng.integers(1, 4, 3))
    raw = rng.standard_normal((B, len(head.anchors), H, W, 5 + section.classes)) * rng.choice([0.5, 2])
    raw[..., 5:] -= rng.choice([0, 2])
    if section.new_coords:
        raw = 1 / (1 + np.exp(-raw))
    never = 0.0 if section.new_coords else -1000.0
    for sure, share in ((never, 0.2), (1.0 if section.new_coords else 1000.0, 0.1)):  # objectness of exactly 0 and 1
        raw[..., 4][rng.random(raw.shape[:4]) < share] = sure
    raw[..., 4][rng.random(raw.shape[:4]) < 0.02] = np.nan
    raw[..., 2:4][rng.random((*raw.shape[:4], 2)) < 0.02] = never
    N = int(rng.choice([0, 1, 3, 8]))
    sizes = np.array(section.pairs)[rng.integers(0, len(section.pairs), N)] * rng.uniform(0.6, 1.6, (N, 2))
    sizes /= W * float(strides[1]), H * float(strides[0])
    centres = (rng.integers(0, 4, (N, 2)) + rng.uniform(0.01, 0.99, (N, 2))) / 4
    labels = np.column_stack((np.sort(rng.integers(0, B, N)), centres, sizes, rng.integers(-1, section.classes + 1, N)))
    return Problem(torch.from_numpy(raw), torch.from_numpy(labels), head, section)


def assert_solved(problem: Problem, delta: Tensor, terms: Tensor, tolerance: float) -> Layer:
    """Compare deltas and cost with the oracle."""
    layer = problem.solved()
    largest = np.abs(layer.delta).max()
    assert_close(delta, torch.from_numpy(layer.delta).to(delta), rtol=0, atol=tolerance * max(largest, 1e-6))
    assert_close(terms, torch.from_numpy(layer.terms).to(terms), rtol=tolerance, atol=tolerance)
    return layer


def deltas(problem: Problem) -> tuple[Tensor, Tensor, Tensor]:
    """Return darknet's deltas of a problem, the parts of its cost `[3]`, and the printed sums and numbers `[3, 2]`."""
    raw, B = problem.raw.detach().requires_grad_(), len(problem.raw)
    terms = darknet_loss([raw], problem.labels, problem.model, normalize=False)
    (gradient,) = torch.autograd.grad(terms.total, [raw])
    printed = torch.stack([torch.stack(mean) for mean in terms.printed.values()])
    return gradient * -B, torch.stack(terms[1:4]).detach() * B, printed


# what darknet computed


def test_all_golden_cases_are_there() -> None:
    assert len(CASES) == 16


@pytest.mark.parametrize("file", CASES, ids=lambda file: file.stem)
def test_darknets_own_deltas(file: Path) -> None:
    """Every delta and the cost; the oracle agrees as well, so that its word counts where darknet's is not there."""
    problem, case = golden(file)
    delta, terms, _ = deltas(problem)
    largest = float(np.abs(case["delta"]).max())
    assert_close(delta, torch.from_numpy(case["delta"]), rtol=0, atol=1e-5 * largest)
    assert float(terms.sum()) == pytest.approx(float(case["cost"]), rel=1e-5)
    layer = assert_solved(problem, delta, terms, 1e-5)
    assert np.abs(layer.delta - case["delta"]).max() < 1e-5 * largest


# any options


@pytest.mark.parametrize("part", range(4))
def test_any_combination_of_keys(part: int) -> None:
    """Sequential oracle and tensors agree on deltas, cost, and the number of assigned pairs."""
    for seed in range(100 * part, 100 * part + 100):
        problem = random_problem(seed)
        delta, terms, printed = deltas(problem)
        layer = assert_solved(problem, delta, terms, 1e-9)
        assert printed[0, 1] == len(layer.overlaps), seed


@pytest.mark.parametrize("smooth", [0, 1])
def test_labels_of_one_slot(smooth: int) -> None:
    """Boxes add up, the last label decides objectness (or the first one, where it is 0), the first one all classes."""
    problem, _ = golden(next(file for file in CASES if file.stem == "counters"))
    problem = problem._replace(section=replace(problem.section, objectness_smooth=smooth))
    problem.raw[..., 4] = -1000
    labels = torch.tensor([[1, 0.5, 0.5, 0.3, 0.5, c] for c in (2, 0, 2, 3)])
    for order in ([0, 1, 2, 3], [3, 2, 1, 0], [1, 1, 1, 2], [0, 0, 0, 0]):
        changed = problem._replace(labels=labels[order])
        delta, terms, _ = deltas(changed)
        assert_solved(changed, delta, terms, 1e-5)


def test_sizes_without_limit() -> None:
    """A size that overflows has no box deltas and infects nothing."""
    for file in CASES:
        problem, _ = golden(file)
        if problem.section.iou_loss != "mse" and not problem.section.new_coords:
            problem.raw[:, 0, ..., 2:4] = 1000
            delta = deltas(problem)[0]
            assert torch.isfinite(delta).all()
            assert not delta[:, 0, ..., :4].any()


def test_memory_layout() -> None:
    """`delta` has the memory layout of `raw`, whatever that is."""
    problem = random_problem(7)
    maps = torch.randn(2, len(problem.head.anchors) * problem.raw.shape[-1], 3, 2)
    raw = problem.head(maps.to(memory_format=torch.channels_last))
    assert deltas(problem._replace(raw=raw))[0].stride() == raw.stride()


# the gradient


def two_heads() -> tuple[list[Tensor], Tensor, SimpleNamespace, list[Problem]]:
    """Return predictions, labels and a network of two heads with other keys, and each head as a problem."""
    problems = [golden(file)[0] for file in CASES if file.stem in ("ciou-v4", "truth-thresh")]
    section = replace(problems[0].section, delta_normalizer=0.5)
    problems[0] = problems[0]._replace(section=section)
    labels = problems[0].labels
    problems[1] = problems[1]._replace(labels=labels)
    model = SimpleNamespace(
        heads=[problem.head for problem in problems],
        cfg=Cfg(NET, tuple(problem.section for problem in problems)),
    )
    return [problem.raw.clone().requires_grad_() for problem in problems], labels, model, problems


def test_the_gradient_is_darknets() -> None:
    """-delta / B times delta_normalizer, of the total times any factor; the same through each of the three terms."""
    predictions, labels, model, problems = two_heads()
    terms = darknet_loss(predictions, labels, model)
    (3 * terms.total).backward(retain_graph=True)
    for raw, problem, normalizer in zip(predictions, problems, (0.5, 1.0), strict=True):
        assert_close(raw.grad, deltas(problem)[0] * (-3 * normalizer / 2))
    gradient = torch.autograd.grad(3 * (terms.box + terms.obj + terms.cls), predictions)
    for ours, raw in zip(gradient, predictions, strict=True):
        assert_close(ours, raw.grad)


def test_terms_are_the_mean_over_heads_and_images() -> None:
    predictions, labels, model, problems = two_heads()
    with torch.no_grad():
        terms = darknet_loss(predictions, labels, model)
    found = [deltas(problem) for problem in problems]
    assert_close(torch.stack(terms[1:4]), (found[0][1] + found[1][1]) / 4)
    assert_close(terms.total, terms.box + terms.obj + terms.cls)
    assert not terms.total.requires_grad
    for k, name in enumerate(("iou", "obj", "no_obj")):
        assert_close(torch.stack(terms.printed[name]), (found[0][2] + found[1][2])[k])


def test_half_precision() -> None:
    """Predictions of mixed precision: terms in float32, gradients in the dtype of the predictions."""
    predictions, labels, model, problems = two_heads()
    half = [raw.detach().bfloat16().requires_grad_() for raw in predictions]
    terms = darknet_loss(half, labels, model)
    terms.total.backward()
    assert terms.total.dtype == torch.float32
    for raw, problem, normalizer in zip(half, problems, (0.5, 1.0), strict=True):
        exact = deltas(problem._replace(raw=raw.detach().float()))[0] * (-normalizer / 2)
        assert raw.grad is not None
        assert_close(raw.grad, exact.bfloat16(), rtol=1e-2, atol=1e-6)


def test_no_labels() -> None:
    """Background only; the box cost of no pairs is 0, not NaN."""
    predictions, labels, model, _ = two_heads()
    terms = darknet_loss(predictions, labels[:0], model)
    terms.total.backward()
    assert terms.box == terms.cls == terms.printed["iou"][1] == 0
    for raw in predictions:
        assert raw.grad is not None
        assert not raw.grad[..., [0, 1, 2, 3, 5, 6, 7, 8]].any()
        assert raw.grad[..., 4].all()


# refused


def test_refused() -> None:
    """Region heads, a wrong number of counters, wrong shapes."""
    predictions, labels, model, _ = two_heads()
    counters = replace(model.cfg.layers[0], counters_per_class=(3, 4))
    wrong = SimpleNamespace(heads=model.heads, cfg=Cfg(NET, (counters, model.cfg.layers[1])))
    with pytest.raises(ValueError, match="head 0 has 2 counters_per_class for 4 classes"):
        darknet_loss(predictions, labels, wrong)
    with pytest.raises(ValueError, match="got labels"):
        darknet_loss(predictions, labels[:, :5], model)
    net = "[net]\nwidth=32\nheight=32\nchannels=3\n[convolutional]\nfilters=6\nstride=32\n"
    region = Darknet(parse_cfg(f"{net}[region]\nclasses=1\nsoftmax=1\nanchors=1,1\n"))
    with pytest.raises(ValueError, match=r"head 0 is \[region\]; the loss supports \[yolo\] heads only"):
        darknet_loss(region(torch.rand(1, 3, 32, 32)), labels, region)


# no waiting for the device


@pytest.mark.parametrize("file", CASES, ids=lambda file: file.stem)
def test_no_value_is_read(file: Path) -> None:
    """Forward and backward with tensors that have no values, where reading one is an exception."""
    problem, _ = golden(file)
    half = problem.raw.bfloat16().requires_grad_()
    with FakeTensorMode() as mode:
        head = Head(problem.section, problem.head.strides)
        raw = mode.from_tensor(half)
        model = SimpleNamespace(heads=[head], cfg=problem.model.cfg)
        terms: DarknetTerms = darknet_loss([raw], mode.from_tensor(problem.labels), model)
        (gradient,) = torch.autograd.grad(terms.total, [raw])
    assert (gradient.shape, gradient.dtype) == (raw.shape, torch.bfloat16)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype")
@pytest.mark.parametrize("file", CASES, ids=lambda file: file.stem)
def test_nothing_waits_for_the_gpu(file: Path) -> None:
    """Forward and backward while every synchronisation is an error, and the same deltas."""
    problem, _ = golden(file)
    raw, labels = problem.raw.cuda().requires_grad_(), problem.labels.cuda()
    model = SimpleNamespace(heads=[problem.head.cuda()], cfg=problem.model.cfg)
    torch.cuda.synchronize()
    try:
        torch.cuda.set_sync_debug_mode("error")
        darknet_loss([raw], labels, model).total.backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    exact = torch.from_numpy(problem.solved().delta).float() / -2
    assert raw.grad is not None
    assert_close(raw.grad.cpu(), exact, rtol=0, atol=1e-5 * float(exact.abs().max()))
