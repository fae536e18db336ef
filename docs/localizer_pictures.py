"""Draws the images of docs/localizer.md into docs/localizer/.

    python docs/localizer_pictures.py [--out docs/localizer]

Nothing is downloaded. Losses, head, rotation and the set of single objects are those of the program.

Letters: `B` images of a batch.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Polygon, Rectangle
from numpy.random import RandomState
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, l1_loss

from yolo.boxes import corners_in_order, iou, xyxy_to_cxcywh
from yolo.data.order import torch_chance
from yolo.data.shapes.singles import LEVELS, draw_single
from yolo.data.warp import Turned, Warp
from yolo.files.atomic import replacing
from yolo.localize.heads import LocalizationNet
from yolo.localize.loss import BOX_LOSSES, LocalizationLoss
from yolo.size import Size

SIDE = 24
"""Width and height of the drawn images of `negatives` and `pooling`, in pixels."""

RATIOS = (0, 1, 3, 10)
"""Negatives per positive in the trainings of `negatives`."""


def losses() -> Figure:
    """Draw every box loss, and its slope, for a box that is shifted away from the truth."""
    truth = torch.tensor([[0.1, 0.4, 0.3, 0.6]])
    figure, (values, slopes) = _page(3.4, 1, 1)
    for name in BOX_LOSSES:
        shift = torch.linspace(0, 0.6, 241, requires_grad=True)
        boxes = truth + shift[:, None] * torch.tensor([1.0, 0, 1, 0])
        loss = LocalizationLoss(bbox_loss=name)
        each = torch.stack([loss.terms(torch.zeros(1), box[None], torch.ones(1), truth).box for box in boxes])
        (slope,) = torch.autograd.grad(each.sum(), shift)
        values.plot(shift.detach(), each.detach(), label=name)
        slopes.plot(shift.detach()[1:], slope[1:])
    slopes.set(yscale="log", ylim=(0.01, 20))
    for axes, title in ((values, "loss"), (slopes, "slope of the loss")):
        axes.axvline(0.2, color="grey", linestyle="dotted")
        axes.text(0.21, 0.92, "no overlap", color="grey", fontsize=9, transform=axes.get_xaxis_transform())
        axes.set(title=title, xlabel="shift of the box, in widths of the image", xlim=(0, 0.6))
        axes.grid(alpha=0.3)
    figure.legend(loc="outside right center", frameon=False)
    return figure


def negatives() -> Figure:
    """Draw what the box branch learns if the box of an image without object is taken for (0, 0, 0, 0)."""
    test, truths = discs(RandomState(1), 300)
    styles = {True: ("tab:blue", "negatives skipped"), False: ("tab:red", "box of a negative 0, 0, 0, 0")}
    figure, (*images, curve) = _page(2.9, 1, 1, 1, 1.7)
    for masked, (colour, label) in styles.items():
        answers = [boxes_of(test, ratio, masked=masked) for ratio in RATIOS]
        overlaps = [iou(xyxy_to_cxcywh(corners_in_order(boxes)), xyxy_to_cxcywh(truths)).mean() for boxes in answers]
        curve.plot(range(len(RATIOS)), overlaps, "o-", color=colour, label=label)
        for axes, k in zip(images, (0, 1, 2), strict=True):
            x1, y1, x2, y2 = box = answers[-1][k] * SIDE
            axes.add_patch(_rectangle(box, colour))
            axes.plot((x1 + x2) / 2, (y1 + y2) / 2, "o", color=colour, clip_on=False)  # seen also without area
    for axes, k in zip(images, (0, 1, 2), strict=True):
        axes.imshow(test[k, 0], cmap="gray", extent=(0, SIDE, SIDE, 0), vmin=-1, vmax=2)
        axes.add_patch(_rectangle(truths[k] * SIDE, "tab:green"))
        axes.set(xticks=[], yticks=[])
    images[1].set_title(f"green: truth; others: answers after {RATIOS[-1]} negatives per positive")
    curve.set(title="IoU of unseen objects", xlabel="negatives per positive", ylim=(0, 1))
    curve.set_xticks(range(len(RATIOS)), [str(ratio) for ratio in RATIOS])
    curve.grid(alpha=0.3)
    curve.legend(fontsize=9, loc="lower left")
    return figure


def discs(random: RandomState, images: int) -> tuple[Tensor, Tensor]:
    """Return noisy images float32 `[B, 1, SIDE, SIDE]`, each with a disc, and the boxes `[B, 4]` xyxy as fractions.

    Some discs are faint, so that one cannot always say whether there is one.
    """
    radius = random.uniform(4, 7, images)
    x, y = random.uniform(radius, SIDE - radius, (2, images))
    boxes = np.stack((x - radius, y - radius, x + radius, y + radius), 1) / SIDE
    inside = np.stack([_disc(*each) for each in zip(x, y, radius, strict=True)])
    pixels = random.uniform(0.2, 1, images)[:, None, None] * inside + random.normal(0, 0.5, inside.shape)
    return torch.from_numpy(pixels[:, None]).float(), torch.from_numpy(boxes).float()


def boxes_of(test: Tensor, ratio: int, *, masked: bool, positives: int = 300, steps: int = 150) -> Tensor:
    """Train a head on discs and `ratio` times as many images of noise, and return its boxes `[B, 4]` for `test`.

    With `masked` the box term is that of the program. Otherwise negatives have the box (0, 0, 0, 0) and count as well.
    """
    random = RandomState(0)
    objects, truths = discs(random, positives)
    noise = torch.from_numpy(random.normal(0, 0.5, (positives * ratio, 1, SIDE, SIDE))).float()
    features = adaptive_avg_pool2d(torch.cat((objects, noise)), 6)
    labels = torch.cat((torch.ones(positives), torch.zeros(len(noise))))
    truths = torch.cat((truths, torch.zeros(len(noise), 4)))
    loss = LocalizationLoss(bbox_loss="l1")
    with torch_chance(0):
        network = LocalizationNet(features[0].numel(), 64)
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    for _ in range(steps):
        logits, boxes = network(features)
        terms = loss.terms(logits, boxes, labels, truths)
        total = terms.cls + 5 * (terms.box if masked else l1_loss(boxes, truths))
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
    with torch.no_grad():
        return network.eval()(adaptive_avg_pool2d(test, 6))[1]


def pooling() -> Figure:
    """Draw two images that have the same mean, and their 3 x 3 means."""
    figure, panels = _page(2, *(1,) * 6)
    for k, x in enumerate((6, 18)):
        pixels = torch.from_numpy(_disc(x, SIDE / 2, 4)).float()
        titles = {SIDE: "an image", 3: "grid", 1: "vector"}
        for axes, (cells, title) in zip(panels[3 * k :], titles.items(), strict=False):
            means = adaptive_avg_pool2d(pixels[None], cells)[0]
            axes.imshow(means, cmap="viridis", vmin=0, vmax=1 if cells == SIDE else 0.5)
            axes.set(title=title, xticks=[], yticks=[])
            for (i, j), value in np.ndenumerate(means.numpy()) if cells <= 3 else ():
                axes.text(j, i, f"{value:.3f}", ha="center", va="center", color="white", fontsize=9)
    return figure


def baseline() -> Figure:
    """Draw boxes of the three sets of `get singles`, and the mean box with its mean IoU."""
    figure, panels = _page(3.4, 1, 1, 1)
    for axes, level in zip(panels, LEVELS, strict=True):
        scenes = [draw_single(RandomState(seed), level) for seed in range(200)]
        boxes = torch.tensor(np.array([_box_around(scene.owner >= 0) for scene in scenes]))
        mean = boxes.mean(0)
        overlap = float(iou(xyxy_to_cxcywh(boxes), xyxy_to_cxcywh(mean)).mean())
        for box in boxes[:40]:
            axes.add_patch(_rectangle(box, "tab:green", linewidth=0.6))
        axes.add_patch(_rectangle(mean, "tab:red", linewidth=2.5))
        axes.set(title=f"{level}: IoU of the mean box {overlap:.2f}", xlim=(0, 128), ylim=(128, 0), aspect="equal")
        axes.set(xticks=[], yticks=[])
    return figure


def rotation() -> Figure:
    """Draw a rotated disc, its box, and the box around its rotated box."""
    figure, panels = _page(3.4, 1, 1, 1)
    size, box = Size(100, 100), np.array([[20.0, 20, 80, 80]])
    for axes, degrees in zip(panels, (5, 10, 15), strict=True):
        turned = Turned(Warp.fit(size, size), degrees, size)
        (loose,) = torch.from_numpy(turned.boxes(box))
        corners = box[0][[0, 1, 2, 1, 2, 3, 0, 3]].reshape(4, 2) @ turned.matrix[:, :2].T + turned.matrix[:, 2]
        overlap = float(iou(xyxy_to_cxcywh(loose), xyxy_to_cxcywh(torch.from_numpy(box[0]))))
        axes.add_patch(Circle((50, 50), 30, color="0.8"))
        axes.add_patch(Polygon(corners, fill=False, color="grey", linestyle="dashed"))
        axes.add_patch(_rectangle(box[0], "tab:green"))
        axes.add_patch(_rectangle(loose, "tab:red"))
        axes.set(title=f"{degrees} degrees: IoU {overlap:.2f}", xlim=(0, 100), ylim=(100, 0), aspect="equal")
        axes.set(xticks=[], yticks=[])
    return figure


def _page(height: float, *widths: float) -> tuple[Figure, list[Axes]]:
    """Return a figure of that height, in inches, with a panel for each relative width."""
    figure = Figure(figsize=(10, height), layout="constrained", dpi=90)
    return figure, list(figure.subplots(1, len(widths), width_ratios=widths))


def _disc(x: float, y: float, radius: float) -> np.ndarray:
    """Return a disc as bool `[SIDE, SIDE]`."""
    rows, columns = np.mgrid[:SIDE, :SIDE] + 0.5
    return (columns - x) ** 2 + (rows - y) ** 2 <= radius**2


def _box_around(mask: np.ndarray) -> tuple[float, float, float, float]:
    """Return the box xyxy around the pixels of a mask."""
    rows, columns = np.nonzero(mask)
    return columns.min(), rows.min(), columns.max() + 1.0, rows.max() + 1.0


def _rectangle(box: Tensor | np.ndarray, colour: str, linewidth: float = 2) -> Rectangle:
    """Return the outline of a box `[4]` xyxy."""
    x1, y1, x2, y2 = box.tolist()
    return Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, color=colour, linewidth=linewidth, clip_on=False)


IMAGES = (losses, negatives, pooling, baseline, rotation)


def main() -> None:
    """Write an image for each function of `IMAGES`, under its name."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(""))
    folder = parser.parse_args().out
    folder.mkdir(parents=True, exist_ok=True)
    for image in IMAGES:
        with replacing(folder / f"{image.__name__}.png") as temporary:
            image().savefig(temporary, format="png")


if __name__ == "__main__":
    main()
