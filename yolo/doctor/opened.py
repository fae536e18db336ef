"""All splits of a data set, opened one by one: a broken one does not hide the others."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from yolo.data.datasets import Format, ImageDataset, open_data, splits
from yolo.data.learnable import nothing_counts
from yolo.doctor.finding import Box, Finding, Shown

VALIDATION = ("val", "dev")
"""How the names of validation splits begin."""


@dataclass(frozen=True)
class Part:
    """A split."""

    name: str
    data: ImageDataset

    @property
    def names(self) -> list[str]:
        """The class names."""
        return self.data.index.names

    def label(self, n: int) -> str:
        """Return the class name of object `n`."""
        return self.names[int(self.data.index.labels[n])]

    def place(self, n: int) -> str:
        """Return where object `n` is in the user's files."""
        index = self.data.index
        return index.place(n) if index.place else str(index.path(self.image(n)))

    def image(self, n: int) -> int:
        """Return the image of object `n`."""
        return int(np.searchsorted(self.data.index.offsets, n, side="right")) - 1

    def about(self, kind: str, sentence: str, *objects: int, score: float = 1.0) -> Finding:
        """Return a finding about objects of one image."""
        shown = Shown(self.name, self.image(objects[0]), objects)
        return Finding(
            kind=kind, sentence=sentence, places=tuple(map(self.place, objects)), shown=(shown,), score=score
        )

    def box(self, n: int) -> Box:
        """Return the box of object `n`, xyxy in pixels."""
        x1, y1, x2, y2 = self.data.index.boxes[n].tolist()
        return x1, y1, x2, y2


def open_all(
    path: Path, split: str | None, data_format: Format | None, names: Path | None
) -> tuple[list[Part], list[Finding], list[str]]:
    """Return the splits, what the reader found wrong with them, and its notes.

    A split that cannot be read is a finding. One whose images are all in smaller splits, such as VOC's trainval, is
    left out with a note. Raises ValueError or OSError if there are no splits at all.
    """
    parts: list[Part] = []
    findings: list[Finding] = []
    for name in splits(path, split, data_format):
        try:
            data = open_data(
                path, split=name, data_format=data_format, bad="skip", names=names, quiet=True, places=True
            )
        except (OSError, ValueError) as problem:
            findings.append(Finding(kind="split", sentence=f"{name}: {problem}", places=(str(path),)))
        else:
            parts.append(Part(name, data))
            useless = "" if name.lower().startswith("test") else nothing_counts(data.index)  # tests may have no labels
            if useless:
                findings.append(Finding(kind="split", sentence=f"{name}: {useless}", places=(str(path),)))
    # Splits that are made of others.
    files = {part.name: set(part.data.index.paths.tolist()) for part in parts}
    sums = {
        name
        for name, own in files.items()
        if own <= set().union(*(other for other in files.values() if len(other) < len(own)))
    }
    notes = [f"{name}: all its images are in other splits too; it is not examined again" for name in sums]
    parts = [part for part in parts if part.name not in sums]
    # What the reader says, once: splits of one file have faults in common.
    faults = dict.fromkeys(fault for part in parts for fault in part.data.index.faults)
    findings += [Finding(kind="fault", sentence=fault, places=_place(fault)) for fault in faults]
    notes += dict.fromkeys(note for part in parts for note in part.data.index.notes)
    return parts, findings, notes


def _place(fault: str) -> tuple[str, ...]:
    """Return the file, with its line if there is one, that a fault begins with."""
    found = re.match(r"(.+?\.\w+(:\d+)?): ", fault)
    return (found[1],) if found else ()
