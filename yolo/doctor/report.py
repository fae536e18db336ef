"""Findings as text, as json and as a page with sheets of the images."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from yolo.doctor.finding import KINDS, Finding
from yolo.doctor.opened import Part
from yolo.doctor.sheet import finding_sheet
from yolo.document import bullets, heading, illustration, paragraph, table, warning, write_html
from yolo.files.atomic import replacing
from yolo.files.shown import one_line
from yolo.images.files import write_image

LINES, ROWS, TILES = 10, 200, 24
"""The most findings of a kind in the text and on the page, and images on a sheet."""


def counts(findings: Sequence[Finding]) -> str:
    """Return how many findings there are, as a sentence."""
    if not findings:
        return "nothing was found"
    mend = sum(KINDS[finding.kind].mend for finding in findings)
    return f"{mend:,} to be mended, {len(findings) - mend:,} suspicions"


def sizes(parts: Sequence[Part]) -> list[str]:
    """Return a line for each split: images and boxes."""
    return [f"{part.name}: {len(part.data):,} images, {len(part.data.index.labels):,} boxes" for part in parts]


def as_text(parts: Sequence[Part], findings: Sequence[Finding], notes: Sequence[str]) -> str:
    """Return everything as text, with the first findings of each kind. `findings` are ordered."""
    lines = [*sizes(parts), *(f"note: {note}" for note in notes)]
    for kind, found in _by_kind(findings):
        what = KINDS[kind]
        lines += ["", f"{'MEND' if what.mend else 'suspicion'}: {what.title}: {len(found):,}. {what.remedy}"]
        lines += [f"  {one_line(_line(finding))}" for finding in found[:LINES]]
        lines += [f"  ... and {len(found) - LINES:,} more in doctor.json"] if len(found) > LINES else []
    return "\n".join([*lines, "", counts(findings)])


def as_json(parts: Sequence[Part], findings: Sequence[Finding], notes: Sequence[str]) -> dict[str, Any]:
    """Return everything for doctor.json. `findings` are ordered."""
    own = {part.name: part for part in parts}
    return {
        "splits": {part.name: {"images": len(part.data), "boxes": len(part.data.index.labels)} for part in parts},
        "notes": list(notes),
        "mend": any(KINDS[finding.kind].mend for finding in findings),
        "findings": [
            {
                "kind": finding.kind,
                "mend": KINDS[finding.kind].mend,
                "sentence": finding.sentence,
                "remedy": KINDS[finding.kind].remedy,
                "score": round(finding.score, 4),
                "places": list(finding.places),
                "images": [
                    {
                        "split": shown.split,
                        "path": str(own[shown.split].data.path(shown.image)),
                        "objects": [
                            {"label": own[shown.split].label(n), "box": list(own[shown.split].box(n))}
                            for n in shown.objects
                        ],
                        "seen": [{"label": words, "box": list(box)} for box, words in shown.boxes],
                    }
                    for shown in finding.shown
                ],
            }
            for finding in findings
        ],
    }


def write(
    out: Path, title: str, parts: Sequence[Part], findings: Sequence[Finding], notes: Sequence[str]
) -> list[Path]:
    """Write doctor.json, doctor.html and a sheet for each kind of finding that shows images; return the files."""
    with replacing(out / "doctor.json") as temporary:
        temporary.write_text(json.dumps(as_json(parts, findings, notes), indent=1, allow_nan=False), encoding="utf-8")
    own: Mapping[str, Part] = {part.name: part for part in parts}
    blocks = [heading(1, title), bullets([*sizes(parts), *notes]), paragraph(counts(findings))]
    files = [out / "doctor.json", out / "doctor.html"]
    for kind, found in _by_kind(findings):
        what = KINDS[kind]
        blocks += [heading(2, f"{what.title} ({len(found):,})"), (warning if what.mend else paragraph)(what.remedy)]
        image = finding_sheet(found, own, what.title, TILES)
        if image is not None:
            files.append(out / f"doctor-{kind.replace(' ', '-')}.png")
            write_image(files[-1], image)
            blocks.append(illustration(files[-1].name, f"{what.title}: the first images"))
        rows = [[finding.sentence, ", ".join(finding.places[:4])] for finding in found[:ROWS]]
        blocks.append(table(["what", "where"], rows))
    write_html(out / "doctor.html", title, blocks)
    return files


def _by_kind(findings: Sequence[Finding]) -> list[tuple[str, list[Finding]]]:
    return [(kind, list(found)) for kind, found in groupby(findings, key=lambda finding: finding.kind)]


def _line(finding: Finding) -> str:
    """Return a finding with the places that its sentence does not name."""
    places = [place for place in finding.places[:2] if place not in finding.sentence]
    return f"{', '.join(places)}: {finding.sentence}" if places else finding.sentence
