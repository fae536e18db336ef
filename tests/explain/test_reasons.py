"""Every reason in a scene made by hand: few boxes, whole pixels, numbers that can be checked by eye."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.support.many import examples
from yolo.boxes import xyxy_to_cxcywh
from yolo.detection.nms import Suppression, nms, suppressors
from yolo.explain.reasons import Reason, reasons
from yolo.explain.scene import Scene
from yolo.explain.trace import Outcomes, Slots
from yolo.metrics.coco import evaluate
from yolo.metrics.collect import Collector
from yolo.metrics.verdict import verdict

Box = tuple[float, float, float, float]
NAMES = ["cat", "dog"]
CAT, DOG = 0, 1
WHOLE: Box = (0, 0, 10, 10)


def make_scene(
    objects: Sequence[tuple[Box, int]],
    predicted: Sequence[tuple[Box, float, tuple[float, float]]],
    *,
    crowd: Sequence[bool] | None = None,
    responsible: list[list[int]] | None = None,
    nms_threshold: float = 0.45,
) -> Scene:
    """Return a scene of objects (xyxy, class) and predicted boxes (xyxy, objectness, class scores); confidence 0.25."""
    places = torch.tensor([[0, 0, p, 0] for p in range(len(predicted))]).reshape(-1, 4)
    boxes = torch.tensor([box for box, _, _ in predicted]).reshape(-1, 4)
    objectness = torch.tensor([value for _, value, _ in predicted])
    classes = torch.tensor([values for _, _, values in predicted]).reshape(-1, 2)
    slots = Slots(places, boxes, objectness, classes, objectness[:, None] * classes)
    slot, labels = (slots.scores > 0.25).nonzero().unbind(1)
    order = slots.scores[slot, labels].sort(descending=True, stable=True).indices
    slot, labels = slot[order], labels[order]
    found, rule = xyxy_to_cxcywh(boxes[slot]), Suppression(nms_threshold)
    by, measure = suppressors(found, labels, nms(found, slots.scores[slot, labels], labels, rule), rule)
    corners = torch.tensor([box for box, _ in objects], dtype=torch.float64).reshape(-1, 4)
    return Scene(
        names=NAMES,
        boxes=torch.cat((corners[:, :2], corners[:, 2:] - corners[:, :2]), dim=1),
        labels=torch.tensor([label for _, label in objects], dtype=torch.int64),
        crowd=torch.tensor(list(crowd or [False] * len(objects)), dtype=torch.bool),
        slots=slots,
        candidates=Outcomes(slot, labels, slots.scores[slot, labels], boxes[slot], by, measure),
        responsible={} if responsible is None else {"prior": responsible},
        rule="prior",
        confidence=0.25,
        nms=nms_threshold,
        match_iou=0.5,
    )


def only(scene: Scene) -> Reason:
    """Return the reason of the first object."""
    return reasons(scene)[0]


def test_found() -> None:
    """The better of two boxes, which covers 80 of the 100 pixels; NMS drops the other."""
    scene = make_scene([(WHOLE, CAT)], [((0, 0, 10, 5), 0.5, (0.8, 0)), ((0, 0, 10, 8), 0.9, (1.0, 0))])
    assert only(scene) == Reason("found", "by D1 cat 0.900, IoU 0.800", slot=1, detection=0)
    assert scene.roles == [("found", "found object 1 (cat), IoU 0.800", 0, 0.8)]


def test_suppressed_for_the_box_of_another_object() -> None:
    """Two cats side by side, one box each; they overlap by 1/3, so the lower score is suppressed."""
    scene = make_scene(
        [((5, 0, 15, 10), CAT), (WHOLE, CAT)],
        [(WHOLE, 1.0, (0.9, 0)), ((5, 0, 15, 10), 1.0, (0.6, 0))],
        nms_threshold=0.3,
    )
    found = only(scene)
    assert found[0] == "suppressed"
    assert found[2:] == (1, 0, 1)
    assert found.text == (
        "a box with IoU 1.000 and score 0.600 was suppressed by D1 cat 0.900 (overlap 0.333 > 0.3), which found "
        "object 2 (cat) (IoU with this one 0.333)"
    )
    assert reasons(scene)[1].name == "found"


def test_suppressed_for_a_box_that_found_nothing() -> None:
    """The better score has the worse box: IoU 0.4 with the cat, 0.5 with the box that would have found it."""
    scene = make_scene([(WHOLE, CAT)], [((0, 0, 10, 4), 1.0, (0.9, 0)), ((0, 0, 10, 8), 1.0, (0.6, 0))])
    found = only(scene)
    assert found[0] == "suppressed"
    assert found[2:] == (1, 0, -1)
    assert found.text.endswith("(overlap 0.500 > 0.45), which found no object (IoU with this one 0.400)")
    assert [role.name for role in scene.roles] == ["badly placed"]


def test_wrong_class() -> None:
    """A cat is detected as a dog; the text has the score of cat there."""
    scene = make_scene([(WHOLE, CAT)], [((0, 0, 10, 8), 0.9, (0.1, 0.8))])
    assert only(scene) == Reason(
        "wrong class", "D1 dog 0.720 overlaps it with IoU 0.800; the score of cat there is 0.090", 0, 0
    )
    assert scene.roles[0][:1] + scene.roles[0][2:] == ("wrong class", 0, 0.8)


def test_the_detection_of_another_object_is_not_a_wrong_class() -> None:
    """A dog in the same place was found: no detection calls the cat a dog."""
    scene = make_scene([(WHOLE, CAT), (WHOLE, DOG)], [((0, 0, 10, 8), 0.9, (0.0, 0.8))])
    assert [reason.name for reason in reasons(scene)] == ["never confident", "found"]


def test_badly_placed() -> None:
    """One detection of its class covers 30 of its 100 pixels, another one 20."""
    scene = make_scene([(WHOLE, CAT)], [((0, 0, 10, 3), 0.8, (1.0, 0)), ((0, 8, 10, 10), 0.9, (1.0, 0))])
    assert only(scene) == Reason("badly placed", "D2 cat 0.800 is nearest, but its IoU is 0.300 < 0.5", 0, 1)


def test_a_duplicate_of_another_object_is_not_badly_placed() -> None:
    """The second detection is on a cat that has a better one; that it touches the other cat does not matter."""
    cats = [((5, 0, 15, 10), CAT), (WHOLE, CAT)]
    scene = make_scene(cats, [(WHOLE, 1.0, (0.9, 0)), ((0, 0, 10, 6), 1.0, (0.8, 0))], nms_threshold=0.7)
    assert [reason.name for reason in reasons(scene)] == ["no box", "found"]
    assert [role.name for role in scene.roles] == ["found", "duplicate"]


@pytest.mark.parametrize(
    ("objectness", "own", "weak"), [(0.2, 0.9, "objectness"), (0.9, 0.2, "class"), (0.5, 0.5, "objectness")]
)
def test_below_threshold(objectness: float, own: float, weak: str) -> None:
    """A good box has half the threshold or more but is not above it, as 0.5 x 0.5; the smaller factor is named."""
    scene = make_scene([(WHOLE, CAT)], [((0, 0, 10, 8), objectness, (own, 0)), (WHOLE, 0.1, (0.1, 0))])
    found = only(scene)
    assert (found.name, found.slot, found.detection) == ("below threshold", 0, -1)
    assert found.text == (
        f"a box with IoU 0.800 has the score {objectness * own:.3f}, not above 0.25: "
        f"objectness {objectness:.3f} x class {own:.3f}; {weak} is the smaller factor"
    )


def test_collision() -> None:
    """Two labels share a slot: the reason of the cat that is missed names the other, found or not."""
    cats = [((0, 0, 10, 4), CAT), (WHOLE, CAT)]
    found, other = reasons(make_scene(cats, [(WHOLE, 0.9, (1.0, 0))], responsible=[[0], [0]]))
    assert found.name == "collision"
    assert found[2:] == (0, 0, 1)
    assert found.text == (
        "shares scale 0, anchor 0, row 0, column 0 with object 2 (cat), which D1 found: one box for two labels (prior)"
    )
    assert other.name == "found"
    both = reasons(make_scene(cats, [(WHOLE, 0.1, (1.0, 0))], responsible=[[0], [0]]))
    assert [reason.name for reason in both] == ["collision", "collision"]
    assert "object 1 (cat), which is missed, too" in both[1].text


def test_one_slot_of_its_own_is_no_collision() -> None:
    """By a rule with a slot on each scale, sharing only some of them is not a collision."""
    cats = [((0, 0, 10, 4), CAT), (WHOLE, CAT)]
    predicted = [(WHOLE, 0.1, (1.0, 0)), (WHOLE, 0.01, (1.0, 0.0))]
    first, second = reasons(make_scene(cats, predicted, responsible=[[0, 1], [0]]))
    assert (first.name, second.name) == ("no box", "collision")


def test_taken() -> None:
    """One detection on two cats is assigned to the one that it overlaps more."""
    cats = [((0, 0, 10, 6), CAT), (WHOLE, CAT)]
    scene = make_scene(cats, [(WHOLE, 0.9, (1.0, 0))], responsible=[[], [0]])
    found = only(scene)
    assert found.text == "D1 cat 0.900 overlaps it with IoU 0.600, but was assigned to object 2 (cat) (IoU 1.000)"
    assert (found.name, *found[2:]) == ("taken", 0, 0, 1)


def test_no_anchor() -> None:
    """No slot is responsible for it by the rule of training."""
    scene = make_scene([((0, 0, 40, 10), CAT)], [(WHOLE, 0.01, (1.0, 0))], responsible=[[]])
    assert only(scene) == Reason("no anchor", "no anchor of any scale is similar to its 40 x 10 pixels (prior)")


def test_never_confident() -> None:
    """A good box is far below the threshold; the smaller factor is named."""
    scene = make_scene(
        [(WHOLE, CAT)], [((0, 0, 10, 8), 0.01, (0.9, 0)), ((0, 0, 10, 3), 0.2, (1.0, 0))], responsible=[[0]]
    )
    assert only(scene) == Reason(
        "never confident",
        "its best box, IoU 0.800, has the score 0.009: objectness 0.010 x class 0.900; objectness is the smaller "
        "factor",
        slot=0,
    )


def test_no_box() -> None:
    """No box is good; the text has the nearest one. A detection of the same class is elsewhere."""
    scene = make_scene([(WHOLE, CAT)], [((0, 0, 10, 3), 0.2, (0.1, 0)), ((9, 9, 19, 19), 0.9, (0.9, 0))])
    assert only(scene) == Reason(
        "no box",
        "no box of the network has IoU 0.5 with it; the nearest has 0.300 (score 0.020: objectness 0.200 x class "
        "0.100)",
        slot=0,
    )


def test_set_aside() -> None:
    """A crowd with a detection in it, and a box without area."""
    objects: list[tuple[Box, int]] = [((0, 0, 100, 100), CAT), ((50, 50, 50, 60), DOG)]
    scene = make_scene(objects, [(WHOLE, 0.9, (1.0, 0))], crowd=[True, False])
    crowd, line = reasons(scene)
    assert crowd.text == "a crowd counts neither as found nor as missed; detections in it: 1"
    assert (line.name, "no area" in line.text) == ("set aside", True)
    assert scene.roles[0] == ("crowd", "in the crowd object 1 (cat), IoU 1.000", 0, 1.0)


def test_false_detections() -> None:
    """Both wrong, and background, near an object and not."""
    predicted = [((0, 0, 10, 2), 0.9, (0.0, 1.0)), ((9, 9, 19, 19), 0.8, (1.0, 0)), ((50, 50, 60, 60), 0.7, (1.0, 0))]
    roles = make_scene([(WHOLE, CAT)], predicted).roles
    assert [(role.name, role.object) for role in roles] == [("both wrong", 0), ("background", 0), ("background", -1)]
    assert roles[1].text == "nearest to object 1 (cat), IoU 0.005"
    assert roles[2].text == "overlaps no object"


def test_nothing() -> None:
    """Scenes without objects, and without boxes above the threshold."""
    assert reasons(make_scene([], [(WHOLE, 0.9, (1.0, 0))])) == []
    assert make_scene([], [(WHOLE, 0.9, (1.0, 0))]).roles[0].name == "background"
    assert make_scene([], [(WHOLE, 0.1, (1.0, 0))]).roles == []


def test_not_a_number() -> None:
    """With NaN predictions the object is never confident, whatever the order of comparisons."""
    nan = float("nan")
    scene = make_scene([(WHOLE, CAT)], [((nan, 0, 10, nan), nan, (nan, nan)), (WHOLE, nan, (0.5, 0))])
    assert only(scene).name == "never confident"
    assert "objectness nan x class 0.500" in only(scene).text


@given(st.data())
@examples(25)
def test_found_agrees_with_coco(data: st.DataObject) -> None:
    """Random scenes: each object has one reason, found where COCO's metrics have a hit; each detection has one role."""
    numbers = st.integers(0, 12)
    box = st.tuples(numbers, numbers, st.integers(1, 12), st.integers(1, 12)).map(
        lambda b: (float(b[0]), float(b[1]), float(b[0] + b[2]), float(b[1] + b[3]))
    )
    share = st.sampled_from([0.0, 0.1, 0.3, 0.6, 0.9])
    objects = data.draw(st.lists(st.tuples(box, st.integers(0, 1)), max_size=6))
    predicted = data.draw(st.lists(st.tuples(box, share, st.tuples(share, share)), min_size=1, max_size=12))
    crowd = data.draw(st.lists(st.booleans(), min_size=len(objects), max_size=len(objects)))
    responsible = data.draw(
        st.lists(
            st.lists(st.integers(0, len(predicted) - 1), max_size=2), min_size=len(objects), max_size=len(objects)
        )
    )  # fmt: skip
    scene = make_scene(objects, predicted, crowd=crowd, responsible=responsible)
    collected = Collector(NAMES)
    target = {
        "boxes": torch.tensor([b for b, _ in objects]).reshape(-1, 4),
        "labels": scene.labels,
        "iscrowd": scene.crowd,
        "image_id": 1,
    }
    found = scene.candidates.detections()
    collected.update([found], [target])
    judged = verdict(evaluate(collected.records(), NAMES))
    given_reasons = reasons(scene)
    assert len(given_reasons) == len(objects)
    assert len(scene.roles) == len(found)
    assert sum(reason.name == "found" for reason in given_reasons) == int(judged.hit.sum())
    missed = {tuple(row) for row in judged.records.truths.boxes[judged.missed].tolist()}
    for g, reason in enumerate(given_reasons):
        if reason.name not in ("found", "set aside"):
            assert tuple(scene.boxes[g].tolist()) in missed
    assert sorted(role.object for role in scene.roles if role.name == "found") == sorted(
        g for g, reason in enumerate(given_reasons) if reason.name == "found"
    )
