"""From samples to batches: boxes stay on their objects, randomness comes from seed, epoch and image alone."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torchvision.transforms import v2

from tests.support import warm
from tests.support.many import examples
from yolo.data.cache import Cached
from yolo.data.colour import colour_matrix, recolour, recolouring
from yolo.data.datasets import open_data
from yolo.data.loader import Batch, Loader, collate
from yolo.data.mosaic import BLOCK, Recent, partners, quarters
from yolo.data.order import Draw, InOrder, Order, Shuffled, chance
from yolo.data.sample import Sample, Target
from yolo.data.sampler import Batches
from yolo.data.transforms import Augmented, Preview
from yolo.data.warp import Warp, clipped
from yolo.detection.labels import pack_labels
from yolo.images.files import write_image
from yolo.images.placement import Placement
from yolo.images.resize import place
from yolo.options.aliases import renamed
from yolo.options.augment import PLAIN, Augment
from yolo.size import Size
from yolo.training.batches import loader_threads

SIZE = Size(96, 160)  # h, w: not square
EVERYTHING = Augment(mosaic=0.5, mixup=0.3, multi_scale=1.5, translate=0.2)
MARKER = (255, 0, 0)


def sample_of(pixels: np.ndarray, boxes: Sequence[Sequence[float]], number: int = 0) -> Sample:
    """Return an image and its boxes xyxy, of classes 0, 1, ...; the fourth is a crowd."""
    corners = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    count = len(corners)
    target = Target(
        boxes=corners,
        labels=torch.arange(count),
        image_id=number,
        iscrowd=torch.arange(count) == 3,
        area=(corners[:, 2:] - corners[:, :2]).prod(1) / 2,
        size=Size.of(pixels),
    )
    return torch.from_numpy(pixels).permute(2, 0, 1), target


class Drawn:
    """Images of one colour and different sizes, each with a marker rectangle where its box is; some have no box."""

    def __init__(self, images: int, seed: int = 0, empty: bool = True) -> None:
        self.names = ["a", "b", "c", "d"]
        self.samples = []
        self.read = 0
        for k in range(images):
            random = np.random.default_rng([seed, k])
            h, w = random.integers(40, 300, 2).tolist()
            pixels = np.full((h, w, 3), (0, 0, 40 + k % 150), np.uint8)
            boxes = []
            if not (empty and k % 5 == 4):
                x, y = int(random.integers(0, w - 20)), int(random.integers(0, h - 20))
                right, bottom = int(random.integers(x + 16, w + 1)), int(random.integers(y + 16, h + 1))
                pixels[y:bottom, x:right] = MARKER
                boxes = [[x, y, right, bottom]]
            self.samples.append(sample_of(pixels, boxes, k))

    def __len__(self) -> int:
        return len(self.samples)

    def path(self, k: int) -> Path:
        return Path(f"{k}.png")

    def sample(self, k: int) -> Sample:
        self.read += 1
        return self.samples[k]


def marker(image: Tensor) -> Tensor:
    """Return the pixels `[h, w]` that are more than half marker: red, not blue or grey."""
    return image[0].int() - image[1].int() > 127


def marked(image: Tensor, window: tuple[int, int, int, int]) -> tuple[int, int, int, int] | None:
    """Return the smallest box around the marker pixels in a window (left, top, right, bottom)."""
    left, top, right, bottom = window
    ys, xs = torch.nonzero(marker(image)[top:bottom, left:right], as_tuple=True)
    if len(xs) == 0:
        return None
    return left + int(xs.min()), top + int(ys.min()), left + int(xs.max()) + 1, top + int(ys.max()) + 1


@examples(50)
@given(
    seed=st.integers(0, 2**31),
    flip=st.sampled_from([0.0, 1.0]),
    scale=st.floats(1, 4),
    translate=st.floats(0, 0.6),
    size=st.sampled_from([(96, 160), (160, 96), (64, 64), (608, 416)]),
    letterbox=st.booleans(),
)
def test_boxes_stay_on_their_pixels(
    seed: int, flip: float, scale: float, translate: float, size: tuple[int, int], letterbox: bool
) -> None:
    """Stretched or not, mirrored, scaled, moved: the box is that of the marker pixels, within a pixel, and clipped."""
    data = Drawn(1, seed)
    options = Augment(flip=flip, scale=scale, translate=translate, hue=0, saturation=1, value=1)
    image, target = Augmented(data, options, seed=seed, letterbox=letterbox)[Draw(0, 0, Size(*size))]
    assert image.shape == (3, *size)
    shown = marked(image, (0, 0, size[1], size[0]))
    boxes = target["boxes"].as_subclass(Tensor)
    if len(boxes):
        assert shown is not None
        assert (boxes[0] - torch.tensor(shown)).abs().max() <= 1
        assert (boxes[:, :2] >= 0).all()
        assert (boxes[:, 2:] <= torch.tensor(size[::-1])).all()
    elif shown is not None:  # dropped: at most a fifth of the object is left, or it is two pixels thin
        whole = data.samples[0][1]["boxes"][0]
        factors = size[0] / data.sample(0)[0].shape[1], size[1] / data.sample(0)[0].shape[2]
        factor = (min(factors) ** 2 if letterbox else factors[0] * factors[1]) / scale**2
        least = 0.2 * float((whole[2] - whole[0]) * (whole[3] - whole[1])) * factor
        w, h = shown[2] - shown[0], shown[3] - shown[1]
        assert min(w, h) <= 3 or (w - 1) * (h - 1) <= least * scale**4


@examples(30)
@given(seed=st.integers(0, 2**31), size=st.sampled_from([(96, 160), (320, 320), (416, 608)]), letterbox=st.booleans())
def test_boxes_of_a_mosaic(seed: int, size: tuple[int, int], letterbox: bool) -> None:
    """Four images with one marker each: every box is that of the markers in its quarter, within one pixel."""
    data = Drawn(4, seed, empty=False)
    options = Augment(mosaic=1, hue=0, saturation=1, value=1)
    image, target = Augmented(data, options, seed=seed, letterbox=letterbox)[Draw(3, 1, Size(*size))]
    boxes = target["boxes"].as_subclass(Tensor)
    random = chance(seed, 3, 1)
    random.random()  # whether it is a mosaic, and with which images
    assert len(partners(random, Draw(3, 1, Size(*size)), 4, seed)) == 3
    owned = 0
    for window in quarters(random, Size(*size)):
        left, top, right, bottom = window
        inside = (boxes >= torch.tensor([left, top] * 2)).all(1) & (boxes <= torch.tensor([right, bottom] * 2)).all(1)
        shown = marked(image, window)
        owned += int(inside.sum())
        if inside.any():
            assert shown is not None
            assert (boxes[inside] - torch.tensor(shown)).abs().max() <= 1
    assert owned == len(boxes) <= 4


def test_a_stretched_warp_by_hand() -> None:
    """An image of 4 x 2 covers an input of 8 x 8; each side is shrunk as often as it needs, by averaging."""
    warp = Warp.fit(Size(2, 4), Size(8, 8), shape=Size(8, 8))
    assert warp[:2] == ((0, 0, 4, 2), (0, 0, 8, 8))
    assert warp.scale == (2, 4)
    stripes = np.zeros((16, 64, 3), np.uint8)
    stripes[::2] = 200  # rows that only averaging would lose; columns are four times as many as needed
    canvas = np.empty((16, 16, 3), np.uint8)
    Warp.fit(Size(16, 64), Size(16, 16), shape=Size(16, 16)).pixels(stripes, canvas)
    assert (canvas == stripes[:, :16]).all()


def test_warp_by_hand() -> None:
    """An image of 4 x 2 in an input of 8 x 8: twice as large, 2 pixels from the top; mirrored, x becomes 8 - x."""
    warp = Warp.fit(Size(2, 4), Size(8, 8))
    assert warp[:3] == ((0, 0, 4, 2), (0, 2, 8, 6), False)
    assert warp.scale == (2, 2)
    assert warp.boxes(np.array([[1.0, 0, 3, 2]])).tolist() == [[2, 2, 6, 6]]
    mirrored = Warp.fit(Size(2, 4), Size(8, 8), mirrored=True, move=(1, 0))
    assert mirrored[:3] == ((0, 0, 4, 2), (1, 2, 8, 6), True)  # 3.5 pixels are seen, which rounds to 4
    assert mirrored.boxes(np.array([[0.0, 0, 1, 2]])).tolist() == [[6.25, 2, 8, 6]]
    outside = Warp.fit(Size(2, 4), Size(8, 8), move=(20, 0))
    assert outside.target[0] == outside.target[2]
    assert warp.boxes(np.zeros((0, 4))).shape == (0, 4)
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    canvas = np.empty((2, 4, 3), np.uint8)
    Warp.fit(Size(2, 4), Size(2, 4)).pixels(image, canvas)
    assert np.array_equal(canvas, image)
    Warp.fit(Size(2, 4), Size(2, 4), mirrored=True).pixels(image, canvas)
    assert np.array_equal(canvas, image[:, ::-1])


def test_a_thin_image_and_an_image_at_the_edge() -> None:
    """An image of one visible row or column is drawn: halving leaves at least one pixel."""
    for image, zoom, move in ((Size(8, 4000), 1.0, (0.0, 0.3)), (Size(3437, 442), 0.35, (-216.8, -147.5))):
        warp = Warp.fit(image, Size(416, 416), zoom=zoom, move=move)
        x0, y0, x1, y1 = warp.source
        assert min(x1 - x0, y1 - y0) == 1
        canvas = np.empty((416, 416, 3), np.uint8)
        warp.pixels(np.full((*image, 3), 7, np.uint8), canvas)
        u0, v0, u1, v1 = warp.target
        assert u1 > u0
        assert (canvas[v0:v1, u0:u1] == 7).all()


def test_shrinking_averages() -> None:
    """A fine pattern shrunk to a tenth of its size becomes grey, not noise."""
    pattern = np.indices((400, 400)).sum(0) % 2 * 255
    image = np.repeat(pattern[..., None], 3, axis=2).astype(np.uint8)
    canvas = np.empty((40, 40, 3), np.uint8)
    Warp.fit(Size(400, 400), Size(40, 40)).pixels(image, canvas)
    assert canvas.min() >= 120
    assert canvas.max() <= 135


@pytest.mark.parametrize(
    ("box", "kept"),
    [
        ((0, 0, 10, 10), True), ((-80, 0, 20, 10), True), ((-81, 0, 19, 10), False), ((-8, 0, 2, 10), True),
        ((-4, 0, 1, 9), False), ((5, 5, 6, 6), True), ((5, 5, 5, 9), False), ((200, 5, 220, 9), False),
    ],
)  # fmt: skip
def test_which_clipped_boxes_are_kept(box: tuple[float, ...], kept: bool) -> None:
    """A fifth of the area and two pixels must be left. A thinner box can be kept, one without area is not."""
    cut, keep = clipped(np.array([box], dtype=np.float64), (0, 0, 100, 50))
    assert keep.tolist() == [kept]
    assert (cut >= 0).all()
    assert (cut <= [100, 50, 100, 50]).all()


def test_without_augmentation_it_is_what_detection_sees() -> None:
    """In plain epochs the pixels are those of `images.resize.place` bit for bit; the boxes have the same placement."""
    data = Drawn(6)
    for augmented, epoch in (
        (Augmented(data), 0),
        (Augmented(data, Augment(last_plain=2), epochs=5), 3),
        (Augmented(data, Augment(last_plain=2), epochs=5), 4),
    ):
        for k in range(len(data)):
            image, target = augmented[Draw(epoch, k, SIZE)]
            pixels = data.sample(k)[0].permute(1, 2, 0).numpy()
            placement = Placement.letterbox(Size.of(pixels), SIZE)
            assert np.array_equal(image.permute(1, 2, 0).numpy(), place(pixels, placement))
            boxes = data.sample(k)[1]["boxes"].as_subclass(Tensor)
            assert target["boxes"].as_subclass(Tensor).allclose(placement.to_input(boxes), atol=1e-4)
            assert target["image_id"] == k
    assert not Augmented(data, Augment(last_plain=2), epochs=5).is_plain(2)
    assert not torch.equal(
        Augmented(data, Augment(), epochs=5)[Draw(4, 0, SIZE)][0], Augmented(data)[Draw(4, 0, SIZE)][0]
    )


def test_the_last_epochs_are_plain_in_size_too() -> None:
    """Their batches have the input size of detection; it is an error if all epochs would be plain."""
    batches = Batches(60, 2, (416, 416), options=Augment(multi_scale=1.5, last_plain=2), epochs=5)
    sizes = [{batch[0].size for batch in batches.epoch(epoch)} for epoch in range(5)]
    assert [len(some) > 1 for some in sizes] == [True, True, True, False, False]
    assert sizes[3] | sizes[4] == {(416, 416)}
    for epochs in (0, 2):
        with pytest.raises(ValueError, match=f"last_plain=2 of {epochs} epochs: expected fewer than there are"):
            Augmented(Drawn(1), Augment(last_plain=2), epochs=epochs)


def test_colours() -> None:
    """Grey remains grey; a third of a turn takes red away; without saturation only the brightness is left."""
    colours = np.array([[(200, 20, 20), (90, 90, 90), (10, 60, 250)]], dtype=np.uint8)

    def changed(*how: float) -> np.ndarray:
        pixels = colours.copy()
        recolour(pixels, recolouring(*how))
        return pixels[0]

    assert np.array_equal(changed(0, 1, 1), colours[0])
    turned = changed(2 * np.pi / 3, 1, 1)
    assert turned[1].tolist() == [90, 90, 90]
    assert turned[0].argmax() != 0
    assert np.allclose(changed(2 * np.pi, 1, 1), colours[0], atol=1)
    grey = changed(1, 0, 1)
    assert np.ptp(grey, axis=1).max() <= 1
    assert abs(int(grey[0, 0]) - (0.299 * 200 + 0.587 * 20 + 0.114 * 20)) <= 1
    assert changed(0, 1, 1.5)[1].tolist() == [135, 135, 135]
    assert changed(0, 1, 2)[0, 0] == 255  # clipped
    assert colour_matrix(np.random.default_rng(0), PLAIN) is None
    matrices = [colour_matrix(np.random.default_rng(k), Augment()) for k in range(60)]
    brightness = np.array([matrix.sum() / 3 for matrix in matrices if matrix is not None])  # of grey
    assert 1 / 1.5 <= brightness.min() < 0.75
    assert 1.35 < brightness.max() <= 1.5


def test_the_images_of_the_data_are_not_changed() -> None:
    """Nothing is drawn into an image that is used again."""
    data = Drawn(8)
    before = [image.clone() for image, _ in data.samples]
    augmented = Augmented(data, EVERYTHING)
    for epoch in range(3):
        for k in range(8):
            augmented[Draw(epoch, k, SIZE)]
    assert all(torch.equal(image, old) for (image, _), old in zip(data.samples, before, strict=True))


def equal(a: Batch, b: Batch) -> bool:
    """Return whether images and targets are equal bit for bit."""
    return a.images.equal(b.images) and all(
        s["image_id"] == t["image_id"]
        and all(torch.equal(s[key], t[key]) for key in ("boxes", "labels", "iscrowd", "area"))
        for s, t in zip(a.targets, b.targets, strict=True)
    )


def loader(workers: int, epoch: int = 0, position: int = 0, threads: int = 1, keep: int = 0) -> Loader:
    """Return a loader of 18 images in batches of 4 with all augmentation, at that position of that epoch."""
    data = Drawn(18)
    batches = Batches(len(data), 4, SIZE, seed=7, options=EVERYTHING)
    found = Loader(Augmented(data, EVERYTHING, seed=7, keep=keep), batches, workers=workers, threads=threads)
    found.load_state_dict(found.state_dict() | {"epoch": epoch, "position": position})
    return found


@pytest.mark.filterwarnings("ignore:This DataLoader will create 3 worker processes")  # on a machine of two cores
@pytest.mark.parametrize("workers", [1, 3])
def test_workers_do_not_matter(workers: int) -> None:
    """The batches of two epochs are the same with 0, 1 and 3 worker processes, and differ between the epochs."""
    same_batches(loader(0), loader(workers))


@pytest.mark.parametrize(("threads", "keep"), [(2, 0), (5, 0), (1, 1 << 30), (3, 1 << 30), (3, 99_999)])
def test_threads_and_kept_images_do_not_matter(threads: int, keep: int) -> None:
    """Nor do threads, more of them than images of a batch, and images that stay decoded, all of them or a few."""
    same_batches(loader(0), loader(0, threads=threads, keep=keep))


def same_batches(here: Loader, there: Loader) -> None:
    """Assert that two loaders yield equal batches in two epochs, which differ from each other."""
    for epoch in (0, 1):
        assert here.epoch == there.epoch == epoch
        pairs = list(zip(here, there, strict=True))
        assert len(pairs) == len(here) == 5
        assert all(equal(a, b) for a, b in pairs)
        if epoch == 0:
            first = pairs[0][0]
    assert not equal(first, pairs[0][0])


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("position", [0, 1, 3, 5])
def test_a_restart_continues_with_the_next_batch(position: int, workers: int) -> None:
    """After any batch, a new loader with the old state yields the rest, whatever workers had made ahead."""
    expected = list(loader(0, epoch=2))
    stopped = loader(workers, epoch=2)
    state = stopped.state_dict()
    for _, _batch in zip(range(position), stopped, strict=False):
        state = stopped.state_dict()
    assert (state["epoch"], state["position"]) == (2, position)
    resumed = loader(workers)
    resumed.load_state_dict(state)
    rest = list(resumed)
    assert len(rest) == len(expected) - position
    assert all(equal(a, b) for a, b in zip(rest, expected[position:], strict=True))


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"batch_size": 5}, "saved with batch_size 4, here 5; expected the same"),
        ({"seed": 8}, "saved with seed 7, here 8"),
        ({"shuffle": False}, "saved with shuffle 1, here 0"),
    ],
)
def test_a_restart_with_other_batches_is_refused(other: dict[str, int], message: str) -> None:
    """The rest of the epoch would repeat images and miss others."""
    state = loader(0).state_dict()
    options = {"images": 18, "batch_size": 4, "seed": 7} | other
    resumed = Loader(Augmented(Drawn(18)), Batches(size=SIZE, **options))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=message):
        resumed.load_state_dict(state)
    with pytest.raises(ValueError, match="saved with batch 99 of 5"):
        loader(0).load_state_dict(state | {"position": 99})


@dataclass(frozen=True)
class Rotated:
    """`length` indices that begin with the number of the epoch; after the last image follows the first one."""

    images: int
    length: int
    name: str = "rotated"

    def __len__(self) -> int:
        return self.length

    def __call__(self, epoch: int) -> np.ndarray:
        return (np.arange(self.length) + epoch) % self.images


def ordered(order: Order | None, **options: bool) -> Loader:
    """Return a loader of 18 images in batches of 4, in that order."""
    return Loader(Augmented(Drawn(18)), Batches(18, 4, SIZE, seed=7, order=order, **options))  # type: ignore[arg-type]


@pytest.mark.parametrize("length", [3, 18, 41])
def test_another_order_of_images(length: int) -> None:
    """It may leave images out or repeat them; its length decides the number of batches."""
    order = Rotated(18, length)
    batches = Batches(18, 4, SIZE, seed=7, order=order)
    assert len(batches) == len(batches.epoch(0)) == -(-length // 4)
    for epoch in (0, 3):
        assert [draw.image for batch in batches.epoch(epoch) for draw in batch] == order(epoch).tolist()
    shares = [Batches(18, 4, SIZE, order=order, rank=rank, world=2) for rank in (0, 1)]
    assert [len(share.epoch(1)) for share in shares] == [len(share) for share in shares] == [-(-length // 8)] * 2
    drawn = [draw.image for share in shares for batch in share.epoch(1) for draw in batch]
    assert set(drawn) == set(order(1).tolist())


def test_the_state_names_an_order() -> None:
    """Its name is in the state unless it is an order of `shuffle`; a restart with another order is refused."""
    default = {"images": 18, "batch_size": 4, "world": 1, "seed": 7, "shuffle": 1}
    assert Batches(18, 4, SIZE, seed=7).state_dict() == default
    assert Batches(18, 4, SIZE, seed=7, order=Shuffled(18, 7)).state_dict() == default
    assert Batches(18, 4, SIZE, seed=7, shuffle=False).state_dict() == default | {"shuffle": 0}
    assert Batches(18, 4, SIZE, seed=7, order=InOrder(18)).state_dict() == default | {"shuffle": 0}
    state = ordered(Rotated(18, 41)).state_dict()
    assert state == default | {"epoch": 0, "position": 0, "order": "rotated"}
    ordered(Rotated(18, 41)).load_state_dict(state)
    for other, words in ((None, "of shuffle"), (Shuffled(18, 8), "shuffled, seed 8")):
        with pytest.raises(ValueError, match=f"saved with order rotated, here {words}; expected the same"):
            ordered(other).load_state_dict(state)
    with pytest.raises(ValueError, match="saved with order of shuffle, here rotated"):
        ordered(Rotated(18, 41)).load_state_dict(ordered(None).state_dict())


def test_the_state_of_an_older_checkpoint() -> None:
    """Its key for the number of images is "pictures"."""
    state = ordered(None).state_dict() | {"position": 2}
    old = {"pictures" if key == "images" else key: value for key, value in state.items()}
    resumed = ordered(None)
    resumed.load_state_dict(renamed(old))
    assert (resumed.position, len(list(resumed))) == (2, 3)
    with pytest.raises(ValueError, match="saved with images 17, here 18"):
        resumed.load_state_dict(renamed(old | {"pictures": 17}))


def test_an_order_that_breaks_its_contract() -> None:
    """Another length, indices out of range, floats, no indices at all; `shuffle=False` beside an order."""

    class Wrong(Rotated):
        def __call__(self, epoch: int) -> np.ndarray:
            return [np.arange(5), np.arange(6) + 13, np.arange(6) - 1, np.arange(6.0)][epoch]

    batches = Batches(18, 4, SIZE, order=Wrong(18, 6))
    for epoch, kind in enumerate(("int64 [5]", "int64 [6]", "int64 [6]", "float64 [6]")):
        message = f"(rotated) gave {kind} in epoch {epoch}; expected 6 integers from 0 to 17"
        with pytest.raises(ValueError, match=re.escape(message)):
            batches.epoch(epoch)
    with pytest.raises(ValueError, match="shuffle=False and an order of 6 images"):
        Batches(18, 4, SIZE, shuffle=False, order=Wrong(18, 6))
    with pytest.raises(ValueError, match="an order of 0 images"):
        Batches(18, 4, SIZE, order=Rotated(18, 0))


def test_targets_from_a_worker() -> None:
    """Their size is that of the input, dtypes are those of the contract, no tensor keeps a file open."""
    batches = list(loader(1))
    for batch in batches:
        for target in batch.targets:
            assert target["size"] == tuple(batch.images.shape[2:])
            assert [target[key].dtype for key in ("boxes", "labels", "iscrowd", "area")] == [
                torch.float32, torch.int64, torch.bool, torch.float32,
            ]  # fmt: skip
            assert not any(target[key].is_shared() for key in ("boxes", "labels", "iscrowd", "area"))


class Threads(Drawn):
    """Samples whose label is the number of OpenCV's threads in the process that made them."""

    def __getitem__(self, draw: Draw) -> Sample:
        image, target = sample_of(np.zeros((*SIZE, 3), np.uint8), [[0, 0, 9, 9]])
        return image, target | {"labels": torch.tensor([cv2.getNumThreads()])}


