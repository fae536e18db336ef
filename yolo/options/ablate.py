"""The options of `ablate`. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, Suppress, arg

from yolo.options.bounds import Bound, Checked, MaybeCount

PILOT_SEED = 1_000_000
"""Seed of pilot runs; the seeds of a study are all lower."""


@dataclass(frozen=True, kw_only=True)
class Ablate(Checked):
    """Train every variant of a grid with several seeds and compare them, with error bars.

    Within one seed all variants start from the same weights and see the same batches. Options of `train` that all runs
    share come after `--`: python -m yolo ablate blog --jobs 2 -- --data coco --limit 100. The same command continues a
    study that was interrupted; with more --seeds the study grows.
    """

    grid: Annotated[Positional[str], arg(metavar="GRID")]
    """What to compare: a name of config/ablations/ (box-loss, objectness, assignment, detectors,
    blog, full, simple) or a YAML file."""
    out: Path | None = None
    """Folder of the study; by default runs/ablate-NAME. With --launcher ray, the folder and the data must have the same
    path on every machine."""
    seeds: Annotated[int, Bound(f"at least 1, at most {PILOT_SEED:,}", low=1, high=PILOT_SEED)] = 5
    """Runs of each variant, with the seeds 0, 1, ...; with fewer than 5, no difference is reported as significant."""
    jobs: MaybeCount = None
    """Runs at once; by default one on a CPU, one for each GPU. An existing Ray cluster decides by itself."""
    threads: MaybeCount = None
    """Cores of each run; by default all, divided by the number of runs at once."""
    launcher: Literal["local", "ray"] = "local"
    """Start the runs from this process, or with Ray, on the cluster of RAY_ADDRESS or else a new one here."""
    dry: bool = False
    """Print the commands and their number; start nothing and write nothing."""
    train: Suppress[tuple[str, ...]] = ()
    """The words after `--`."""
