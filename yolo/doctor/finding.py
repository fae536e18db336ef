"""What the doctor finds: kinds, from the most serious to the least, and findings. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

Box = tuple[float, float, float, float]


class Kind(NamedTuple):
    """A kind of finding: whether it must be mended, what it is in words, and what to do about it."""

    mend: bool
    title: str
    remedy: str
    clears: bool = False
    """Whether a model that agrees with the label clears the suspicion."""


# fmt: off
KINDS = {
    "split": Kind(True, "splits that cannot be used", "Mend the cause; every other command stops at it too."),
    "fault": Kind(True, "faults", "Correct the files, or leave these images out with --bad skip."),
    "leak": Kind(True, "one image in several splits", "Keep all copies of an image in one split, or the score of the "
                 "model is too high: it has seen the answers."),
    "contradiction": Kind(True, "copies of an image with other labels", "Keep the copy whose labels are right."),
    "class order": Kind(True, "classes that differ between splits", "Export all splits with one list of classes."),
    "repeated box": Kind(True, "the same box twice", "Delete one of them: only one can be found, the other is missed."),
    "wrong class": Kind(False, "labels of another class than the model sees", "Look at the image; correct the class."),
    "misplaced box": Kind(False, "labels beside what the model sees", "Look at the image; move the box."),
    "missing label": Kind(False, "objects that the model sees and nobody labelled", "Look at the image; add a label."),
    "never found": Kind(False, "labels that the model does not find, although it finds others like them",
                        "Look at the image; delete the label, or correct its class or box."),
    "whole image": Kind(False, "boxes of the whole image", "Look at the image; draw the box around the object.", True),
    "thin box": Kind(False, "boxes of a pixel", "Delete them: a click by mistake, or coordinates in another unit."),
    "odd size": Kind(False, "boxes much larger or smaller than the others of their class", "Look at the image; correct "
                     "the box or the class.", True),
    "odd shape": Kind(False, "boxes of another shape than the others of their class", "Look at the image; correct the "
                      "box or the class.", True),
    "two classes": Kind(False, "two classes for one box", "Delete the wrong one."),
    "nearly repeated": Kind(False, "two boxes for one object", "Delete one of them if it is one object."),
    "similar names": Kind(False, "classes whose names differ in case or blanks only", "Give them one name."),
    "class lacks objects": Kind(False, "classes that only some splits have", "Move images with them between the "
                                "splits: a class is learned from train and measured on val."),
    "unlabelled": Kind(False, "images without labels beside labelled ones", "Label them, or leave them as they are if "
                       "they show no object."),
    "copy": Kind(False, "one image several times in a split", "Keep one of them, unless they are copies on purpose."),
}
# fmt: on
"""The kinds of findings by name, the most serious first."""


class Shown(NamedTuple):
    """An image with what is odd in it: indices of objects of the split, and boxes xyxy in pixels with words."""

    split: str
    image: int
    objects: tuple[int, ...] = ()
    boxes: tuple[tuple[Box, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something that must be mended or looks wrong."""

    kind: str
    """A key of `KINDS`."""
    sentence: str
    """What was found."""
    places: tuple[str, ...] = ()
    """Where it is: files, with a line or an id where there is one."""
    shown: tuple[Shown, ...] = ()
    """Images for the sheet."""
    score: float = 1.0
    """How likely it is an error, within its kind; higher scores come first."""


def ordered(findings: list[Finding]) -> list[Finding]:
    """Return the findings, the most serious kind first, the likeliest of a kind first."""
    rank = {name: number for number, name in enumerate(KINDS)}
    return sorted(findings, key=lambda finding: (rank[finding.kind], -finding.score))