def test_workers_that_are_not_forked_compute_on_one_core() -> None:
    """A worker from a fork server would have one OpenCV thread per core, as a spawned one, which takes seconds."""
    warm.ready()
    before = torch.multiprocessing.get_start_method(allow_none=True)
    torch.multiprocessing.set_start_method("forkserver", force=True)
    try:
        (batch,) = Loader(Threads(1), Batches(1, 1, SIZE), workers=1)
    finally:
        torch.multiprocessing.set_start_method(before, force=True)
    assert batch.targets[0]["labels"].item() <= 1


def test_epochs_follow_each_other() -> None:
    """A loader that was read to the end continues with the next epoch."""
    read = loader(0)
    assert len(list(read)) == 5
    assert (read.epoch, read.position) == (1, 0)
    assert all(equal(a, b) for a, b in zip(read, loader(0, epoch=1), strict=True))
    assert (read.epoch, read.position) == (2, 0)
    rest = list(loader(0, epoch=1, position=3))
    assert [equal(a, b) for a, b in zip(rest, list(loader(0, epoch=1))[3:], strict=True)] == [True, True]


def test_opencv_keeps_its_threads() -> None:
    """They are taken away only while workers are forked."""
    threads = cv2.getNumThreads()
    list(loader(2))
    assert cv2.getNumThreads() == threads


