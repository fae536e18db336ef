"""NMS of one image at confidence 0.001: ours beside torchvision's `batched_nms`.

    python benchmarks/nms.py [--candidates 26000] [--repeats 50]

The predictions have the shape of yolov3 at 416 (10,647 boxes, 80 classes). Boxes are scattered around 30 objects, with
class scores such that about `--candidates` pairs of box and class exceed the confidence. Both contenders keep the best
300 boxes at IoU 0.6. Contenders take turns; milliseconds per image are minimum, median, maximum.

`threshold` is what comes before either: decoding, and selecting candidates from the raw predictions. `total` is
everything from predictions to Detections; with a limit it decodes only the boxes that it needs.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import torch
import torchvision
from measure import race, timed
from torch import Tensor

from yolo.boxes import cxcywh_to_xyxy
from yolo.darknet.cfg import read_cfg
from yolo.darknet.heads import Decoded, Head
from yolo.darknet.plan import make_plan
from yolo.darknet.sections import Yolo
from yolo.detection.nms import Suppression, nms
from yolo.detection.postprocess import candidates, postprocess
from yolo.images.placement import Placement
from yolo.options.detection import Filter
from yolo.size import Size

SIZE = Size(416, 416)
CONFIDENCE, IOU, KEEP, OBJECTS = 0.001, 0.6, 300, 30


def heads() -> list[Head]:
    """Return the three heads of yolov3.cfg."""
    layers = make_plan(read_cfg("yolov3.cfg"), SIZE).layers
    return [Head(layer.section, layer.stride) for layer in layers if isinstance(layer.section, Yolo)]


def predictions(all_heads: list[Head], wanted: int, seed: int = 0) -> list[Tensor]:
    """Return raw predictions `[A, H, W, 85]` per head with about `wanted` (box, class) pairs above the confidence."""
    g = torch.Generator().manual_seed(seed)
    objects = torch.rand(OBJECTS, 2, generator=g)
    kinds = torch.randint(80, (OBJECTS,), generator=g)
    rows = []
    for head in all_heads:
        n = SIZE[0] // head.stride
        cells = (head.cells(n, n) + torch.rand(3, n, n, 2, generator=g)) / n
        distance, nearest = (cells[..., None, :] - objects).norm(dim=-1).min(-1)
        boxes = torch.cat((cells, torch.rand(3, n, n, 2, generator=g) * 0.2 + 0.05), dim=-1)
        objectness = (torch.exp(-distance * 12) * torch.rand(3, n, n, generator=g)).clamp(1e-5, 0.98)
        classes = torch.rand(3, n, n, 80, generator=g).pow(8) * 0.05 + 1e-6
        classes.scatter_(-1, kinds[nearest].unsqueeze(-1), 0.9)
        rows.append((boxes, objectness, classes))
    scores = torch.cat([(o[..., None] * c).flatten() for _, o, c in rows])
    scale = CONFIDENCE / scores.topk(wanted).values[-1]  # `wanted` scores are above the confidence, up to rounding
    return [
        head.encode(Decoded(b[None], (o * scale).clamp(max=0.99)[None], c[None]), SIZE)[0]
        for head, (b, o, c) in zip(all_heads, rows, strict=True)
    ]


def ours(candidates: Sequence[Tensor], kind: str = "iou", agnostic: bool = False, limit: int | None = KEEP) -> Tensor:
    """Return the indices of the kept candidates, whose boxes, scores and labels are given."""
    boxes, scores, labels = candidates
    return nms(boxes, scores, labels, Suppression(IOU, kind, 0.6, agnostic), limit)


@torch.inference_mode()  # as in the detector
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--candidates", type=int, default=26_000)
    parser.add_argument("--repeats", type=int, default=50)
    arguments = parser.parse_args()
    all_heads = heads()
    raw = predictions(all_heads, arguments.candidates)
    found = candidates(raw, all_heads, SIZE, CONFIDENCE)
    fields = (found.boxes, found.scores, found.labels)
    corners = cxcywh_to_xyxy(found.boxes)
    batch = [r.unsqueeze(0) for r in raw]
    placements = [Placement.letterbox(Size(480, 640), SIZE)]
    options = Filter(confidence=CONFIDENCE, nms=IOU, max_detections=KEEP)

    functions = {
        "threshold": lambda: candidates(raw, all_heads, SIZE, CONFIDENCE).scores,
        "ours": lambda: ours(fields),
        "ours, greedynms": lambda: ours(fields, "diou"),
        "ours, agnostic": lambda: ours(fields, agnostic=True),
        "total": lambda: postprocess(batch, all_heads, SIZE, placements, options)[0].scores,
        "torchvision": lambda: torchvision.ops.batched_nms(corners, found.scores, found.labels, IOU)[:KEEP],
    }
    print(f"{len(found.scores):,} candidates, {torch.get_num_threads()} threads, torch {torch.__version__}")
    same = found.scores[functions["ours"]()].equal(found.scores[functions["torchvision"]()])
    print(f"scores of the kept boxes equal torchvision's: {same}")
    times = race({name: timed(run, unit=1e3) for name, run in functions.items()}, arguments.repeats, warmup=3)
    for name, figures in times.items():
        print(f"{name:<16} {figures.spread('7.2f')} ms")
    print(f"torchvision / ours: {times['torchvision'].median / times['ours'].median:.1f}")


if __name__ == "__main__":
    main()
