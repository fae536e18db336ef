"""The inference copy: every layer kind, prepacked or not, in both precisions; the effect of bfloat16 on detections."""

from __future__ import annotations

import copy
import logging
import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.ops import box_iou

from tests.support.golden_nets import CASES, golden_network
from tests.support.load import load_yolo
from tests.support.paths import ROOT
from yolo.boxes import Detections
from yolo.darknet import inference as fold
from yolo.darknet.cfg import parse_cfg, read_cfg
from yolo.darknet.inference import FoldedConv, PackedConv, inference_copy, resolve_precision
from yolo.darknet.layers import ConvBlock
from yolo.darknet.network import Darknet
from yolo.options.detection import Filter

DATA = ROOT / ".." / "shared" / "data"
needs_shared = pytest.mark.skipif(
    not DATA.is_dir(), reason="../shared/data is absent: bf16 not tried on trained models"
)
needs_packing = pytest.mark.skipif(
    not fold.can_prepack(torch.float32), reason="no prepacked convolutions in this PyTorch or on this CPU"
)


def toy() -> Darknet:
    torch.manual_seed(0)
    return Darknet(read_cfg("toy.cfg")).eval()


def close(found: list[Tensor], expected: list[Tensor], dtype: torch.dtype = torch.float32) -> None:
    """Equal to 1e-4; in bfloat16 the root mean square of the difference is at most a tenth of the values'."""
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == torch.float32
        assert a.shape == b.shape
        if dtype == torch.bfloat16:
            assert float((a - b).norm()) <= 0.1 * float(b.norm())
        else:
            torch.testing.assert_close(a, b.detach(), rtol=1e-4, atol=1e-4)


def kinds(network: Darknet) -> set[type[nn.Module]]:
    """Return the classes of the modules that compute convolutions."""
    return {type(layer) for layer in network.layers} & {ConvBlock, FoldedConv, PackedConv}


