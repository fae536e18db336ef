"""The assignment: against tables that can be checked by eye, and every index against the oracle.

Columns: scale `s`, label `n`, image `b`, anchor `a`, row `i`, column `j`.
"""

from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given
from torch import Tensor

from tests.support.loss_problems import RULES, Problem, problems, real_head
from tests.support.many import examples
from tests.support.oracles import YoloHead
from yolo.detection.assign import Assignment, assign

Columns = tuple[int, int, int, int, int, int]  # s, n, b, a, i, j
NOTHING: Columns = (0, 0, 0, 0, 0, 0)

# The board of the tables: an input of 128 x 64 pixels (w x h), 4 x 2 cells of 32 pixels and 8 x 4 of 16.
WIDTH, HEIGHT = 128, 64
BOARD = [
    YoloHead([(40, 40), (80, 20)], stride=32, classes=2),
    YoloHead([(10, 10), (20, 40)], stride=16, classes=2),
]


def blank(images: int = 2) -> list[Tensor]:
    """Return raw predictions of the board, all zero: every predicted box is its anchor in the middle of its cell."""
    return [
        torch.zeros(images, 2, HEIGHT // head.stride, WIDTH // head.stride, 7, dtype=torch.float64) for head in BOARD
    ]


def label(x: float, y: float, w: float, h: float, *, b: int = 0) -> list[float]:
    """Return a label from pixels of the board."""
    return [b, x / WIDTH, y / HEIGHT, w / WIDTH, h / HEIGHT, 0]


def on_board(rule: str, labels: list[list[float]], predictions: list[Tensor] | None = None) -> Assignment:
    """Return the assignment of labels on the board."""
    heads = [real_head(head) for head in BOARD]
    packed = torch.tensor(labels, dtype=torch.float64).reshape(-1, 6)
    return assign(blank() if predictions is None else predictions, packed, heads, rule)


def rows(found: Assignment) -> list[Columns | None]:
    """Return the rows of an assignment, None for rows without a match."""
    columns = zip(*(column.tolist() for column in found[:6]), strict=True)
    return [row if hit else None for row, hit in zip(columns, found.matched.tolist(), strict=True)]


# tables


@pytest.mark.parametrize(
    ("box", "coarse", "fine"),
    [
        # distances 0.4 and 1.8; then 7.6 and 1.6. Row 0, column 2 and on the finer grid 5
        ((90, 10, 48, 48), (0, 0, 0, 0, 0, 2), (1, 0, 0, 1, 0, 5)),
        # the second anchor itself; then 7 + 1 and 3 + 0.5: no match. Lower left
        ((10, 50, 80, 20), (0, 0, 0, 1, 1, 0), None),
        # 1.5 and 1.375; then 0 and 1.25. Row 1, column 1 and then 2, 3
        ((48, 32, 10, 10), (0, 0, 0, 1, 1, 1), (1, 0, 0, 0, 2, 3)),
        # a distance of exactly 2 is not a match: 80 x 80 is twice the first anchor, and 0 + 3 from the second
        ((48, 32, 80, 80), None, None),
        # a little less than 2
        ((48, 32, 80, 79), (0, 0, 0, 0, 1, 1), None),
    ],
)  # fmt: skip
def test_ratio_by_hand(box: tuple[float, ...], coarse: Columns | None, fine: Columns | None) -> None:
    """One row for each scale: |w/aw - 1| + |h/ah - 1| decides, and is less than 2."""
    assert rows(on_board("ratio", [label(*box)])) == [coarse, fine]


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((90, 10, 48, 48), (0, 0, 0, 0, 0, 2)),  # 1600/2304 beats 960/2944, 100/2304, 800/2304
        ((10, 50, 80, 20), (0, 0, 0, 1, 1, 0)),  # an anchor itself
        ((70, 20, 10, 10), (1, 0, 0, 0, 1, 4)),  # another, of the finer scale: row 20/16, column 70/16
        ((30, 40, 20, 40), (1, 0, 0, 1, 2, 1)),  # and the last
        ((48, 32, 96, 64), (0, 0, 0, 0, 1, 1)),  # the whole image: 1600/6144 and 1600/6144, the first of equals
        ((48, 32, 1000, 1), (0, 0, 0, 1, 1, 1)),  # unlike any anchor, but matched: 80/(1000 + 1600 - 80)
    ],
)  # fmt: skip
def test_prior_by_hand(box: tuple[float, ...], expected: Columns) -> None:
    """One row: the overlap of the shapes decides, over both scales."""
    assert rows(on_board("prior", [label(*box)])) == [expected]


