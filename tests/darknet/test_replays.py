"""Replays of recorded passes, with a recorder for the CPU that behaves like a CUDA graph; on a GPU with real graphs."""

from __future__ import annotations

import copy
import logging
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest
import torch
from torch import Tensor

from tests.support.train_problems import tiny_cfg
from yolo.darknet import replays
from yolo.darknet.cfg import read_cfg
from yolo.darknet.inference import inference_copy
from yolo.darknet.network import Darknet
from yolo.darknet.replays import FEW, SHAPES, Pass, Replays


def double(images: Tensor) -> list[Tensor]:
    """A pass with two outputs."""
    return [images * 2.0, images.flatten(1).sum(1)]


class Recorder:
    """Records as a CUDA graph does: one input and one set of outputs, which every replay overwrites."""

    def __init__(self, refuses: str = "") -> None:
        self.shapes: list[tuple[int, ...]] = []
        self.replayed, self.refuses = 0, refuses

    def __call__(self, compute: Pass, images: Tensor) -> Pass:
        self.shapes.append(tuple(images.shape))
        if self.refuses:
            raise RuntimeError(self.refuses)
        given = images.clone()
        made = compute(given)

        def replay(images: Tensor) -> list[Tensor]:
            self.replayed += 1
            given.copy_(images)
            for buffer, value in zip(made, compute(given), strict=True):
                buffer.copy_(value)
            return [buffer.clone() for buffer in made]

        return replay


def of(images: int, seed: int = 0) -> Tensor:
    """Return images of 4 x 4 pixels."""
    return torch.rand(images, 3, 4, 4, generator=torch.Generator().manual_seed(seed))


def same(found: list[Tensor], images: Tensor) -> bool:
    """Return whether these are the outputs of `double`."""
    return all(a.equal(b) for a, b in zip(found, double(images), strict=True))


def test_first_computed_then_recorded_then_replayed() -> None:
    """Each shape on its own. What was returned before is not overwritten."""
    recorder = Recorder()
    passes = Replays(recorder)
    kept = []
    for turn, expected in enumerate([[], [(2, 3, 4, 4)], [(2, 3, 4, 4)]]):
        kept.append(passes(double, of(2, turn)))
        assert recorder.shapes == expected
    assert recorder.replayed == 2
    assert same(passes(double, of(3)), of(3))  # another shape: as usual
    assert recorder.shapes == [(2, 3, 4, 4)]
    assert all(same(found, of(2, turn)) for turn, found in enumerate(kept))


def test_other_dtypes_and_other_arithmetic_are_other_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    """uint8 images of the same size, and the same images after PyTorch's settings changed, are recorded anew."""
    recorder = Recorder()
    passes = Replays(recorder)
    for _ in range(3):
        passes(double, of(1))
        passes(double, torch.ones(1, 3, 4, 4, dtype=torch.uint8))
    assert len(recorder.shapes) == 2
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", not torch.backends.cudnn.allow_tf32)
    for _ in range(3):
        passes(double, of(1))
    assert len(recorder.shapes) == 3


def test_large_batches_are_computed() -> None:
    """A batch of more pixels than `few` is never recorded."""
    recorder = Recorder()
    passes = Replays(recorder, few=2 * 16)
    for _ in range(3):
        passes(double, of(3))
    assert not recorder.shapes
    for _ in range(3):
        passes(double, of(2))
    assert recorder.shapes == [(2, 3, 4, 4)]
    assert FEW == 16 * 416**2


def test_only_the_latest_shapes_are_kept() -> None:
    """The shape that was not used for the longest time is forgotten, and recorded again when it comes back."""
    recorder = Recorder()
    passes = Replays(recorder)
    for images in range(1, SHAPES + 1):
        passes(double, of(images))
        passes(double, of(images))
    passes(double, of(1))  # the oldest becomes the newest, so that 2 is the oldest
    passes(double, of(SHAPES + 1))
    recorder.shapes.clear()
    for images in (1, 2, 2):
        assert same(passes(double, of(images)), of(images))
    assert recorder.shapes == [(2, 3, 4, 4)]


def test_what_cannot_be_recorded_is_computed(caplog: pytest.LogCaptureFixture) -> None:
    """It is tried once for a shape, and the reason is logged."""
    recorder = Recorder(refuses="no graph today\nand many lines")
    passes = Replays(recorder)
    with caplog.at_level(logging.WARNING, "yolo"):
        for turn in range(4):
            assert same(passes(double, of(2, turn)), of(2, turn))
    assert recorder.shapes == [(2, 3, 4, 4)]
    assert caplog.messages == ["images [2, 3, 4, 4] are detected without a CUDA graph: no graph today"]


def test_threads_do_not_see_each_others_images() -> None:
    """A replay that is in progress is not disturbed by another thread."""
    inside, go = Event(), Event()

    def slow(images: Tensor) -> list[Tensor]:
        found = double(images)
        if images.flatten()[0] == 7:
            inside.set()
            go.wait(10)
        return found

    passes = Replays(Recorder())
    for _ in range(2):
        passes(slow, of(2))
    seven = of(2)
    seven.view(-1)[0] = 7
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(passes, slow, seven)
        assert inside.wait(10)
        second = pool.submit(passes, slow, of(2, 1))
        go.set()
        assert same(first.result(10), seven)
        assert same(second.result(10), of(2, 1))


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda passes: pickle.loads(pickle.dumps(passes))])
def test_copies_are_empty(copied: Callable[[Replays], Replays]) -> None:
    """A graph belongs to the buffers of one copy; a deep copy and a pickle have none."""
    passes = Replays(few=123)
    for _ in range(2):
        passes(double, of(9))
    other = copied(passes)
    assert (other._few, other._record, len(other._made)) == (123, replays.record, 0)


def test_uint8_images_are_divided_by_255(tmp_path: Path) -> None:
    """An inference copy gives the same predictions for uint8 images and for their quotients, bit for bit."""
    network = inference_copy(Darknet(read_cfg(tiny_cfg(tmp_path))))
    pixels = (torch.rand(2, 3, 64, 64) * 255).to(torch.uint8)
    for a, b in zip(network(pixels), network(pixels.float() / 255), strict=True):
        assert a.equal(b)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_graphs_on_a_gpu(dtype: torch.dtype, tmp_path: Path) -> None:
    """A replay gives the numbers of the pass itself, for several shapes in turn, inside and outside inference mode."""
    network = Darknet(read_cfg(tiny_cfg(tmp_path))).cuda()
    made = inference_copy(network, dtype)
    for turn in range(4):
        for images in (1, 3):
            pixels = (torch.rand(images, 3, 64, 64, device="cuda") * 255).to(torch.uint8)
            with torch.inference_mode(turn % 2 == 1):
                found = made(pixels)
            for a, b in zip(found, made.compute(pixels), strict=True):
                torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
    assert sum(one is not None for one in made.replays._made.values()) == 2