@pytest.mark.parametrize("prepack", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_layer_kind(case: Path, dtype: torch.dtype, prepack: bool) -> None:
    """Groups, depthwise, dilation, strides, every activation, one channel, odd sizes: the network's own predictions."""
    network, images = golden_network(case), torch.from_numpy(np.load(case / "input.npy"))
    with torch.inference_mode():
        expected = network(images)
    found = inference_copy(network, dtype, prepack=prepack)(images)
    close(found, expected, dtype)


@needs_packing
def test_convolutions_are_prepacked_on_a_cpu() -> None:
    """With `prepack=False` they are not."""
    assert kinds(inference_copy(toy())) == {PackedConv}
    assert kinds(inference_copy(toy(), prepack=False)) == {FoldedConv}
    assert inference_copy(toy()).layers[0].post_op == ("leaky_relu", [pytest.approx(0.1)])


@needs_packing
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_other_shapes_are_packed_anew(dtype: torch.dtype) -> None:
    """Sizes and batch sizes may change from call to call, back and forth, an empty batch among them."""
    network = toy()
    if not fold.can_prepack(dtype):
        pytest.skip(f"no prepacked {dtype} convolutions on this CPU")
    packed, plain = inference_copy(network, dtype), inference_copy(network, dtype, prepack=False)
    for b, h, w in [(1, 64, 64), (3, 64, 64), (1, 96, 32), (0, 64, 64), (1, 64, 64), (2, 160, 160)]:
        images = torch.rand(b, 3, h, w)
        close(packed(images), plain(images), dtype)
        conv = packed.layers[0]
        assert isinstance(conv, PackedConv)
        assert conv.packed[0] == (images.shape, torch.get_num_threads())
        assert [raw.shape[0] for raw in packed(images)] == [b, b, b]


@needs_packing
def test_another_number_of_threads_is_packed_anew() -> None:
    """The best order for one thread is slow for two, and the other way round; the predictions are the same."""
    network, images, before = toy(), torch.rand(1, 3, 64, 64), torch.get_num_threads()
    packed, plain = inference_copy(network), inference_copy(network, prepack=False)
    conv = packed.layers[0]
    assert isinstance(conv, PackedConv)
    try:
        for threads in (1, 2, 1):
            torch.set_num_threads(threads)
            close(packed(images), plain(images))
            assert conv.packed[0] == (images.shape, threads)
    finally:
        torch.set_num_threads(before)


@pytest.fixture
def fresh() -> Iterator[None]:
    """`can_prepack` tries again, in the test and after it."""
    fold.can_prepack.cache_clear()
    yield
    fold.can_prepack.cache_clear()


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize("fault", ["missing", "wrong", "refused"])
def test_without_the_internal_operators(
    fault: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Operators that are missing, changed or compute something else: ordinary convolutions, and a line in the log."""
    caplog.set_level(logging.INFO, "yolo.darknet.inference")
    network = toy()

    def broken(self: PackedConv, x: Tensor) -> Tensor:
        if fault == "missing":
            return torch.ops.mkldnn.no_such_operator(x)
        if fault == "refused":
            raise RuntimeError("could not create a primitive descriptor")
        return x.new_zeros(2, 8, 5, 5)

    monkeypatch.setattr(PackedConv, "forward", broken)
    folded = inference_copy(network)
    assert kinds(folded) == {FoldedConv}
    assert "no prepacked torch.float32 convolutions" in caplog.text
    images = torch.rand(1, 3, 64, 64)
    close(folded(images), network(images))


@pytest.mark.parametrize("prepack", [True, False])
def test_the_copy_shares_nothing_with_the_network(prepack: bool) -> None:
    """Weights that change later, biases of heads included, do not reach the copy; its modules are its own."""
    network = toy()
    folded = inference_copy(network, prepack=prepack)
    images = torch.rand(1, 3, 64, 64)
    before = [raw.clone() for raw in folded(images)]
    with torch.no_grad():
        for tensor in (*network.parameters(), *network.buffers()):
            tensor.mul_(0)
    assert all(a.equal(b) for a, b in zip(folded(images), before, strict=True))
    assert not {id(module) for module in folded.modules()} & {id(module) for module in network.modules()}
    assert not any(parameter.requires_grad for parameter in folded.parameters())
    assert all(parameter.requires_grad for parameter in network.parameters())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_copies_and_pickles(dtype: torch.dtype) -> None:
    """Before and after the first call; loader workers may get a detector that has detected."""
    folded = inference_copy(toy(), dtype)
    images = torch.rand(1, 3, 64, 64)
    early = copy.deepcopy(folded)
    expected = folded(images)
    for other in (early, copy.deepcopy(folded), pickle.loads(pickle.dumps(folded))):
        assert all(a.equal(b) for a, b in zip(other(images), expected, strict=True))


def test_images_of_any_floating_type_and_layout() -> None:
    """float32, bfloat16, float64, channels_last or not; a size that does not go through is still named."""
    network = toy()
    folded = inference_copy(network, torch.bfloat16)
    images = torch.rand(1, 3, 64, 64).bfloat16()
    expected = folded(images)
    for other in (images.float(), images.double(), images.contiguous(memory_format=torch.channels_last)):
        assert all(a.equal(b) for a, b in zip(folded(other), expected, strict=True))
    with pytest.raises(ValueError, match=r"\[route\] \(layer 24\)"):
        folded(torch.rand(1, 3, 100, 96))
    with pytest.raises(ValueError, match="got torch.float16; expected torch.float32 or torch.bfloat16"):
        inference_copy(network, torch.float16)


def test_random_numbers_are_not_consumed() -> None:
    """Detecting within training does not change what the training draws."""
    network = toy()
    state = torch.get_rng_state()
    fold.can_prepack.cache_clear()
    inference_copy(network)(torch.ones(1, 3, 64, 64))
    assert torch.get_rng_state().equal(state)


def test_relie_keeps_its_own_slope() -> None:
    """Leaky with another slope than 0.1."""
    text = "[net]\nwidth=8\nheight=8\nchannels=3\n[convolutional]\nfilters=2\nsize=1\nactivation=relie\n"
    text += "[convolutional]\nfilters=6\nsize=1\nactivation=linear\n[yolo]\nmask=0\nanchors=4,4\nclasses=1\n"
    torch.manual_seed(0)
    network = Darknet(parse_cfg(text, "relie.cfg")).eval()
    images = torch.rand(1, 3, 8, 8)
    close(inference_copy(network)(images), network(images))


def test_resolve_precision() -> None:
    """`auto` is fp32, whatever the device can do."""
    assert [resolve_precision(name) for name in ("auto", "fp32", "bf16")] == [
        torch.float32,
        torch.float32,
        torch.bfloat16,
    ]
    with pytest.raises(ValueError, match="got the precision 'fp16'; expected auto, fp32 or bf16"):
        resolve_precision("fp16")


def disagreements(fp32: Detections, bf16: Detections, threshold: float) -> list[str]:
    """Boxes that the other does not have (same class, IoU >= 0.95, score within 0.02), by descending score.

    Left out: boxes of fp32 within 0.02 of the threshold, and boxes of bf16 that pair with one of those. So give it
    those of fp32 down to 0.02 below the threshold.
    """
    free, problems = set(range(len(bf16))), []
    overlaps = box_iou(fp32.boxes, bf16.boxes)
    for k in range(len(fp32)):
        score = float(fp32.scores[k])
        same = [m for m in free if fp32.labels[k] == bf16.labels[m] and overlaps[k, m] >= 0.5]
        best = max(same, key=lambda m: float(overlaps[k, m]), default=None)
        free -= {best}
        if abs(score - threshold) <= 0.02:
            continue
        if best is None:
            problems.append(f"missing: {score:.3f}")
        elif overlaps[k, best] < 0.95 or abs(float(bf16.scores[best]) - score) > 0.02:
            problems.append(f"{score:.3f} became {bf16.scores[best]:.3f}, IoU {overlaps[k, best]:.3f}")
    return problems + [f"extra: {bf16.scores[m]:.3f}" for m in sorted(free)]


def test_disagreements_are_found() -> None:
    """The measure itself: equal, moved, rescored, missing, extra, and near the threshold."""
    boxes = torch.tensor([[0.0, 0, 100, 100], [200, 0, 300, 100]])
    one = Detections(boxes, torch.tensor([0.9, 0.5]), torch.tensor([1, 2]))
    assert disagreements(one, one, 0.25) == []
    moved = replace(one, boxes=boxes + torch.tensor([0.0, 0, 10, 0]))
    assert disagreements(one, moved, 0.25) == ["0.900 became 0.900, IoU 0.909", "0.500 became 0.500, IoU 0.909"]
    assert disagreements(one, replace(one, scores=torch.tensor([0.9, 0.53])), 0.25) == ["0.500 became 0.530, IoU 1.000"]
    assert disagreements(one, replace(one, labels=torch.tensor([1, 3])), 0.25) == ["missing: 0.500", "extra: 0.500"]
    assert disagreements(one, replace(one, labels=torch.tensor([1, 3])), 0.49) == ["extra: 0.500"]


@needs_shared
@pytest.mark.parametrize(
    ("model", "letterbox"),
    [("yolo-fastest-1.1", True), ("yolo-fastest-1.1-xl", False)],
    ids=["letterbox", "xl-stretch"],
)
def test_bf16_moves_boxes_of_trained_models(model: str, letterbox: bool) -> None:
    """Why `auto` is fp32 on a CPU: in each of these runs over five images bf16 disagrees with fp32.

    If this fails because bf16 has come to agree everywhere, reconsider `resolve_precision`. What bf16 is allowed
    here: nine in ten confident boxes (0.5 and more) are found again at an IoU of 0.8.
    """
    files = (DATA / "darknet" / f"{model}.cfg", DATA / "darknet" / f"{model}.weights")
    detector = load_yolo(*files, device="cpu", letterbox=letterbox)
    images = sorted((DATA / "samples").glob("*.jpg"))[:5]
    threshold = Filter().confidence
    found = {}
    for precision, confidence in (("fp32", threshold - 0.02), ("bf16", threshold)):
        one, options = detector.replace(precision=precision), Filter(confidence=confidence)
        found[precision] = [one.detect(image, options) for image in images]
    problems, judged, confident, kept = [], 0, 0, 0
    for a, b in zip(found["fp32"], found["bf16"], strict=True):
        problems += disagreements(a, b, threshold)
        judged += int((a.scores > threshold + 0.02).sum())
        overlaps = box_iou(a.boxes, b.boxes) * (a.labels[:, None] == b.labels)
        for k in range(int((a.scores >= 0.5).sum())):
            confident += 1
            kept += bool((overlaps[k] >= 0.8).any())
    print(
        f"{model}: {judged} boxes, {confident} confident, {kept} kept, {len(problems)} disagree:", *problems, sep="\n"
    )
    assert confident > 10
    assert kept >= 0.9 * confident
    assert problems
