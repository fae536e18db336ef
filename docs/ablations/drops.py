"""Does AP50 drop abruptly late in a training, and in which curve? Table and image of a study with `--probe --glance`.

    python docs/ablations/drops.py docs/ablations/objectness        # prints the table, draws drops.png there

A fall is the distance of a curve below its best value of the ten epochs before. For each run the table has the deepest
fall, and its epoch in brackets, of the evaluated AP50, of the sure detections in all images, and of a glance at the
batches just learned. `gradient` is the largest gradient norm in the epoch of the glance's fall, as a multiple of the
median over the epochs.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

from matplotlib.figure import Figure

from yolo.ablation.study import Study, StudyRun, read_study
from yolo.document import table as markdown_table
from yolo.files.atomic import replacing
from yolo.training.run_folder import METRICS, read_metrics

CURVES = {
    "AP50": "AP50, evaluated",
    "probe/sure_AP50": "AP50 at confidence 0.3, all images",
    "glance/AP50": "the same, batches just learned",
    "glance/AP50_batch": "the same, in training mode",
}
WINDOW = 10
"""The number of epochs before, with whose best value a value is compared."""


def main() -> None:
    """Read the study, print the table and draw the image."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path)
    parser.add_argument("--from-epoch", type=int, default=1, help="look for falls only from this epoch on")
    options = parser.parse_args()
    study = read_study(options.study)
    print(table(study, options.from_epoch))
    with replacing(options.study / "drops.png") as temporary:
        image(study).savefig(temporary, format="png")


def table(study: Study, start: int) -> str:
    """Return a table with a row for each run."""
    titles = ["run", *(f"fall of {curve}" for curve in CURVES), "gradient"]
    lines = []
    for run in begun(study):
        rows = read_metrics(run.folder)
        cells = []
        for curve in CURVES:
            depth, epoch = deepest(values(rows, curve), start)
            cells.append(f"{depth:.3f} ({epoch})")
        norms = values(rows, "train/gradient_max")
        _, epoch = deepest(values(rows, "glance/AP50"), start)
        cells.append(f"{norms[epoch] / statistics.median(norms.values()):.1f}" if epoch in norms else "")
        lines.append([run.name, *cells])
    return markdown_table(titles, lines, range(1, len(titles)))


def begun(study: Study) -> list[StudyRun]:
    """Return the runs that have metrics; others were not started yet."""
    return [run for run in study.runs() if (run.folder / METRICS).is_file()]


def values(rows: list[dict[str, float]], name: str) -> dict[int, float]:
    """Return the values of a metric by epoch, counted from 1; epochs without value are left out."""
    return {int(row["epoch"]) + 1: row[name] for row in rows if name in row}


def deepest(curve: dict[int, float], start: int) -> tuple[float, int]:
    """Return the deepest fall from epoch `start` on, and its epoch; 0 and 0 for a curve that never falls."""
    found = (0.0, 0)
    for epoch, value in curve.items():
        before = [v for e, v in curve.items() if epoch - WINDOW <= e < epoch]
        if epoch >= start and before and max(before) - value > found[0]:
            found = (max(before) - value, epoch)
    return found


def image(study: Study) -> Figure:
    """Draw a row for each variant, a diagram for each curve, a line for each seed."""
    figure = Figure(figsize=(3.2 * len(CURVES), 2.6 * len(study.variants)), dpi=110, layout="constrained")
    panels = figure.subplots(len(study.variants), len(CURVES), sharex=True, sharey=True, squeeze=False)
    for row, variant in zip(panels, study.variants, strict=True):
        for axes, curve in zip(row, CURVES, strict=True):
            for run in begun(study):
                if run.variant == variant:
                    points = values(read_metrics(run.folder), curve)
                    axes.plot(list(points), list(points.values()), linewidth=0.9, label=f"seed {run.seed}")
            axes.grid(alpha=0.3)
            axes.set_ylim(0, 1)
        row[0].set_ylabel(variant, fontsize=9)
    for axes, title in zip(panels[0], CURVES.values(), strict=True):
        axes.set_title(title, fontsize=9)
    for axes in panels[-1]:
        axes.set_xlabel("epoch", fontsize=9)
    panels[0][0].legend(fontsize=7, frameon=False)
    return figure


if __name__ == "__main__":
    main()
