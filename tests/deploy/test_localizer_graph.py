"""An exported model of one object finds what the detector finds, in any number of images."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from tests.support.single_problems import tiny_backbone
from yolo.models.largest import build_largest
from yolo.models.localizer import build_localizer
from yolo.models.single import SingleObjectDetector, build_simple
from yolo.options.detection import Filter
from yolo.options.single import Largest, Localizer, Simple

PACKAGES = ("onnx", "onnxruntime", "onnxscript")
MISSING = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
if MISSING:
    pytest.skip(f"{' and '.join(MISSING)} not installed: NO LOCALIZER WAS EXPORTED", allow_module_level=True)

from yolo.deploy.agreement import agreement  # noqa: E402
from yolo.deploy.check import at_confidence, found_by, session  # noqa: E402
from yolo.deploy.export import export_onnx  # noqa: E402

DATA, FIVE = "data", list("abcde")

IMAGES = 8


class Exported(NamedTuple):
    """A detector and its exported file, read again."""

    detector: SingleObjectDetector
    model: Any


@pytest.fixture(scope="module", params=["simple", "localizer", "largest"])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A model with random weights that do not depend on chance."""
    folder = tmp_path_factory.mktemp("exported")
    backbone = tiny_backbone(folder / "backbone")  # begins the random numbers at a seed
    detector: SingleObjectDetector
    if request.param == "simple":
        detector = build_simple(Simple(data=DATA, size="48x64"), FIVE)
    elif request.param == "localizer":
        # Its map has 4 x 6 cells, which 3 x 3 features do not divide.
        options = Localizer(data=DATA, size="96x64", backbone=backbone, features="grid", placement="stretch")
        detector = build_localizer(options, ["a"])
    else:
        detector = build_largest(Largest(data=DATA, size="64", backbone=backbone), FIVE)
    with torch.no_grad():
        for parameter in detector.network.head.parameters():
            parameter.mul_(3)  # so that answers differ from image to image
    export_onnx(detector, folder / "a.onnx")
    return Exported(detector, importlib.import_module("onnx").load(str(folder / "a.onnx")))


def images() -> list[np.ndarray]:
    """Return coarse noise of several sizes and colours, uint8 `[h, w, 3]`."""
    noise = np.random.default_rng(3)
    found = []
    for k in range(IMAGES):
        coarse = noise.integers(0, 256, (3 + k, 9 - k, 3)) * noise.random(3)
        found.append(np.kron(coarse, np.ones((11, 11, 1))).astype(np.uint8))
    return found


def test_it_finds_what_the_detector_finds(exported: Exported) -> None:
    """All images at once and one by one: classes are equal, scores within 0.001 and boxes within half a pixel."""
    detector, model = exported
    prepared, placements = zip(*map(detector.prepare, images()), strict=True)
    batch = torch.stack(prepared)
    scores = torch.cat([one.scores for one in detector.detect_batch(batch, placements, Filter(confidence=0.0))])
    # The second threshold is between the scores of two images, far from both.
    middle = scores.sort().values[IMAGES // 2 - 1 : IMAGES // 2 + 1]
    assert middle.diff() > 0.005
    for confidence, number in ((0.0, IMAGES), (float(middle.mean()), IMAGES // 2), (0.9999, 0)):
        options, run = Filter(confidence=confidence), session(at_confidence(model, confidence))
        own = detector.detect_batch(batch, placements, options)
        assert sum(map(len, own)) == number
        together = found_by(run, batch, placements, "uint8")
        single = [found_by(run, batch[b : b + 1], placements[b : b + 1], "uint8")[0] for b in range(IMAGES)]
        for found in (together, single):
            result = agreement(own, found, options)
            assert (result.lost, result.won, result.edge) == ([], [], 0), str(result)
            assert [len(one) for one in found] == [len(one) for one in own]
            corners = torch.cat([one.boxes for one in found])
            assert (corners[:, :2] <= corners[:, 2:]).all()