def test_torchs_random_numbers_are_left_alone() -> None:
    """Reading batches draws none of them; a resumed run would have others otherwise."""
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    list(loader(0))
    assert torch.rand(2).equal(expected)


@examples(40)
@given(
    images=st.integers(1, 40), batch=st.integers(1, 7), world=st.integers(1, 4), epoch=st.integers(0, 3),
    scale=st.sampled_from([1.0, 1.5]),
)  # fmt: skip
def test_processes_share_an_epoch(images: int, batch: int, world: int, epoch: int, scale: float) -> None:
    """Together the processes see the batches of a single one, filled up to equal sizes; each image at least once."""
    one = Batches(images, batch * world, SIZE, seed=1, options=Augment(multi_scale=scale)).epoch(epoch)
    shares = [
        Batches(images, batch, SIZE, seed=1, options=Augment(multi_scale=scale), rank=r, world=world)
        for r in range(world)
    ]
    parts = [share.epoch(epoch) for share in shares]
    assert {len(part) for part in parts} == {len(shares[0])}
    for number, together in enumerate(zip(*parts, strict=True)):
        assert len({len(own) for own in together}) == 1
        assert len({draw.size for own in together for draw in own}) == 1
        seen = [draw for own in together for draw in own]
        assert seen[: len(one[number])] == one[number]
    drawn = [draw.image for part in parts for own in part for draw in own]
    assert set(drawn) == set(range(images))
    assert len(drawn) - images < world


