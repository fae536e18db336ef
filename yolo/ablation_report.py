"""What a study says: a table of final and best values for every variant."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from statistics import mean, stdev

from yolo.atomic import replacing
from yolo.runs import read_metrics
from yolo.study import finished, read_study

METRICS = ("AP50", "AP")


def write_report(folder: Path) -> None:
    """Writes report.md of the finished runs: mean ± standard deviation over the seeds, of the last and best epoch."""
    study = read_study(folder)
    heads = ["variant", "runs", *(f"{when} {name}" for name in METRICS for when in ("final", "best"))]
    rows = [heads, ["---"] * len(heads)]
    for variant in study.variants:
        runs = [read_metrics(run.folder) for run in study.runs() if run.variant == variant and finished(run.folder)]
        row = [variant, str(len(runs))]
        for name in METRICS:
            curves = [[line[name] for line in run if line.get(name) is not None] for run in runs]
            row += [_cell(curve[-1] for curve in curves), _cell(max(curve) for curve in curves)]
        rows.append(row)
    with replacing(study.folder / "report.md") as temporary:
        temporary.write_text("".join(f"| {' | '.join(row)} |\n" for row in rows), encoding="utf-8")


def _cell(values: Iterable[float]) -> str:
    """Mean and standard deviation; a dash where there is no run, no deviation where there is one."""
    found = list(values)
    if not found:
        return "-"
    return f"{mean(found):.4f}" + (f" ± {stdev(found):.4f}" if len(found) > 1 else "")