def test_prediction_by_hand() -> None:
    """The current predictions decide: first the anchors themselves, then a box that was moved onto the label."""
    box = label(56, 24, 20, 40)  # the middle of cell (1, 3) of the finer grid, in cell (0, 1) of the coarser
    assert rows(on_board("prediction", [box])) == [(1, 0, 0, 1, 1, 3)]
    predictions = blank()
    predictions[1][0, 1, 1, 3, 2] = -1  # the match becomes narrower
    predictions[1][0, 0, 1, 3, 2:4] = torch.tensor([20 / 10, 40 / 10]).log()  # another anchor predicts the label
    assert rows(on_board("prediction", [box], predictions)) == [(1, 0, 0, 0, 1, 3)]
    in_the_other_image = [1.0, *box[1:]]
    assert rows(on_board("prediction", [in_the_other_image], predictions)) == [(1, 0, 1, 1, 1, 3)]


def test_several_labels() -> None:
    """Rows of `ratio` are ordered by scale, `s·N + n`; those of the others by label."""
    labels = [label(90, 10, 48, 48, b=1), label(48, 32, 96, 10), label(10, 50, 80, 20)]
    assert rows(on_board("ratio", labels)) == [
        (0, 0, 1, 0, 0, 2),
        (0, 1, 0, 1, 1, 1),  # 0.2 + 0.5
        (0, 2, 0, 1, 1, 0),
        (1, 0, 1, 1, 0, 5),
        None,
        None,
    ]
    assert rows(on_board("prior", labels)) == [(0, 0, 1, 0, 0, 2), (0, 1, 0, 1, 1, 1), (0, 2, 0, 1, 1, 0)]


@pytest.mark.parametrize("rule", RULES)
def test_borders(rule: str) -> None:
    """A centre on the right or lower border of the input belongs to the last cell, on that of a cell to the next."""
    coarse_and_fine = {
        (128, 64): [(1, 3), (3, 7)],
        (0, 0): [(0, 0), (0, 0)],
        (64, 32): [(1, 2), (2, 4)],
        (128, 0): [(0, 3), (0, 7)],
    }
    for (x, y), cells in coarse_and_fine.items():
        found = rows(on_board(rule, [label(x, y, 36, 36)]))  # near to 40 x 40, and to 20 x 40 of the finer scale
        assert len(found) == (2 if rule == "ratio" else 1)
        for row in found:
            assert row is not None
            assert row[4:] == cells[row[0]]


@pytest.mark.parametrize("rule", RULES)
def test_ties_go_to_the_lowest_index(rule: str) -> None:
    """Four anchors of one shape in two scales of one stride."""
    heads = [real_head(YoloHead([(40, 40), (40, 40)], stride=32, classes=2)) for _ in range(2)]
    packed = torch.tensor([label(70, 20, 30, 44)], dtype=torch.float64)
    found = rows(assign([blank()[0], blank()[0]], packed, heads, rule))
    first, second = (0, 0, 0, 0, 0, 2), (1, 0, 0, 0, 0, 2)
    assert found == ([first, second] if rule == "ratio" else [first])


def test_a_tie_of_no_overlap() -> None:
    """If no prediction of the cell overlaps the label, the first anchor of the first scale is responsible."""
    predictions = [scale.index_fill(-1, torch.tensor([2, 3]), -20) for scale in blank()]  # tiny, in the middle of cells
    assert rows(on_board("prediction", [label(81, 33, 1, 1)], predictions)) == [(0, 0, 0, 0, 1, 2)]