def test_order_and_sizes() -> None:
    """Without shuffling the order is that of the data; sizes vary, within the range, in multiples of 32."""
    batches = Batches(5, 2, SIZE, shuffle=False).epoch(3)
    assert [[draw.image for draw in batch] for batch in batches] == [[0, 1], [2, 3], [4]]
    sizes = {batch[0].size for batch in Batches(400, 2, (416, 416), options=Augment(multi_scale=1.5)).epoch(0)}
    assert sizes <= {(32 * k, 32 * k) for k in range(9, 20)}
    assert len(sizes) > 5
    assert not np.array_equal(Shuffled(50, 0)(0), Shuffled(50, 0)(1))
    assert not np.array_equal(Shuffled(50, 0)(0), Shuffled(50, 1)(0))
    with pytest.raises(ValueError, match="0 images, batch size 2, process 0 of 1: expected at least one image"):
        Batches(0, 2, SIZE)


def test_mosaic_partners_come_from_one_block() -> None:
    """Partners are in the block of their image, so an epoch of 64 mosaics reads 64 images and not 256."""
    order = Shuffled(70, 5)(1)
    block = set(order[BLOCK : 2 * BLOCK].tolist())
    image = int(order[BLOCK + 3])
    found = partners(np.random.default_rng(0), Draw(1, image, SIZE), 70, 5)
    assert len({*found, image}) == 4
    assert set(found) <= block
    assert partners(np.random.default_rng(0), Draw(0, 0, SIZE), 1, 5) == [0, 0, 0]
    data = Drawn(64)
    augmented = Augmented(data, Augment(mosaic=1), seed=5)
    for batch in Batches(64, 8, SIZE, seed=5).epoch(1):
        for draw in batch:
            augmented[draw]
    assert data.read == 64
    assert len(Recent(data)) == 64


