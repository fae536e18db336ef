"""What a run needs on the disk, asked for before it begins."""

from __future__ import annotations

from pathlib import Path

from yolo.files.disk import in_words, need_room
from yolo.models.detector import Detector
from yolo.options.training import Training
from yolo.training.run_folder import BEST, LAST

MOMENTS = {"sgd": 1, "adam": 2, "adamw": 2}
"""Numbers that an optimizer keeps for each weight."""


def checkpoint_bytes(detector: Detector, options: Training) -> tuple[int, int]:
    """Return about how many bytes `last.pt` and `best.safetensors` will have: their tensors."""
    best = sum(value.nbytes for value in detector.network.state_dict().values())
    moments = sum(p.nbytes for p in detector.network.parameters() if p.requires_grad) * MOMENTS[options.optimizer]
    return best * (2 if options.ema else 1) + moments, best


def check_room(detector: Detector, options: Training) -> None:
    """Raise OSError if both files do not fit on the disk of the run twice, as while one replaces an older one.

    Files that a resumed run has already count as room.
    """
    folder = options.out or Path("runs")
    there = sum((folder / name).stat().st_size for name in (LAST, BEST) if (folder / name).is_file())
    last, best = checkpoint_bytes(detector, options)
    what = f"{LAST} of {in_words(last)} and {BEST} of {in_words(best)}, each beside the one that it replaces"
    need_room(folder, 2 * (last + best) - there, what, "make room, or give another folder with --out")
