"""Draws docs/assignment.png and prints the table of docs/assignment.md: which anchor is responsible for which label.

    python docs/assignment.py [--out docs/assignment.png]

One image of 416 x 288 pixels, the heads of yolov3.cfg, three labels, the three rules. The network is untrained: its raw
predictions are small random numbers from seed 0, which only `prediction` reads.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from yolo.darknet.cfg import read_cfg
from yolo.darknet.heads import Head
from yolo.darknet.plan import make_plan
from yolo.darknet.sections import Yolo
from yolo.detection.assign import assign
from yolo.files.atomic import replacing

HEIGHT, WIDTH = 288, 416
RULES = ("ratio", "prediction", "prior")
LABELS = {  # centre x, y, width, height in pixels, colour
    "bus": (146, 140, 230, 190, "tab:blue"),
    "lamp": (330, 150, 24, 240, "tab:orange"),
    "ball": (46, 271, 22, 20, "tab:green"),
}


def problem() -> tuple[list[Head], list[Tensor], Tensor]:
    """Return the heads, raw predictions `[1, 3, H, W, 85]` of each, and labels `[3, 6]`."""
    layers = make_plan(read_cfg("yolov3.cfg"), (HEIGHT, WIDTH)).layers
    heads = [Head(layer.section, layer.stride) for layer in layers if isinstance(layer.section, Yolo)]
    g = torch.Generator().manual_seed(0)
    raws = [torch.randn(1, 3, HEIGHT // head.stride, WIDTH // head.stride, 85, generator=g) / 2 for head in heads]
    boxes = [(0, x / WIDTH, y / HEIGHT, w / WIDTH, h / HEIGHT, 0) for x, y, w, h, _ in LABELS.values()]
    return heads, raws, torch.tensor(boxes)


def matches(rule: str, raws: list[Tensor], labels: Tensor, heads: list[Head]) -> list[tuple[int, ...]]:
    """Return the six indices of every match."""
    found = assign(raws, labels, heads, rule).compact()
    return list(zip(*(index.tolist() for index in found), strict=True))


def table() -> list[str]:
    """Return the matches of each rule as rows of a Markdown table."""
    heads, raws, labels = problem()
    rows = ["| rule | label | (s, n, b, a, i, j) | anchor, pixels |", "|---|---|---|---|"]
    for rule in RULES:
        for s, n, b, a, i, j in matches(rule, raws, labels, heads):
            w, h = heads[s].anchors[a].tolist()
            rows.append(f"| `{rule}` | {list(LABELS)[n]} | ({s}, {n}, {b}, {a}, {i}, {j}) | {w:g} x {h:g} |")
    return rows


def draw(path: Path) -> None:
    """Draw a row of grids for each rule: labels as outlines, responsible cells filled, anchors or boxes dashed."""
    heads, raws, labels = problem()
    figure = Figure(figsize=(15, 11.4), layout="constrained", dpi=100)
    panels = figure.subplots(len(RULES), len(heads))
    for rule, row in zip(RULES, panels, strict=True):
        for s, (axes, head) in enumerate(zip(row, heads, strict=True)):
            _grid(axes, head.stride)
            axes.set_title(
                f"{rule}: scale {s}, {HEIGHT // head.stride} x {WIDTH // head.stride} cells of {head.stride} pixels"
            )
            for name, (x, y, w, h, colour) in LABELS.items():
                axes.add_patch(Rectangle((x - w / 2, y - h / 2), w, h, fill=False, color=colour, linewidth=2.2))
                axes.text(x - w / 2 + 3, y - h / 2 - 4, name, color=colour, fontsize=11)
            for _, n, b, a, i, j in (match for match in matches(rule, raws, labels, heads) if match[0] == s):
                box = head.decode(raws[s], (HEIGHT, WIDTH)).boxes[b, a, i, j] if rule == "prediction" else None
                _match(axes, head, a, i, j, box, list(LABELS.values())[n][4])
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")


def _grid(axes: Axes, stride: int) -> None:
    axes.set(xlim=(0, WIDTH), ylim=(HEIGHT, 0), aspect="equal", xticks=[0, WIDTH], yticks=[0, HEIGHT])
    axes.vlines(range(0, WIDTH + 1, stride), 0, HEIGHT, color="0.85", linewidth=0.7, zorder=0)
    axes.hlines(range(0, HEIGHT + 1, stride), 0, WIDTH, color="0.85", linewidth=0.7, zorder=0)


def _match(axes: Axes, head: Head, a: int, i: int, j: int, box: Tensor | None, colour: str) -> None:
    """Draw the cell, filled, and what was compared with the label: the predicted box, or the anchor around the cell."""
    stride = head.stride
    axes.add_patch(Rectangle((j * stride, i * stride), stride, stride, color=colour, alpha=0.55, linewidth=0))
    x, y, (w, h) = (j + 0.5) * stride, (i + 0.5) * stride, head.anchors[a].tolist()
    if box is not None:
        x, y, w, h = (box * torch.tensor([WIDTH, HEIGHT, WIDTH, HEIGHT])).tolist()
    around = Rectangle((x - w / 2, y - h / 2), w, h, fill=False, color=colour, linestyle="--", linewidth=1.5)
    axes.add_patch(around)
    axes.annotate(
        f"a={a}, i={i}, j={j}",
        (x, y),
        xytext=(0, 14),
        textcoords="offset points",
        ha="center",
        bbox={"facecolor": "white", "alpha": 0.8, "edgecolor": colour, "pad": 2},
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".png"))
    draw(parser.parse_args().out)
    print("\n".join(table()))


if __name__ == "__main__":
    main()