class Features:
    """Random samples of any shape whose boxes are in pixels of the image that they were computed from."""

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype) -> None:
        self.shape, self.dtype = shape, dtype

    def __getitem__(self, draw: Draw) -> tuple[Tensor, Target]:
        values = torch.randn(self.shape, generator=torch.Generator().manual_seed(draw.image), dtype=self.dtype)
        _, target = sample_of(np.zeros((200 + draw.image, 300, 3), np.uint8), [[0, 0, 9, 9]] * (draw.image % 3))
        return values, target


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((8, 5, 7), torch.float32), ((2, 8, 5, 7), torch.float64), ((11,), torch.float32), ((), torch.float32)],
)
def test_samples_that_are_not_images(shape: tuple[int, ...], dtype: torch.dtype, workers: int) -> None:
    """Shape, dtype and all numbers are kept, with and without a worker; boxes keep their canvas."""
    data = Features(shape, dtype)
    batches = list(Loader(data, Batches(7, 4, SIZE, shuffle=False), workers=workers))
    assert [tuple(batch.images.shape) for batch in batches] == [(4, *shape), (3, *shape)]
    for k, (values, target) in enumerate(pair for batch in batches for pair in zip(*batch, strict=True)):
        expected, truth = data[Draw(0, k, SIZE)]
        assert values.equal(expected)
        assert values.dtype == dtype
        assert target["boxes"].equal(truth["boxes"])
        assert target["size"] == truth["size"] == (200 + k, 300)


