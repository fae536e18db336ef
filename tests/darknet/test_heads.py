"""Heads: the order of the channels, decoding against the oracle, encoding as its exact inverse."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from tests.support import oracles
from yolo.darknet.heads import Decoded, Head
from yolo.darknet.sections import Region, Yolo

SEEDS = st.integers(0, 2**32)
KINDS = ["yolo", "scale_x_y", "new_coords", "region"]
GRIDS = st.tuples(st.integers(1, 5), st.integers(1, 5))
ROWS, COLUMNS, CLASSES = 3, 5, 4
STRIDE = 16
SIZE = (ROWS * STRIDE, COLUMNS * STRIDE)
ANCHORS = ((10.0, 13.0), (16.5, 30.0), (33.0, 23.25))  # of the yolo kinds, in pixels
CELL_ANCHORS = ((0.5, 0.75), (1.25, 2.0), (3.5, 1.5))  # of region, in cells
SCALE = {"yolo": 1.0, "scale_x_y": 1.05, "new_coords": 2.0, "region": 1.0}


def make_head(kind: str, strides: tuple[int, int] = (STRIDE, STRIDE), classes: int = CLASSES) -> Head:
    """A head of 3 anchors; the mask of the yolo kinds skips the first of four."""
    fractions = Fraction(strides[0]), Fraction(strides[1])
    if kind == "region":
        anchors = tuple(number for pair in CELL_ANCHORS for number in pair)
        return Head(Region(classes=classes, num=3, anchors=anchors, softmax=1), fractions)
    anchors = (1.0, 1.0, *(number for pair in ANCHORS for number in pair))
    new_coords = int(kind == "new_coords")
    section = Yolo(
        classes=classes, num=4, mask=(1, 2, 3), anchors=anchors, scale_x_y=SCALE[kind], new_coords=new_coords
    )
    return Head(section, fractions)


def random_raw(kind: str, seed: int, rows: int = ROWS, columns: int = COLUMNS, batch: int = 2) -> Tensor:
    """Raw predictions `[B, A, H, W, 5+C]` float64: logits of a few units, with new_coords numbers in (0, 1)."""
    g = torch.Generator().manual_seed(seed)
    raw = 2 * torch.randn(batch, 3, rows, columns, 5 + CLASSES, generator=g, dtype=torch.float64)
    return raw.sigmoid() if kind == "new_coords" else raw.clamp(-6, 6)


def oracle(kind: str, raw: Tensor) -> Decoded:
    """Decode the same batch by the oracle."""
    anchors = CELL_ANCHORS if kind == "region" else ANCHORS
    name = "yolo" if kind == "scale_x_y" else kind
    size = raw.shape[2] * STRIDE, raw.shape[3] * STRIDE
    heads = [oracles.decode_head(image, name, anchors, size, SCALE[kind]) for image in raw.double().numpy()]
    return Decoded(*(torch.stack([torch.from_numpy(part) for part in parts]) for parts in zip(*heads, strict=True)))


# the order of the channels


@pytest.mark.parametrize("kind", KINDS)
def test_forward_is_a_view(kind: str) -> None:
    """Channel a·(5+C) + k of cell (i, j) is value k of anchor a, on a grid that is not square."""
    head = make_head(kind)
    channels = 3 * (5 + CLASSES)
    features = torch.arange(2.0 * channels * ROWS * COLUMNS).reshape(2, channels, ROWS, COLUMNS)
    raw = head(features)
    assert raw.shape == (2, 3, ROWS, COLUMNS, 5 + CLASSES)
    assert raw.data_ptr() == features.data_ptr()
    for b, a, i, j, k in ((0, 0, 0, 0, 0), (1, 2, 1, 4, 8), (0, 1, 2, 3, 4), (1, 0, 2, 0, 5)):
        assert raw[b, a, i, j, k] == features[b, a * (5 + CLASSES) + k, i, j]


def test_cells() -> None:
    """Column first, then row."""
    cells = make_head("yolo").cells(2, 3)
    assert cells.tolist() == [[[0, 0], [1, 0], [2, 0]], [[0, 1], [1, 1], [2, 1]]]


# decoding


@pytest.mark.parametrize("kind", KINDS)
@given(SEEDS, GRIDS)
@settings(max_examples=20, deadline=None)
def test_decode_is_the_oracle(kind: str, seed: int, grid: tuple[int, int]) -> None:
    """Random values on random grids: float64 to 1e-12, float32 to 1e-6."""
    rows, columns = grid
    size = rows * STRIDE, columns * STRIDE
    raw = random_raw(kind, seed, rows, columns)
    exact = oracle(kind, raw)
    for ours, expected in zip(make_head(kind).decode(raw, size), exact, strict=True):
        assert_close(ours, expected, rtol=1e-12, atol=1e-12)
    for ours, expected in zip(make_head(kind).decode(raw.float(), size), oracle(kind, raw.float()), strict=True):
        assert_close(ours.double(), expected, rtol=1e-6, atol=1e-6)


def test_decode_by_hand() -> None:
    """Zeros everywhere: the anchor in the middle of its cell, all probabilities one half."""
    boxes, objectness, classes = make_head("yolo").decode(torch.zeros(1, 3, ROWS, COLUMNS, 5 + CLASSES), SIZE)
    assert_close(boxes[0, 1, 2, 4], torch.tensor([4.5 / 5, 2.5 / 3, 16.5 / 80, 30 / 48]))
    assert objectness.eq(0.5).all()
    assert classes.eq(0.5).all()


@pytest.mark.parametrize("kind", KINDS)
def test_empty_batch(kind: str) -> None:
    """No images."""
    decoded = make_head(kind).decode(torch.empty(0, 3, ROWS, COLUMNS, 5 + CLASSES), SIZE)
    assert decoded.boxes.shape == (0, 3, ROWS, COLUMNS, 4)
    assert decoded.classes.shape == (0, 3, ROWS, COLUMNS, CLASSES)


@pytest.mark.parametrize("kind", KINDS)
def test_decode_at(kind: str) -> None:
    """Chosen slots are decoded as they are among all."""
    head, raw = make_head(kind), random_raw(kind, 1)
    everything = head.decode(raw, SIZE)
    b, a, i, j = torch.tensor([[0, 1, 1, 0, 1], [0, 2, 1, 1, 0], [0, 2, 1, 2, 0], [4, 0, 3, 1, 4]])
    cells = torch.stack((j, i), dim=-1)
    chosen = head.decode_at(raw[b, a, i, j], cells, head.anchors[a], (ROWS, COLUMNS), SIZE)
    for ours, expected in zip(chosen, everything, strict=True):
        assert_close(ours, expected[b, a, i, j], rtol=1e-14, atol=1e-15)
    none = head.decode_at(raw[b, a, i, j][:0], cells[:0], head.anchors[a[:0]], (ROWS, COLUMNS), SIZE)
    assert [len(part) for part in none] == [0, 0, 0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_reduced_precision(kind: str, dtype: torch.dtype) -> None:
    """Raw values of 16 bits are decoded in float32: nothing is rounded again."""
    head, raw = make_head(kind), random_raw(kind, 2).to(dtype)
    for ours, expected in zip(head.decode(raw, SIZE), head.decode(raw.float(), SIZE), strict=True):
        assert ours.dtype == torch.float32
        assert ours.equal(expected)
    assert head.objectness(raw[..., 4]).equal(head.objectness(raw[..., 4].float()))
    assert head.best_class(raw).equal(head.best_class(raw.float()))


@pytest.mark.parametrize("kind", KINDS)
def test_best_class(kind: str) -> None:
    """The highest class score of every slot, up to rounding."""
    raw = random_raw(kind, 4)
    best = oracle(kind, raw).classes.amax(-1)
    assert_close(make_head(kind).best_class(raw), best, rtol=1e-14, atol=0)
    assert_close(make_head(kind).best_class(raw.float()).double(), best, rtol=5e-6, atol=0)


# encoding


def without_constant(kind: str, raw: Tensor) -> Tensor:
    """Softmax forgets a constant: the class values of region are compared relative to their mean."""
    if kind != "region":
        return raw
    classes = raw[..., 5:]
    return torch.cat((raw[..., :5], classes - classes.mean(-1, keepdim=True)), dim=-1)


@pytest.mark.parametrize("kind", KINDS)
@given(SEEDS, GRIDS)
@settings(max_examples=30, deadline=None)
def test_encode_undoes_decode(kind: str, seed: int, grid: tuple[int, int]) -> None:
    """encode(decode(raw)) is raw."""
    raw, size = random_raw(kind, seed, *grid), (grid[0] * STRIDE, grid[1] * STRIDE)
    head = make_head(kind)
    back = head.encode(head.decode(raw, size), size)
    assert_close(without_constant(kind, back), without_constant(kind, raw), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
@given(SEEDS, GRIDS)
@settings(max_examples=30, deadline=None)
def test_decode_undoes_encode(kind: str, seed: int, grid: tuple[int, int]) -> None:
    """decode(encode(x)) is x, for any centre within reach of its cell, any size, any probabilities."""
    rows, columns = grid
    size, head = (rows * STRIDE, columns * STRIDE), make_head(kind)
    g = torch.Generator().manual_seed(seed)

    def uniform(*shape: int) -> Tensor:
        return 0.001 + 0.998 * torch.rand(2, 3, rows, columns, *shape, generator=g, dtype=torch.float64)

    reach = SCALE[kind] * (uniform(2) - 0.5) + 0.5  # around the middle of the cell
    centres = (head.cells(rows, columns) + reach) / torch.tensor([columns, rows])
    classes = uniform(CLASSES)
    if kind == "region":
        classes = classes / classes.sum(-1, keepdim=True)
    wanted = Decoded(torch.cat((centres, uniform(2)), dim=-1), uniform(), classes)
    raw = head.encode(wanted, size)
    if kind == "new_coords":
        assert raw[..., :2].gt(0).all()
        assert raw[..., :2].lt(1).all()
    for ours, expected in zip(head.decode(raw, size), wanted, strict=True):
        assert_close(ours, expected, rtol=1e-12, atol=1e-12)


# the keys of the section


def test_stride() -> None:
    """One whole number of pixels per cell, or an error with both numbers."""
    assert make_head("yolo", (32, 32)).stride == 32
    with pytest.raises(ValueError, match=r"this head has 32 x 16 input pixels per cell \(y, x\)"):
        _ = make_head("yolo", (32, 16)).stride
    halves = Fraction(5, 2)
    with pytest.raises(ValueError, match="5/2 x 5/2"):
        _ = Head(Yolo(num=1, anchors=(1.0, 1.0)), (halves, halves)).stride


def test_anchors() -> None:
    """In pixels of the input, (width, height): those of the mask; region's cells times the stride of their axis."""
    assert make_head("yolo").anchors.tolist() == [list(pair) for pair in ANCHORS]
    anchors = make_head("region", (32, 16)).anchors
    assert anchors.tolist() == [[w * 16, h * 32] for w, h in CELL_ANCHORS]
    assert not make_head("yolo").state_dict()  # they are in the cfg, not among the weights


