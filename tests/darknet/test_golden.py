"""Darknet's own numbers: every layer, every head and every detection of the golden networks.

`tests/golden/nets` holds what the original C program computed for tiny networks (cfg, weights, input, outputs of all
layers, detections); its folder must exist. The whole collection and two trained models are checked if
`../shared/golden` exists.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.support.golden_nets import CASES, golden_network, in_darknets_memory
from tests.support.load import load_yolo
from tests.support.paths import ROOT
from yolo.darknet.inference import inference_copy
from yolo.darknet.network import Darknet
from yolo.detection.postprocess import postprocess
from yolo.images.files import read_image
from yolo.images.placement import Placement
from yolo.images.resize import darknet_place
from yolo.options.detection import Filter
from yolo.size import Size

SHARED = ROOT / ".." / "shared" / "golden"
THEIRS = sorted((SHARED / "nets").iterdir()) if (SHARED / "nets").is_dir() else []
ALL_CASES = CASES + [case for case in THEIRS if case.name not in {ours.name for ours in CASES}]

TOLERANCE = 1e-4
MODELS = ("yolo-fastest-1.1", "yolo-fastest-1.1-xl")
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/golden is absent: trained models not checked")


def record(network: Darknet, images: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Raw predictions, and the output of every layer, of one forward pass."""
    outputs: dict[int, Tensor] = {}

    def keep(index: int) -> Any:
        def hook(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
            outputs[index] = output.clone()

        return hook

    hooks = [layer.register_forward_hook(keep(k)) for k, layer in enumerate(network.layers)]
    with torch.inference_mode():
        raw = network(images)
    for hook in hooks:
        hook.remove()
    return raw, [outputs[k] for k in range(len(network.layers))]


@pytest.mark.parametrize("folded", [False, True], ids=["trained", "folded"])
@pytest.mark.parametrize("case", ALL_CASES, ids=lambda case: case.name)
def test_every_layer_and_head_is_darknets(case: Path, folded: bool) -> None:
    """All activations within 1e-4, with batch norm as trained and folded away."""
    network = inference_copy(golden_network(case)) if folded else golden_network(case)
    golden = np.load(case / "output.npz")
    raw, outputs = record(network, torch.from_numpy(np.load(case / "input.npy")))
    compared = set()
    for k, output in enumerate(outputs):
        if f"layer_{k:03d}" in golden:
            compared.add(f"layer_{k:03d}")
            np.testing.assert_allclose(output.numpy(), golden[f"layer_{k:03d}"], rtol=0, atol=TOLERANCE)
    for s, head in enumerate(network.heads):
        compared.add(f"head_{s}")
        found = in_darknets_memory(head, raw[s]).numpy()
        np.testing.assert_allclose(found, golden[f"head_{s}"], rtol=0, atol=TOLERANCE)
    assert compared == set(golden.files), "an array of the golden file was not compared"


@pytest.mark.parametrize("case", ALL_CASES, ids=lambda case: case.name)
def test_detections_are_darknets(case: Path) -> None:
    """The same boxes, classes and scores in the same order, each case at its own threshold."""
    network = golden_network(case)
    golden = json.loads((case / "detections.json").read_text())
    h, w = network.size
    assert (w, h) == (golden["input_width"], golden["input_height"])
    with torch.inference_mode():
        raw = network(torch.from_numpy(np.load(case / "input.npy")))
    whole = [Placement.stretch(Size(h, w), Size(h, w))]
    options = Filter(confidence=golden["thresh"], nms=golden["nms"])
    (found,) = postprocess(raw, network.heads, (h, w), whole, options)
    ours = relative_rows(found.boxes.double(), found.scores, found.labels, (w, h))
    theirs = [Row(d["class"], d["score"], *d["box"]) for d in golden["detections"]]
    compare(ours, theirs)


class Row(NamedTuple):
    """One detection, cx, cy, w, h as fractions."""

    label: int
    score: float
    cx: float
    cy: float
    w: float
    h: float


def relative_rows(boxes: Tensor, scores: Tensor, labels: Tensor, size: tuple[int, int]) -> list[Row]:
    """Detections in pixels of an image of `size` (width, height) as rows."""
    x1, y1, x2, y2 = (boxes / torch.tensor([*size, *size])).unbind(-1)
    columns = (labels, scores, (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1)
    return [Row(*values) for values in zip(*(column.tolist() for column in columns), strict=True)]


def compare(ours: list[Row], theirs: list[Row]) -> None:
    """Equal classes, scores within 1e-4, boxes within 1e-4 relative to their size; order up to equal scores."""
    assert len(ours) == len(theirs)
    left = list(ours)
    for row in theirs:
        near = [k for k, one in enumerate(left) if one.label == row.label and abs(one.score - row.score) <= TOLERANCE]
        assert near, f"missing: {row}"
        best = min(near, key=lambda k: abs(left[k].cx - row.cx) + abs(left[k].cy - row.cy))
        one = left.pop(best)
        unit = max(row.w, row.h, TOLERANCE)
        for value, golden in zip(one[2:], row[2:], strict=True):
            assert abs(value - golden) <= TOLERANCE * max(unit, abs(golden)), (one, row)
    assert [one.score for one in ours] == sorted((one.score for one in ours), reverse=True)


@needs_shared
@pytest.mark.parametrize("model", MODELS)
def test_trained_heads_on_an_image(model: str) -> None:
    """The activated heads of a trained model on dog.png, stretched by darknet's own resize."""
    folder = ROOT / ".." / "shared" / "data" / "darknet"
    detector = load_yolo(folder / f"{model}.cfg", folder / f"{model}.weights", device="cpu")
    golden = np.load(SHARED / "yolo-fastest" / f"{model}-heads-dog.npz")
    image = read_image(SHARED / "yolo-fastest" / "dog.png")
    placement = Placement.stretch(Size.of(image), Size(320, 320))
    with torch.inference_mode():
        raw = detector.network.eval()(torch.from_numpy(darknet_place(image, placement))[None])
    for s, head in enumerate(detector.network.heads):
        found = in_darknets_memory(head, raw[s]).numpy()
        np.testing.assert_allclose(found, golden[f"head_{s}"], rtol=0, atol=TOLERANCE)


@needs_shared
@pytest.mark.parametrize("mode", ["stretch", "letterbox"])
@pytest.mark.parametrize("threshold", [0.25, 0.005])
@pytest.mark.parametrize("model", MODELS)
def test_trained_detections_on_images(model: str, threshold: float, mode: str) -> None:
    """Seven images through a trained model: every detection that is not within 1e-4 of a decision."""
    folder = ROOT / ".." / "shared" / "data" / "darknet"
    files = (folder / f"{model}.cfg", folder / f"{model}.weights")
    detector = load_yolo(*files, device="cpu", exact=True, letterbox=mode == "letterbox")
    golden = json.loads((SHARED / "yolo-fastest" / f"{model}.json").read_text())
    options = Filter(confidence=threshold, nms=golden["nms"])
    assert len(golden["pictures"]) == 7
    for entry in golden["pictures"]:
        found = detector.detect(SHARED / "yolo-fastest" / entry["picture"], options)
        size = (entry["width"], entry["height"])
        ours = relative_rows(found.boxes.double(), found.scores, found.labels, size)
        rows = [
            Row(d["class"], d["score"], *d["box"]) if isinstance(d, dict) else Row(d[0], d[1], *d[3:])
            for d in entry[f"{mode}_{threshold}"]
        ]
        sure = threshold + TOLERANCE  # darknet's reference build itself is no more certain near the threshold
        assert entry[f"{mode}_{threshold}_margins"][1] > 1e-6
        compare([row for row in ours if row.score > sure], [row for row in rows if row.score > sure])