def test_kept_images_are_read_once() -> None:
    """In two epochs every image is read once, without mosaic and mixup twice if none is kept."""
    for keep, reads in ((1 << 30, 6), (0, 12)):
        data = Drawn(6)
        one = Loader(Augmented(data, Augment(), keep=keep), Batches(6, 4, SIZE))
        assert len([*one, *one]) == 4
        assert data.read == reads


class Damaged(Drawn):
    """One of the images cannot be read."""

    def sample(self, k: int) -> Sample:
        if k == 5:
            raise ValueError("5.png: damaged")
        return super().sample(k)


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_an_error_of_a_thread(threads: int) -> None:
    """A damaged image ends the epoch with its name, in the batch that it belongs to."""
    one = Loader(Augmented(Damaged(8)), Batches(8, 4, SIZE, shuffle=False), threads=threads)
    with pytest.raises(ValueError, match="5.png: damaged"):
        list(one)
    assert one.position == 1


def test_where_threads_share_a_batch() -> None:
    """Not where torch's random numbers are drawn, nor where images stay decoded, nor beside workers."""
    drawn, several = Drawn(2), loader_threads(Augmented(Drawn(2)), 0)
    assert several >= 1
    for alone in (
        Augmented(drawn, Augment(photometric=0.5)),
        Augmented(drawn, transform=v2.RandomHorizontalFlip(p=1)),
        Augmented(drawn, keep=1),
    ):
        assert not alone.shared
        assert loader_threads(alone, 0) == 1
    assert Augmented(drawn).shared
    assert loader_threads(Augmented(drawn), 2) == loader_threads(Features((1,), torch.float32), 0) == 1


def test_mixup_has_the_objects_of_both() -> None:
    """The image is the mean of two, the boxes are those of both."""
    data = Drawn(2, empty=False)
    options = Augment(mixup=1, scale=1, translate=0, flip=0, hue=0, saturation=1, value=1)
    image, target = Augmented(data, options)[Draw(0, 0, SIZE)]
    alone = [Augmented(data)[Draw(0, k, SIZE)] for k in (0, 1)]
    assert len(target["boxes"]) == 2
    mean = (alone[0][0].float() + alone[1][0].float()) / 2
    assert (image.float() - mean).abs().mean() < 3  # two resizes that differ by rounding


def test_a_preview() -> None:
    """The samples of the draws, in their order, with the files of their images."""
    augmented = Augmented(Drawn(5), Augment(), seed=3)
    draws = [Draw(2, 4, SIZE), Draw(0, 1, SIZE)]
    preview = Preview(augmented, draws)
    assert (len(preview), preview.names) == (2, augmented.names)
    assert [preview.path(k).name for k in (0, 1)] == ["4.png", "1.png"]
    for k, draw in enumerate(draws):
        assert preview.sample(k)[0].equal(augmented[draw][0])


def test_batches_of_the_contract() -> None:
    """Images are uint8 in channels_last memory; an image without objects is allowed."""
    batch = collate([Augmented(Drawn(5))[Draw(0, k, SIZE)] for k in range(5)])
    assert batch.images.shape == (5, 3, *SIZE)
    assert batch.images.dtype == torch.uint8
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    assert [len(target["boxes"]) for target in batch.targets] == [1, 1, 1, 1, 0]


