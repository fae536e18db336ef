"""What an exported file costs: figures of known files on a drawn set, intervals, sentences."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

pytest.importorskip("onnx", reason="onnx is not installed: NO CERTIFICATE WAS MADE")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: NO CERTIFICATE WAS MADE")

from tests.support.tiny_onnx import BOXES, NAMES, SIZE, WEIGHTS, write_tiny
from yolo.data.datasets import ImageDataset, open_data
from yolo.deploy.certificate import Certificate, Differences, certify, compared, differences, verdict
from yolo.metrics.coco import evaluate
from yolo.metrics.records import Found, Truths, make_records
from yolo.models.exported import ExportedDetector, load_exported


def write_set(folder: Path, objects: bool = True) -> ImageDataset:
    """Write ten white images with an object of class `bright` at the third box and, in five, at the first one."""
    h, w = SIZE
    boxes = [[(cx - bw / 2) * w, (cy - bh / 2) * h, bw * w, bh * h] for cx, cy, bw, bh in BOXES.tolist()]
    rows: list[dict[str, Any]] = []
    folder.mkdir(parents=True)
    for k in range(10):
        cv2.imwrite(str(folder / f"{k}.png"), np.full((h, w, 3), 255, np.uint8))
        rows += [{"image_id": k, "category_id": 2, "bbox": boxes[i]} for i in ((2, 0) if k % 2 else (2,)) if objects]
    content = {
        "images": [{"id": k, "file_name": f"{k}.png", "width": w, "height": h} for k in range(10)],
        "categories": [{"id": 1 + c, "name": name} for c, name in enumerate(NAMES)],
        "annotations": [{"id": n, "iscrowd": 0, "area": 64.0, **row} for n, row in enumerate(rows, 1)],
    }
    (folder / "truth.json").write_text(json.dumps(content))
    return open_data(folder / "truth.json", allow_empty=not objects)


def certificate(folder: Path, weights: np.ndarray, objects: bool = True) -> Certificate:
    """Certify a file with the `weights` against one with the usual ones."""
    write_tiny(folder / "own.onnx")
    write_tiny(folder / "other.onnx", weights=weights)
    own, other = (load_exported(folder / f"{name}.onnx") for name in ("own", "other"))
    assert isinstance(other, ExportedDetector)
    return certify(own, other, write_set(folder / "set", objects), "set", resamples=50)


def test_the_same_file(tmp_path: Path) -> None:
    """Nothing is lost, won or different."""
    found = certificate(tmp_path, WEIGHTS)
    assert found.verdict == "AP is the same to 4 digits on 10 images."
    assert found.content["AP"]["difference"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    # At the thresholds of detection the second box is suppressed.
    counts = found.content["detections"]
    assert (counts["same"], counts["lost"], counts["won"], counts["score"], counts["box"]) == (40, 0, 0, 0, 0)
    assert found.content["classes"] == []


def test_a_file_that_costs(tmp_path: Path) -> None:
    """The third box, which is always right, falls behind the first one, which is right in half of the images."""
    weights = WEIGHTS.copy()
    weights[2] = [0.2, 0.6]  # class 0 is below the threshold now
    weights[0, 1] = 0.65  # the second box, 0.8, replaces it
    found = certificate(tmp_path, weights)
    counts = found.content["detections"]
    assert (counts["same"], counts["lost"], counts["won"]) == (30, 10, 0)
    assert counts["score"] == pytest.approx(0.1, abs=1e-6)
    assert counts["box"] == pytest.approx(0.02 * SIZE[1], abs=1e-4)  # from the first to the second box
    figures = found.content["AP"]
    assert figures["difference"]["value"] == pytest.approx(figures["file"]["value"] - figures["reference"]["value"])
    assert figures["difference"]["value"] < -0.05
    assert found.verdict.startswith("The file costs AP: -0.")
    assert [row["name"] for row in found.content["classes"]] == ["bright"]
    page = found.page()
    assert "30 detections are the same, 10 lost, 0 won" in page
    assert max(map(len, page.splitlines()[1:])) <= 90
    path = found.write(tmp_path / "other.certificate.json")
    assert path.name == "other.certificate.json"
    assert json.loads(path.read_text()) == found.content
    assert len(found.content["file"]["sha256"]) == 64


def test_data_without_objects(tmp_path: Path) -> None:
    """AP is null, never NaN, and the detections are compared all the same."""
    found = certificate(tmp_path, WEIGHTS, objects=False)
    assert found.content["AP"]["reference"] == {"value": None, "low": None, "high": None}
    assert found.verdict == "AP is not defined: there are no objects to find."
    assert found.content["detections"]["same"] == 40
    assert "n/a" in found.page()
    found.write(tmp_path / "a.certificate.json")


@pytest.mark.parametrize(
    ("difference", "expected"),
    [
        ((-0.0003, -0.0011, 0.0004), "AP differs by -0.0003 (-0.0011 to +0.0004): not distinguishable on 141 images."),
        ((-0.012, -0.016, -0.008), "The file costs AP: -0.0120 (-0.0160 to -0.0080), measured on 141 images."),
        ((0.012, 0.008, 0.016), "The file gains AP: +0.0120 (+0.0080 to +0.0160), measured on 141 images."),
        ((-0.00004, -0.00004, -0.00001), "AP is the same to 4 digits on 141 images."),
        (
            (-0.043, -0.043, -0.043),
            "AP differs by -0.0430: too few of the 141 images have objects to say whether it costs.",
        ),
        ((None, None, None), "AP is not defined: there are no objects to find."),
    ],
)
def test_sentences(difference: tuple[float | None, ...], expected: str) -> None:
    assert verdict({"difference": dict(zip(("value", "low", "high"), difference, strict=True))}, 141) == expected


def found(*rows: tuple[int, int, float, float]) -> Found:
    """Return detections: image, label, left edge of a box of 10 x 10 pixels, score."""
    image, label, left, score = map(torch.tensor, zip(*rows, strict=True))
    boxes = torch.stack([left, torch.zeros_like(left), *[torch.full_like(left, 10)] * 2], dim=1)
    return Found(image, label, boxes.double(), score.double())


def test_which_detections_are_the_same() -> None:
    """The best ones choose first; class and image count, and an IoU of less than one half is another object."""
    own = found((0, 0, 0.0, 0.5), (0, 0, 2.0, 0.9), (1, 0, 0.0, 0.8), (1, 1, 50.0, 0.8))
    other = found((0, 0, 1.5, 0.7), (1, 1, 0.0, 0.8), (1, 1, 54.0, 0.8), (2, 0, 0.0, 0.8))
    result = differences(own, other)
    # Image 0: 0.9 takes 1.5, and 0.5 is lost. Image 1: 4 pixels of 10 are an IoU of 0.43.
    assert result._replace(score=round(result.score, 6)) == Differences(same=1, lost=3, won=3, score=0.2, box=0.5)


def test_the_difference_is_paired() -> None:
    """An interval over images is narrow where both detectors miss the same objects, however wide those of AP are."""
    generator = torch.Generator().manual_seed(0)
    images, hit = torch.arange(60), torch.rand(60, generator=generator) < 0.5
    box = torch.tensor([[0.0, 0, 10, 10]]).double()
    zeros = torch.zeros(60, dtype=torch.int64)
    truths = Truths(images, zeros, box.expand(60, 4), torch.full((60,), 100.0).double(), zeros.bool())
    results = []
    for lost in (0, 2):
        kept = hit.nonzero().squeeze(1)[lost:]
        one = Found(kept, zeros[kept], box.expand(len(kept), 4), torch.ones(len(kept)).double())
        results.append(evaluate(make_records(images, truths, one, 1), ["a"]))
    figures = compared(results[0], results[1], resamples=500)["AP"]
    widths = {key: figures[key]["high"] - figures[key]["low"] for key in ("reference", "difference")}
    assert figures["difference"]["low"] <= figures["difference"]["value"] <= figures["difference"]["high"]
    assert widths["difference"] < widths["reference"] / 2
