"""Draw docs/training.png: AP50 and AP over the epochs of complete runs, one panel for each.

    python docs/training.py "the quick start=runs/train" "100 images of COCO=runs/small-data" --out docs/training.png

`TITLE=FOLDER,FOLDER` draws several runs in one panel; their lines are then labelled with the names of the folders.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from yolo.files.atomic import replacing
from yolo.training.run_folder import read_metrics

METRICS = {"AP50": "-", "AP": "--"}


def main() -> None:
    """Read the runs and write the image."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("panels", nargs="+", metavar="TITLE=FOLDER[,FOLDER]")
    parser.add_argument("--out", type=Path, default=Path("docs/training.png"))
    options = parser.parse_args()
    figure = Figure(figsize=(4 * len(options.panels), 3), dpi=110, layout="constrained")
    for axes, panel in zip(figure.subplots(1, len(options.panels), squeeze=False)[0], options.panels, strict=True):
        title, _, folders = panel.partition("=")
        draw(axes, title, [Path(folder) for folder in folders.split(",")])
    with replacing(options.out) as temporary:
        figure.savefig(temporary, format="png")


def draw(axes: Axes, title: str, runs: list[Path]) -> None:
    """Draw the curves of some runs, one colour for each: AP50 solid, AP dashed."""
    for number, run in enumerate(runs):
        rows = [row for row in read_metrics(run) if "AP" in row]
        for metric, style in METRICS.items():
            label = metric if len(runs) == 1 else f"{run.name}, {metric}"
            axes.plot(
                [row["epoch"] + 1 for row in rows],
                [row[metric] for row in rows],
                style,
                color=f"C{number}",
                marker="o",
                markersize=3,
                label=label,
            )
    axes.set(title=title, xlabel="epoch", ylim=(0, 1), xlim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2, frameon=False, fontsize="small")


if __name__ == "__main__":
    main()