def test_packed_labels() -> None:
    """Boxes become fractions of the input; the crowd (the fourth) and the box without area are left out."""
    boxes = [[0, 0, 80, 48], [40, 24, 120, 72], [10, 10, 10, 20], [0, 0, 160, 96]]
    pixels = np.zeros((*SIZE, 3), np.uint8)
    targets = [sample_of(pixels, [])[1], sample_of(pixels, boxes)[1]]
    packed = pack_labels(targets, SIZE)
    assert packed.tolist() == [[1, 0.25, 0.25, 0.5, 0.5, 0], [1, 0.5, 0.5, 0.5, 0.5, 1]]
    assert packed.dtype == torch.float32
    assert pack_labels([], SIZE).shape == pack_labels(targets[:1], SIZE).shape == (0, 6)


# a user's transform


def test_a_users_transform() -> None:
    """A torchvision v2 transform gets the finished sample and may change its boxes."""
    data = Drawn(3, empty=False)
    plain = Augment(scale=1, translate=0, flip=0, hue=0.01)
    before = Augmented(data, plain)[Draw(0, 0, SIZE)][1]["boxes"].as_subclass(Tensor)
    mirrored = Augmented(data, plain, transform=v2.RandomHorizontalFlip(p=1))
    image, target = mirrored[Draw(0, 0, SIZE)]
    after = target["boxes"].as_subclass(Tensor)
    assert torch.equal(after[:, [0, 2]], SIZE[1] - before[:, [2, 0]])
    assert image.shape == (3, *SIZE)


@pytest.mark.filterwarnings("ignore:This DataLoader will create 3 worker processes")  # on a machine of two cores
def test_the_randomness_of_a_transform() -> None:
    """What it draws from torch follows from seed, epoch and image; torch's random state is restored."""
    transform = v2.RandomPhotometricDistort(p=1)

    def batches(workers: int) -> list[Batch]:
        data = Augmented(Drawn(10), Augment(), seed=7, transform=transform)
        return list(Loader(data, Batches(10, 4, SIZE, seed=7), workers=workers))

    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    first = batches(0)
    assert torch.rand(2).equal(expected)
    for workers in (0, 1, 3):
        assert all(equal(a, b) for a, b in zip(first, batches(workers), strict=True))
    data = Augmented(Drawn(2), seed=7, transform=transform)
    assert not torch.equal(data[Draw(0, 0, SIZE)][0], data[Draw(1, 0, SIZE)][0])


def test_a_transform_alone() -> None:
    """Without other augmentation the transform gets the letterboxed image; plain epochs at the end are without it."""
    for options in (PLAIN, replace(PLAIN, last_plain=1)):
        data = Augmented(Drawn(1), options, epochs=3, transform=v2.RandomHorizontalFlip(p=1))
        plain = Augmented(Drawn(1))[Draw(0, 0, SIZE)][0]
        assert torch.equal(data[Draw(1, 0, SIZE)][0], plain.flip(-1))
        assert torch.equal(data[Draw(2, 0, SIZE)][0], plain) == (options.last_plain == 1)


def test_a_transform_that_loses_count() -> None:
    """SanitizeBoundingBoxes drops only boxes and labels by default; the error says how to drop the rest."""
    data = Drawn(1, empty=False)
    options = Augment(scale=1, translate=0, flip=0)
    dropping = v2.SanitizeBoundingBoxes(min_area=1e6)
    with pytest.raises(ValueError, match="'iscrowd': 1, 'area': 1}; give SanitizeBoundingBoxes labels_getter="):
        Augmented(data, options, transform=dropping)[Draw(0, 0, SIZE)]
    complete = v2.SanitizeBoundingBoxes(
        min_area=1e6, labels_getter=lambda sample: (sample[1]["labels"], sample[1]["iscrowd"], sample[1]["area"])
    )
    target = Augmented(data, options, transform=complete)[Draw(0, 0, SIZE)][1]
    assert [len(target[key]) for key in ("boxes", "labels", "iscrowd", "area")] == [0, 0, 0, 0]
    with pytest.raises(ValueError, match=r"expected uint8 \[3, 96, 160\]: do not change type and size"):
        Augmented(data, options, transform=v2.Resize((32, 32)))[Draw(0, 0, SIZE)]


@pytest.mark.parametrize(
    "wrong",
    [{"flip": 1.5}, {"scale": 0.5}, {"mosaic": -1}, {"hue": 0.6}, {"last_plain": -1}, {"multi_scale": 0}],
)
def test_options_out_of_range(wrong: dict[str, float]) -> None:
    """The error has the name and the value."""
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}={next(iter(wrong.values()))}"):
        Augment(**wrong)  # type: ignore[arg-type]


# the cache


