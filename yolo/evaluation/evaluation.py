"""What an evaluation gives: its numbers, its tables, its files."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from yolo.evaluation.report import Report, class_rows, class_table, summary_dict, table, write_report
from yolo.images.files import write_image
from yolo.metrics.precision import defined
from yolo.models.detector import Score


@dataclass(frozen=True)
class Evaluation:
    """The numbers of an evaluation; `print` shows the tables of `python -m yolo eval`."""

    report: Report
    score: Score
    """The model's own metrics."""
    resamples: int
    """Number of resamples for the 95 % intervals; 0 for no intervals."""
    pycocotools: float | None = None
    """The largest difference from pycocotools, if it was run as well."""

    @property
    def numbers(self) -> dict[str, float | None]:
        """COCO's twelve by name (`AP`, `AP50`, ...), then the model's own; None where the data does not define one."""
        return {name: defined(value) for name, value in self.report.result.numbers().items()} | self.own

    @property
    def own(self) -> dict[str, float | None]:
        """The model's own metrics by name."""
        return {name: None if math.isnan(value) else value for name, value in self.score.values.items()}

    @property
    def per_class(self) -> list[dict[str, Any]]:
        """The rows of per_class.csv: a dict for each class, with None where a class without objects has no number."""
        return [{key: None if value == -1 else value for key, value in row.items()} for row in class_rows(self.report)]

    @property
    def conditions(self) -> dict[str, str]:
        """What the numbers depend on, in words by topic."""
        return dict(self.report.conditions)

    @property
    def summary(self) -> dict[str, Any]:
        """The content of metrics.json: all numbers, with intervals, errors and conditions."""
        return summary_dict(self.report) | ({"own": self.own} if self.own else {})

    @cached_property
    def _own_intervals(self) -> dict[str, tuple[float, float]]:
        return dict(self.score.intervals(self.resamples)) if self.resamples else {}

    def __str__(self) -> str:
        lines = [table(self.report)]
        for name, value in self.score.values.items():
            ends = "   {:.4f} to {:.4f}".format(*self._own_intervals[name]) if name in self._own_intervals else ""
            lines.append(f"{name:<14}{value:9.4f}{ends}")
        lines += ["", class_table(self.report)]
        if self.pycocotools is not None:
            gap = f"{self.pycocotools:.1e}"
            lines += ["", f"pycocotools: the largest difference, over all precisions, recalls and the twelve, is {gap}"]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"Evaluation({self.numbers})"

    def write(self, folder: Path) -> str:
        """Write metrics.json, per_class.csv and the plots, and return a line that says so. Raises OSError."""
        write_report(self.report, folder, self.summary)
        figures = self.score.figures()
        for name, figure in figures.items():
            write_image(folder / f"{name}.png", figure)
        return f"written to {folder}: metrics.json, per_class.csv, {4 + len(figures)} plots"
