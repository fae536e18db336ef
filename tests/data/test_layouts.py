"""Every exporter's layout is read from the folder that the user has, and the set is always the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import exports
from tests.support.exports import LAYOUTS, TRAIN, VAL
from tests.support.opening import check, opened, stems
from yolo.data.datasets import splits

UNDIVIDED = [name for name, layout in LAYOUTS.items() if layout.splits is exports.WHOLE]
DIVIDED = [name for name in LAYOUTS if name not in UNDIVIDED]
GIVEN = [(name, given) for name, layout in LAYOUTS.items() for given in layout.given]


@pytest.mark.parametrize(("name", "given"), GIVEN)
def test_every_layout(tmp_path: Path, name: str, given: str) -> None:
    """Each split has its images, classes and boxes, asked for as train, val and test whatever the exporter's words."""
    layout = LAYOUTS[name]
    layout.write(tmp_path)
    for split, parts in layout.splits.items():
        check(opened(tmp_path, split, given), parts)
    assert len(splits(tmp_path / given)) == len(layout.splits)


@pytest.mark.parametrize("name", UNDIVIDED)
def test_an_undivided_set_is_divided_by_holdout(tmp_path: Path, name: str) -> None:
    """The two parts of a set without validation split have objects, share nothing, and are all of it."""
    LAYOUTS[name].write(tmp_path)
    learn, held = (opened(tmp_path, split, holdout=0.2) for split in ("train", "val"))
    assert sorted(stems(learn) + stems(held)) == [part.stem for part in (*TRAIN, *VAL)]
    for data in (learn, held):
        check(data, [part for part in (*TRAIN, *VAL) if part.stem in stems(data)])
        assert len(data.index.labels) > 0
    assert stems(opened(tmp_path, "val", holdout=0.2)) == stems(held)


@pytest.mark.parametrize("name", UNDIVIDED)
def test_an_undivided_set_has_no_validation_split_by_itself(tmp_path: Path, name: str) -> None:
    """Without a holdout, val of a set that has none is an error that says how to get one."""
    LAYOUTS[name].write(tmp_path)
    with pytest.raises(ValueError, match=r"--holdout|--val"):
        opened(tmp_path, "val")


@pytest.mark.parametrize("name", DIVIDED)
def test_a_divided_set_is_not_divided_again(tmp_path: Path, name: str) -> None:
    """A holdout does not touch a set that has a validation split."""
    LAYOUTS[name].write(tmp_path)
    check(opened(tmp_path, "train", LAYOUTS[name].given[0], holdout=0.2), TRAIN)
    check(opened(tmp_path, "val", LAYOUTS[name].given[0], holdout=0.2), VAL)
