"""Detection uses the weights as they are, however they were written; the caller's arithmetic; many threads at once."""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.support.load import load_yolo
from yolo.boxes import Detections
from yolo.darknet import current_copy
from yolo.darknet.cfg import parse_cfg
from yolo.darknet.inference import inference_copy
from yolo.darknet.layers import ConvBlock
from yolo.darknet.network import Darknet
from yolo.darknet.weights import save_weights
from yolo.models.yolo import YoloDetector
from yolo.options.detection import Filter
from yolo.size import Size

TEXT = """[net]
width=64
height=64
channels=3
[convolutional]
batch_normalize=1
filters=8
size=3
stride=4
pad=1
activation=leaky
[convolutional]
filters=18
size=1
activation=linear
[yolo]
mask=0,1,2
anchors=10,13, 16,30, 33,23
classes=1
num=3
"""

ALL = Filter(confidence=0.0, nms=1.0)
IMAGE = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)


def loaded(folder: Path) -> YoloDetector:
    """Return a detector from a cfg and a weights file, as users load it."""
    (folder / "a.cfg").write_text(TEXT)
    torch.manual_seed(0)
    save_weights(Darknet(parse_cfg(TEXT)), folder / "a.weights")
    return load_yolo(folder / "a.cfg", folder / "a.weights", device="cpu")


def block(network: Darknet) -> ConvBlock:
    """Return the first convolution of the network."""
    layer = network.layers[0]
    assert isinstance(layer, ConvBlock)
    return layer


def bn(network: Darknet) -> nn.BatchNorm2d:
    """Return the first batch norm of the network."""
    found = block(network).bn
    assert found is not None
    return found


def fused_step(network: Darknet) -> None:
    """Make an optimizer step within one kernel, which leaves the versions of the parameters as they are."""
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0, fused=True)
    torch.stack([raw.square().mean() for raw in network(torch.rand(1, 3, 64, 64))]).sum().backward()
    optimizer.step()


def through_numpy(network: Darknet) -> None:
    """Write into the memory of a parameter."""
    block(network).conv.weight.detach().numpy()[...] *= 2


def set_statistics(network: Darknet) -> None:
    """Give batch norm another tensor of variances."""
    bn(network).running_var = torch.full((8,), 0.25)


def other_activation(network: Darknet) -> None:
    """Replace a module without weights."""
    block(network).activation = nn.Identity()


def frozen_write(network: Darknet) -> None:
    """Write a parameter that cannot be trained, in evaluation mode."""
    network.eval().requires_grad_(False)
    block(network).conv.weight.data.mul_(2)


WRITES: list[Callable[[Darknet], object]] = [
    fused_step,
    lambda network: block(network).conv.weight.data.mul_(2),
    through_numpy,
    lambda network: setattr(bn(network), "eps", 0.5),
    lambda network: bn(network).running_mean.add_(0.5),  # type: ignore[union-attr]
    set_statistics,
    other_activation,
    frozen_write,
    lambda network: setattr(block(network).activation, "negative_slope", 0.5),
]


@pytest.mark.parametrize("early", [True, False], ids=["network asked for before", "and after the first detection"])
@pytest.mark.parametrize("write", WRITES)
def test_every_write_counts(tmp_path: Path, write: Callable[[Darknet], object], early: bool) -> None:
    """PyTorch's versions show none of these writes; the next detection has the scores of the new weights."""
    detector = loaded(tmp_path)
    network = detector.network if early else None
    before = detector.detect(IMAGE, ALL).scores
    assert detector.detect(IMAGE, ALL).scores.equal(before)
    write(network or detector.network)
    after = detector.detect(IMAGE, ALL).scores
    assert not after.equal(before)
    assert after.equal(YoloDetector(detector.network, detector.names).detect(IMAGE, ALL).scores)
    assert detector.replace(letterbox=False).detect(IMAGE, ALL).scores.equal(after), "the image is square"


def test_a_detector_that_shares_the_network(tmp_path: Path) -> None:
    """A write through one detector reaches the others that `replace` made of it, before and after."""
    first = loaded(tmp_path)
    second = first.replace(letterbox=False)
    before = first.detect(IMAGE, ALL).scores
    assert second.detect(IMAGE, ALL).scores.equal(before)
    block(second.network).conv.weight.data.mul_(2)
    assert not first.detect(IMAGE, ALL).scores.equal(before)
    assert first.detect(IMAGE, ALL).scores.equal(second.detect(IMAGE, ALL).scores)
    twin = pickle.loads(pickle.dumps(copy.deepcopy(first)))
    assert twin.detect(IMAGE, ALL).scores.equal(first.detect(IMAGE, ALL).scores)


def test_the_copy_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For a loaded detector, and for one whose network was handed out but not written; again after a write."""
    made = []

    def counted(network: Darknet, dtype: torch.dtype) -> Darknet:
        made.append(dtype)
        return inference_copy(network, dtype)

    monkeypatch.setattr(current_copy, "inference_copy", counted)
    detector = loaded(tmp_path)
    for _ in range(3):
        detector.detect(IMAGE)
        detector.replace(size=Size(32, 32)).detect(IMAGE)
    assert made == [torch.float32]
    network = detector.network.train()
    for _ in range(3):
        detector.detect(IMAGE)
    assert made == [torch.float32] * 2
    through_numpy(network)
    for _ in range(3):
        detector.detect(IMAGE)
    assert made == [torch.float32] * 3


@pytest.mark.parametrize("exact", [False, True])
def test_autocast_around_a_detection(tmp_path: Path, exact: bool) -> None:
    """The caller's bfloat16 changes neither the copy that is made within it nor its results."""
    expected = loaded(tmp_path).replace(exact=exact).detect(IMAGE, ALL)
    detector = loaded(tmp_path).replace(exact=exact)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = detector.detect(IMAGE, ALL)
        assert torch.is_autocast_enabled("cpu")
    for got in (found, detector.detect(IMAGE, ALL)):
        assert got.scores.equal(expected.scores)
        assert got.boxes.equal(expected.boxes)


def test_four_threads_on_one_detector(tmp_path: Path) -> None:
    """Each with its own size and thresholds: the results of one thread alone, to the last bit."""
    detector = loaded(tmp_path)
    kinds = [(Size(64, 64), 0.2), (Size(32, 96), 0.25), (Size(96, 64), 0.15), (Size(64, 32), 0.1)]
    parts = [(detector.replace(size=size), Filter(confidence=confidence)) for size, confidence in kinds]
    images = [np.random.default_rng(k).integers(0, 256, (50, 70, 3), dtype=np.uint8) for k in range(5)]
    expected = [[one.detect(image, options) for image in images] for one, options in parts]
    assert all(len(found) for row in expected for found in row)
    found: list[list[Detections]] = [[] for _ in parts]
    start = threading.Barrier(4)

    def work(k: int) -> None:
        one, options = parts[k]
        start.wait()
        found[k] += [one.detect(images[n % 5], options) for n in range(25)]

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for k, row in enumerate(found):
        assert len(row) == 25
        for n, one in enumerate(row):
            assert one.boxes.equal(expected[k][n % 5].boxes)
            assert one.scores.equal(expected[k][n % 5].scores)
            assert one.labels.equal(expected[k][n % 5].labels)