def test_a_label_that_matches_nothing() -> None:
    """Its rows exist, all indices are 0, and `compact` leaves them out."""
    found = on_board("ratio", [label(10, 50, 80, 20), label(48, 32, 80, 70), label(48, 32, 1000, 1)])
    assert found.matched.tolist() == [True, True, False, False, False, False]
    zeros = torch.stack(found[:6], dim=1)[~found.matched]
    assert zeros.tolist() == [list(NOTHING)] * 4
    compact = torch.stack(found.compact(), dim=1)
    assert compact.tolist() == [[0, 0, 0, 1, 1, 0], [0, 1, 0, 0, 1, 1]]


@pytest.mark.parametrize("rule", RULES)
def test_no_labels(rule: str) -> None:
    """Without labels there are no rows, and all columns keep their types."""
    found = on_board(rule, [])
    assert rows(found) == []
    assert all(column.shape == (0,) for column in (*found, *found.compact()))
    assert all(column.dtype == torch.int64 for column in found[:6])
    assert found.matched.dtype == torch.bool


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_precisions(rule: str, dtype: torch.dtype) -> None:
    """Predictions of low precision give the assignment of float64 where no choice is close."""
    labels = [label(90, 10, 48, 48, b=1), label(10, 50, 80, 20), label(70, 20, 10, 12)]
    packed = torch.tensor(labels, dtype=torch.float32)
    found = assign([scale.to(dtype) for scale in blank()], packed, [real_head(head) for head in BOARD], rule)
    assert rows(found) == rows(on_board(rule, labels))


def test_an_unknown_rule() -> None:
    """The message has the word and the known rules."""
    with pytest.raises(ValueError, match=r"(?s)nearest.*ratio.*prediction.*prior"):
        on_board("nearest", [label(10, 50, 80, 20)])


# random problems


@pytest.mark.parametrize("rule", RULES)
@given(problem=problems())
@examples(150)
def test_every_index_equals_the_oracle(rule: str, problem: Problem) -> None:
    """Every row is the same, including the zeros of those without a match.

    Left out are cases in which two candidates differ by less than 1e-12 of the better one (`Problem.gap`): there
    rounding decides. Exact ties are in the tables above.
    """
    assume(problem.gap(rule) > 1e-12)
    found = assign(problem.predictions(), problem.targets(), problem.model.heads, rule)
    columns = zip(*(column.tolist() for column in found), strict=True)
    assert list(columns) == [tuple(row) for row in problem.rows(rule)]


@pytest.mark.parametrize("rule", RULES)
@given(problem=problems())
@examples(60)
def test_every_label_is_accounted_for(rule: str, problem: Problem) -> None:
    """Lengths are fixed, indices are in their grids, each label has at most one row per scale, or exactly one."""
    heads, labels = problem.model.heads, problem.targets()
    found = assign(problem.predictions(), labels, heads, rule)
    assert isinstance(found, Assignment)
    assert not any(column.requires_grad for column in found)
    assert len(found.matched) == len(labels) * (len(heads) if rule == "ratio" else 1)
    s, n, b, a, i, j = found.compact()
    for kept, column in zip((s, n, b, a, i, j), found[:6], strict=True):
        assert column.dtype == kept.dtype == torch.int64
        assert torch.equal(kept, column[found.matched])
    assert torch.equal(b, labels[n, 0].long())
    for row in zip(s.tolist(), a.tolist(), i.tolist(), j.tolist(), strict=True):
        anchors, height, width = problem.raw[row[0]].shape[1:4]
        assert 0 <= row[1] < anchors
        assert 0 <= row[2] < height
        assert 0 <= row[3] < width
    pairs = list(zip(s.tolist(), n.tolist(), strict=True))
    assert len(set(pairs)) == len(pairs)
    if rule != "ratio":
        assert n.tolist() == list(range(len(labels)))