def test_region_on_unequal_strides() -> None:
    """A cell of 32 x 16 pixels: the anchors stay in cells, so the boxes are the oracle's."""
    head, raw = make_head("region", (32, 16)), random_raw("region", 5)
    decoded = head.decode(raw, (ROWS * 32, COLUMNS * 16))
    assert_close(decoded.boxes, oracle("region", raw).boxes, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("keys", "kind", "beta"),
    [
        ({}, "iou", 1.0),
        ({"beta_nms": 0.3}, "iou", 1.0),
        ({"nms_kind": "greedynms"}, "diou", 0.6),
        ({"nms_kind": "greedynms", "beta_nms": 0.3}, "diou", 0.6),
        ({"nms_kind": "diounms"}, "diou", 0.6),
        ({"nms_kind": "diounms", "beta_nms": 0.3}, "diou", 0.3),
    ],
)
def test_nms_of_the_section(keys: dict[str, str | float], kind: str, beta: float) -> None:
    """`nms_kind` and `beta_nms` as darknet reads them."""
    section = Yolo(num=1, anchors=(1.0, 1.0), **keys)  # type: ignore[arg-type]
    head = Head(section, (Fraction(32), Fraction(32)))
    assert (head.nms_kind, head.nms_beta) == (kind, beta)


def test_nms_of_region() -> None:
    """Region has no such key."""
    assert (make_head("region").nms_kind, make_head("region").nms_beta) == ("iou", 1.0)


@pytest.mark.parametrize("kind", KINDS)
def test_shown(kind: str) -> None:
    """The printed network shows the kind of a head."""
    name = "yolo" if kind == "scale_x_y" else kind
    assert repr(make_head(kind)) == f"Head({name}, stride=16x16, classes=4)"
