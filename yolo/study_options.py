"""Options of studies: which variants, how often, with what. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, Suppress, arg

PILOT_SEED = 1_000_000
"""Of pilot runs: a seed that no study reaches."""


@dataclass(frozen=True, kw_only=True)
class Ablate:
    """Trains every variant of a grid with several seeds and compares them, with error bars.

    Within one seed all variants start from the same weights and see the same batches. Options of `train` that all runs
    share stand behind `--`: python -m yolo ablate blog --jobs 2 -- --data coco --limit 100. The same command goes on
    with a study that was interrupted; with more --seeds the study grows.
    """

    grid: Annotated[Positional[str], arg(metavar="GRID")]
    """What is compared: a name of config/ablations/ (box-loss, objectness, assignment, blog, full) or a YAML file."""
    out: Path | None = None
    """Folder of the study; by default runs/ablate-NAME. With --launcher ray every machine must see it under this
    path, and the data, too."""
    seeds: int = 5
    """Runs of each variant, with the seeds 0, 1, ...; below 5 no difference is called one."""
    jobs: int | None = None
    """Runs at once; by default one on a CPU, one for each GPU. A Ray cluster that is there decides by itself."""
    threads: int | None = None
    """Cores of each run; by default all, divided by the runs at once."""
    launcher: Literal["local", "ray"] = "local"
    """Who starts the runs: this process, or Ray, on the cluster of RAY_ADDRESS or else one that it makes here."""
    dry: bool = False
    """Print the commands and their number; start nothing and write nothing."""
    train: Suppress[tuple[str, ...]] = ()
    """The words behind `--`."""

    def __post_init__(self) -> None:
        least = {"seeds": self.seeds, "jobs": self.jobs, "threads": self.threads}
        for name, value in least.items():
            if value is not None and value < 1:
                raise ValueError(f"{name}={value}: expected at least 1")
        if self.seeds > PILOT_SEED:
            raise ValueError(f"seeds={self.seeds}: expected at most {PILOT_SEED:,}")