def yolo_folder(folder: Path, images: int = 6) -> Path:
    """Write images and labels in YOLO's layout and return the folder."""
    (folder / "labels").mkdir(parents=True)
    (folder / "classes.txt").write_text("a\nb\n")
    for k, (image, target) in enumerate(Drawn(images).samples):
        write_image(folder / "images" / f"{k}.png", image.permute(1, 2, 0).numpy())
        h, w = image.shape[1:]
        boxes = target["boxes"].as_subclass(Tensor) / torch.tensor([w, h, w, h])
        rows = [((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1) for x1, y1, x2, y2 in boxes.tolist()]
        (folder / "labels" / f"{k}.txt").write_text("".join(f"0 {x} {y} {w} {h}\n" for x, y, w, h in rows))
    return folder


@pytest.mark.parametrize("letterbox", [True, False])
@pytest.mark.parametrize("kind", ["ram", "disk"])
def test_the_cache_changes_nothing(kind: str, letterbox: bool, tmp_path: Path) -> None:
    """Without augmentation the batches are the same, with 0 and 2 workers; nothing is written into the data set."""
    folder = yolo_folder(tmp_path / "set")
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*.*")}
    data = open_data(folder)
    cached = Cached(data, SIZE, kind, tmp_path / "cache", letterbox=letterbox)  # type: ignore[arg-type]
    assert Cached(data, SIZE, "disk", tmp_path / "cache", letterbox=not letterbox).file != cached.file
    file = cached.file
    for workers in (0, 2):
        batches = Batches(len(data), 4, SIZE)
        seen = [Augmented(images, letterbox=letterbox) for images in (data, cached)]
        loaders = [Loader(images, batches, workers=workers) for images in seen]
        for a, b in zip(*loaders, strict=True):
            assert a.images.equal(b.images)
            for s, t in zip(a.targets, b.targets, strict=True):
                assert s["boxes"].as_subclass(Tensor).allclose(t["boxes"].as_subclass(Tensor), atol=1e-3)
                assert s["area"].allclose(t["area"], rtol=1e-4)
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*.*")} == before
    del cached, seen, loaders
    assert file.exists() == (kind == "disk")


def test_a_cache_on_the_disk_is_made_once(tmp_path: Path) -> None:
    """The second run reads it; a changed image or another input size makes a new one; a damaged image none."""
    folder = yolo_folder(tmp_path / "set")
    data = open_data(folder)
    first = Cached(data, SIZE, "disk", tmp_path / "cache")
    time = first.file.stat().st_mtime_ns
    again = Cached(data, SIZE, "disk", tmp_path / "cache")
    assert (again.file, again.file.stat().st_mtime_ns) == (first.file, time)
    assert torch.equal(first.sample(2)[0], again.sample(2)[0])
    os.utime(data.path(2), ns=(1, 1))
    assert Cached(data, SIZE, "disk", tmp_path / "cache").file != first.file
    assert Cached(data, Size(64, 64), "disk", tmp_path / "cache").file != first.file
    data.path(2).write_bytes(b"no image")
    with pytest.raises(ValueError, match="2.png"):
        Cached(data, SIZE, "disk", tmp_path / "cache")
    assert len(list((tmp_path / "cache").iterdir())) == 3  # nothing half-written is left


def test_random_numbers_differ() -> None:
    """Another seed, epoch, number or use gives other random numbers."""
    values = {float(chance(*key).random()) for key in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 0, 0, 1))}
    assert len(values) == 5


def test_epochs_are_cut_off_after_the_last_batch() -> None:
    """Of 7 batches in epochs of 3 the third has one, a fourth none; the loader is as long as its epoch."""
    batches = Batches(5, 2, SIZE, total=7, order=Repeated())
    assert [batches.count(epoch) for epoch in range(5)] == [3, 3, 1, 0, 0]
    assert [len(batches.epoch(epoch)) for epoch in range(5)] == [3, 3, 1, 0, 0]
    assert batches.epoch(2)[0] == Batches(5, 2, SIZE, order=Repeated()).epoch(2)[0]
    loader = Loader(Augmented(Drawn(5)), batches)
    lengths = []
    for _ in range(3):
        lengths.append((len(loader), len(list(loader))))
    assert lengths == [(3, 3), (3, 3), (1, 1)]
    assert (loader.epoch, loader.position, len(loader)) == (3, 0, 0)
    assert len(Batches(5, 2, SIZE, order=Repeated())) == Batches(5, 2, SIZE, order=Repeated()).count(99) == 3


class Repeated:
    """Six draws of an epoch, with every image of two several times."""

    name = "repeated"

    def __len__(self) -> int:
        return 6

    def __call__(self, epoch: int, /) -> np.ndarray:
        return np.array([epoch % 2, 0, 0, 1, 1, 0])


@pytest.mark.parametrize("world", [1, 2])
def test_sizes_and_numbers_of_draws(world: int) -> None:
    """A batch has the size that is given for it, in every process; a number tells draws of the same image apart."""
    sizes = {(epoch, number): Size(32 * (epoch + 1), 32 * (number + 1)) for epoch in range(2) for number in range(3)}
    made = [
        Batches(2, 2 // world, SIZE, order=Repeated(), sizes=lambda *place: sizes[place], rank=rank, world=world)
        for rank in range(world)
    ]
    assert made[0].largest == Size(32, 32)
    for epoch in range(2):
        shares = [batches.epoch(epoch) for batches in made]
        draws = [[draw for share in shares for draw in share[number]] for number in range(3)]
        assert all({draw.size for draw in draws[number]} == {sizes[epoch, number]} for number in range(3))
        flat = [draw for batch in draws for draw in batch]
        assert [draw.number for draw in flat] == [0, 1, 2, 3, 4, 5]
        assert [draw.image for draw in flat] == Repeated()(epoch).tolist()


def test_samples_made_in_another_way() -> None:
    """`change` decides in place of the options, and the user's transform sees what it makes."""
    data, given = Drawn(3), []

    def change(seen: object, draw: Draw, seed: int) -> Sample:
        given.append((draw, seed))
        assert len(seen) == 3  # type: ignore[arg-type]
        return sample_of(np.full((*draw.size, 3), 7 + draw.number, np.uint8), [[0, 0, 8, 8]], draw.image)

    draws = [Draw(4, 1, SIZE, 0), Draw(4, 1, SIZE, 5)]
    seen = Augmented(data, PLAIN, seed=3, change=change)
    assert not seen.is_plain(4)
    assert [int(seen[draw][0].unique()) for draw in draws] == [7, 12]
    assert given == [(draw, 3) for draw in draws]
    turned = Augmented(data, EVERYTHING, seed=3, change=change, transform=v2.RandomHorizontalFlip(1))
    image, target = turned[draws[0]]
    assert int(image.unique()) == 7
    assert target["boxes"].tolist() == [[SIZE.width - 8, 0, SIZE.width, 8]]
