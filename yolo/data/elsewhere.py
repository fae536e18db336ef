"""What to say where no image of a split has labels: which files look like labels, and where they are. No torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from yolo.data.part import Part
from yolo.data.paths import files_below

ENDINGS = (".txt", ".xml", ".json")


def no_labels(part: Part, images: Sequence[str], looked_in: Path) -> tuple[str, bool]:
    """Return the message for a split of `images` without a label file, and whether there are such files elsewhere.

    A file may hold labels if it is named like one of the images.
    """
    stems = {Path(image).stem for image in images}
    found = Counter(
        (str(part.root / file.parent), file.suffix)
        for file in map(Path, files_below(part.root, ENDINGS))
        if file.stem in stems
    )
    places = [f"{folder} ({count:,} {ending} files)" for (folder, ending), count in found.most_common(5)]
    there = f"; files that may be labels are in {', '.join(places)}: move them there, or name their folder `labels`"
    text = (
        f"{part.source}: no label file found for any of the {len(images):,} images of the split {part.split}; "
        f"looked in {looked_in}{there if places else f', and below {part.root}'}"
    )
    return text, bool(places)
