"""What localizers see of a data set, against a slow oracle that goes through the objects one by one."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolo.data.index import Index
from yolo.localize.view import largest, mean_box, presence
from yolo.options.single import Localizer, Simple

NAMES = ["cat", "dog", "red ball"]

Object = tuple[int, float, float, float, float, bool]
"""Label, xyxy in pixels, whether it is a crowd."""


def index_of(images: Sequence[Sequence[Object]], names: Sequence[str] = NAMES) -> Index:
    """Return an index of these images of 80 x 40 pixels."""
    objects = [one for image in images for one in image]
    boxes = np.array([one[1:5] for one in objects], dtype=np.float64).reshape(-1, 4)
    return Index(
        names=list(names),
        paths=np.array([f"{k}.jpg".encode() for k in range(len(images))]),
        image_ids=np.arange(len(images)) + 10,
        sizes=np.tile([80, 40], (len(images), 1)),
        offsets=np.cumsum([0, *map(len, images)]),
        labels=np.array([one[0] for one in objects], dtype=np.int64),
        boxes=boxes,
        read=np.concatenate((boxes[:, :2], boxes[:, 2:] - boxes[:, :2]), axis=1),
        area=(boxes[:, 2:] - boxes[:, :2]).prod(axis=1),
        crowd=np.array([one[5] for one in objects], dtype=bool),
    )


def listed(index: Index) -> dict[int, list[Object]]:
    """Return the objects of each image by its id."""
    return {
        int(index.image_ids[k]): [
            (int(index.labels[n]), *index.boxes[n].tolist(), bool(index.crowd[n]))
            for n in range(index.offsets[k], index.offsets[k + 1])
        ]
        for k in range(len(index))
    }


CASES = st.lists(
    st.lists(
        st.tuples(
            st.integers(0, 2), st.integers(0, 5), st.integers(0, 5), st.integers(0, 4), st.integers(0, 4), st.booleans()
        ).map(lambda one: (one[0], one[1], one[2], one[1] + one[3], one[2] + one[4], one[5])),
        max_size=4,
    ),
    min_size=1,
    max_size=6,
)
"""Images with few objects: small whole sides, so that equal areas and boxes without area are frequent."""


@given(images=CASES, target=st.integers(0, 2))
def test_presence_is_that_of_the_oracle(images: list[list[Object]], target: int) -> None:
    """An image is kept with its one object of the class, or without any; not with several, nor with a crowd."""
    expected = {}
    for k, image in enumerate(images):
        own = [(0, *one[1:]) for one in image if one[0] == target]
        if len(own) <= 1 and not any(one[5] for one in own):
            expected[k + 10] = own
    options = Localizer(target=NAMES[target])
    if not any(expected.values()):
        with pytest.raises(ValueError, match=f"{NAMES[target]}: no image has exactly one"):
            presence(index_of(images), options)
        return
    found = presence(index_of(images), options)
    assert listed(found) == expected
    assert found.names == [NAMES[target]]


@given(images=CASES)
def test_largest_is_that_of_the_oracle(images: list[list[Object]]) -> None:
    """The first of the largest boxes; crowds and boxes without area are no objects, images without any are left out."""
    expected = {}
    for k, image in enumerate(images):
        best: tuple[float, Object] | None = None
        for one in image:
            area = (one[3] - one[1]) * (one[4] - one[2])
            if not one[5] and area > (best[0] if best else 0):
                best = area, one
        if best:
            expected[k + 10] = [best[1]]
    if not expected:
        with pytest.raises(ValueError, match="no image has an object, so there is nothing to learn from"):
            largest(index_of(images), Simple())
        return
    found = largest(index_of(images), Simple())
    assert listed(found) == expected
    assert found.names == NAMES


BALL: Object = (2, 8, 4, 40, 24, False)
CROWD: Object = (2, 0, 0, 20, 20, True)
CAT: Object = (0, 0, 0, 80, 40, False)


def test_what_presence_leaves_out_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """The counts of images with one, without, and with several; a crowd counts as several."""
    found = presence(index_of([[BALL], [BALL, CAT], [CAT], [], [BALL, BALL], [CROWD]]), Localizer(target="red ball"))
    assert capsys.readouterr().out == "red ball: 2 images with one, 2 without; 2 with several are left out\n"
    assert found.image_ids.tolist() == [10, 11, 12, 13]


def test_what_largest_leaves_out_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """The counts of images, of those without an object, and of the smaller objects."""
    found = largest(index_of([[BALL, CAT], [CAT], [], [CROWD], [BALL, BALL]]), Simple())
    said = capsys.readouterr().out
    assert said == "the largest object of 3 images; 2 images without object are left out, and 3 other objects\n"
    assert found.image_ids.tolist() == [10, 11, 14]
    assert found.labels.tolist() == [0, 0, 2]


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (None, "the data has 3 classes (cat, dog, red ball); name one of them: --target CLASS"),
        ("zebra", "target 'zebra': expected a class of the data; they are cat, dog, red ball"),
        ("ball", "target 'ball': expected a class of the data; did you mean red ball?"),
        ("dog", "dog: no image has exactly one, so there is nothing to learn from or to evaluate on"),
    ],
)
def test_targets_that_are_not_there(target: str | None, message: str) -> None:
    """No target among several classes, an unknown one, and one without an image: each with what to do."""
    with pytest.raises(ValueError, match=re.escape(message)):
        presence(index_of([[BALL, CAT], []]), Localizer(target=target))


def test_one_class_needs_no_name() -> None:
    """With a single class it is the target."""
    assert len(presence(index_of([[(0, 0, 0, 5, 5, False)]], ["cell"]), Localizer())) == 1


def test_mean_box() -> None:
    """The mean of all boxes as fractions of the images."""
    assert mean_box(index_of([[BALL], [CAT], []])).tolist() == [0.05, 0.05, 0.75, 0.8]
