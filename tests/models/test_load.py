"""`yolo.load` and the Detector that it returns, as a user calls them."""

from __future__ import annotations

import importlib
import logging
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

import yolo
from tests.support.load import load_yolo
from tests.support.paths import ROOT
from yolo.darknet.cfg import CfgError
from yolo.darknet.network import Darknet
from yolo.darknet.safetensors_file import save_safetensors
from yolo.darknet.weights import load_weights, save_weights
from yolo.models.load import fill
from yolo.models.yolo import YoloDetector
from yolo.names import COCO, class_names, read_names
from yolo.options.detection import Filter
from yolo.size import Size

DATA = ROOT / ".." / "shared" / "data"
needs_shared = pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data is absent: no trained model to detect with")


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """Write a PNG of 70 x 50 noise pixels and return its path."""
    pixels = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "image.png"), pixels)
    return tmp_path / "image.png"


def test_three_lines_of_the_readme(image: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A shipped cfg is loaded by name and an image by path, with default names and device and without a warning."""
    model = yolo.load("toy.cfg")
    found = model.detect(image)
    assert isinstance(found, yolo.Detections)
    assert isinstance(model, yolo.Detector)
    assert model.names == [f"class {k}" for k in range(6)]
    assert found.boxes.shape == (len(found), 4)
    assert not caplog.records


def test_coco_names_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    """80 classes without names are taken for COCO's, with a warning."""
    assert yolo.load("config/yolov3-tiny.cfg", device="cpu").names == list(COCO)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "80 classes are taken for COCO's" in caplog.text


def test_names_from_a_file_or_a_list(tmp_path: Path) -> None:
    """A file has one name per line. Another number of names than classes, or an empty line between, is an error."""
    file = tmp_path / "six.names"
    file.write_text("a\nb\r\nc c\nd\ne\nf\n\n")
    assert yolo.load("toy.cfg", names=file).names == ["a", "b", "c c", "d", "e", "f"]
    assert yolo.load("toy.cfg", names=list("abcdef")).names == list("abcdef")
    with pytest.raises(ValueError, match="2 class names for a network of 6 classes"):
        yolo.load("toy.cfg", names=["a", "b"])
    file.write_text("a\n\nb\n")
    with pytest.raises(ValueError, match=r"six.names:2: an empty line between names would shift the class indices"):
        read_names(file)
    file.write_text("\n")
    with pytest.raises(ValueError, match="no names"):
        read_names(file)
    assert class_names(None, 2) == ["class 0", "class 1"]


def test_a_batch_equals_its_images(image: Path) -> None:
    """Images of different sizes in one batch, by path and as pixels, have the detections that each has alone."""
    torch.manual_seed(0)
    model, options = yolo.load("toy.cfg", device="cpu"), Filter(confidence=0.97)
    wide = np.random.default_rng(1).integers(0, 256, (40, 200, 3), dtype=np.uint8)
    alone = [model.detect(image, options), model.detect(wide, options)]
    together = model.detect([image, wide], options)
    assert len(together) == 2
    assert 0 < sum(map(len, together)) < 300
    for one, other in zip(alone, together, strict=True):
        torch.testing.assert_close(one.boxes, other.boxes, rtol=1e-4, atol=1e-2)
        torch.testing.assert_close(one.scores, other.scores, rtol=0, atol=1e-4)
        assert one.labels.equal(other.labels)
    assert model.detect([]) == []


def test_prepare_is_uint8_and_letterboxed(image: Path) -> None:
    """`prepare` returns uint8 `[3, h, w]` with grey bars; stretched, or as darknet's own float32, if requested."""
    model = yolo.load("toy.cfg", device="cpu", letterbox=True)
    prepared, placement = model.prepare(image)
    assert (prepared.dtype, list(prepared.shape)) == (torch.uint8, [3, 160, 160])
    assert (placement.placed, placement.offset) == (Size(114, 160), (0, 23))
    assert bool((prepared[:, :23] == 128).all())
    stretched = model.replace(letterbox=False, size=Size(64, 96))
    prepared, placement = stretched.prepare(image)
    assert list(prepared.shape) == [3, 64, 96]
    assert placement.placed == (64, 96)
    assert stretched.replace(exact=True).prepare(image)[0].dtype == torch.float32
    assert list(model.prepare(image)[0].shape) == [3, 160, 160], "the first detector has not changed"


def test_an_input_that_is_chosen_when_it_is_loaded(image: Path, tmp_path: Path) -> None:
    """Size, placement and arithmetic are arguments of `load`; without them those of the safetensors file are used."""
    source = load_yolo("toy.cfg", device="cpu")
    save_safetensors(source.network, tmp_path / "a.safetensors", list("abcdef"), size=Size(96, 128), letterbox=False)
    kept = load_yolo(tmp_path / "a.safetensors", device="cpu")
    assert (kept.size, kept.letterbox, kept.exact, kept.precision) == (Size(96, 128), False, False, "auto")
    other = load_yolo(
        tmp_path / "a.safetensors", device="cpu", size=(64, 96), letterbox=True, exact=True, precision="fp32"
    )
    assert (other.size, other.letterbox, other.exact, other.precision) == (Size(64, 96), True, True, "fp32")
    prepared, placement = other.prepare(image)
    assert (prepared.dtype, list(prepared.shape)) == (torch.float32, [3, 64, 96])
    assert placement.placed == (64, 89)


@pytest.mark.parametrize(
    "pixels",
    [np.zeros((5, 5), np.uint8), np.zeros((5, 5, 4), np.uint8), np.zeros((5, 5, 3)), np.zeros((0, 5, 3), np.uint8)],
)
def test_other_pixels_are_refused(pixels: np.ndarray) -> None:
    """Grey without an axis, RGBA, floats and an empty image are errors, with what was given and what is expected."""
    with pytest.raises(ValueError, match=r"got pixels of shape .* expected uint8 \[h, w, 3\]"):
        yolo.load("toy.cfg").detect(pixels)


def test_the_network_is_the_training_module(image: Path, tmp_path: Path) -> None:
    """After a detection `.network` is still unfolded and in training mode; the next detection uses every change."""
    torch.manual_seed(0)
    model, options = load_yolo("toy.cfg", device="cpu"), Filter(confidence=0.01, max_detections=50)
    save_weights(model.network, tmp_path / "a.weights")
    before = model.detect(image, options)
    assert isinstance(model.network, Darknet)
    assert model.network.training
    assert any("running_mean" in key for key in model.network.state_dict())
    assert model.detect(image, options).scores.equal(before.scores)
    optimizer = torch.optim.SGD(model.network.parameters(), lr=1e-3)
    torch.stack([raw.square().mean() for raw in model.network.eval()(torch.rand(1, 3, 64, 64))]).sum().backward()
    optimizer.step()
    trained = model.detect(image, options).scores
    assert not trained.equal(before.scores)
    model.network.train()(torch.rand(2, 3, 64, 64))  # moves the statistics of batch norm alone
    assert not model.detect(image, options).scores.equal(trained)
    load_weights(model.network, tmp_path / "a.weights")
    assert model.detect(image, options).scores.equal(before.scores)


def test_precision_and_exact_count_at_once(image: Path) -> None:
    """Replaced after a detection, they apply to the next one; the first detector keeps its own."""
    torch.manual_seed(0)
    model, options = load_yolo("toy.cfg", device="cpu"), Filter(confidence=0.01, max_detections=50)
    fp32 = model.detect(image, options).scores
    half = model.replace(precision="bf16")
    assert not half.detect(image, options).scores.equal(fp32)
    exact = half.replace(exact=True).detect(image, options).scores
    again = model.replace(exact=True, precision="fp32").detect(image, options).scores
    assert again.equal(exact), "exact is fp32, whatever `precision` is"
    assert not exact.equal(fp32)
    assert half.replace(precision="fp32").detect(image, options).scores.equal(fp32)
    assert model.detect(image, options).scores.equal(fp32)


def test_thresholds_are_an_argument(image: Path) -> None:
    """Each call has its own; by default they are those of `Filter()`."""
    torch.manual_seed(0)
    model = yolo.load("toy.cfg", device="cpu")
    many, few = model.detect(image, Filter(confidence=0.01)), model.detect(image, Filter(confidence=0.2))
    assert len(many) > len(few) > 0
    assert many.scores[: len(few)].equal(few.scores)
    assert len(model.detect(image, Filter(confidence=0.01, max_detections=3))) == 3
    default = model.detect(image)
    assert default.scores.equal(model.detect(image, Filter()).scores)
    prepared, placement = model.prepare(image)
    batch = model.detect_batch(prepared[None], [placement], Filter(confidence=0.01))[0]
    assert batch.scores.equal(many.scores)
    assert model.detect_batch(prepared[None], [placement])[0].scores.equal(default.scores)
    raw = model.predict(prepared[None])
    assert model.select(raw, [placement], Filter(confidence=0.2))[0].scores.equal(few.scores)


def test_replace_shares_and_refuses() -> None:
    """`replace` returns a copy with the same network; an unknown or private attribute is an error."""
    model = load_yolo("toy.cfg", device="cpu", letterbox=True)
    other = model.replace(size=Size(64, 64), letterbox=False)
    assert type(other) is YoloDetector
    assert (other.size, other.letterbox, other.names) == (Size(64, 64), False, model.names)
    assert (model.size, model.letterbox) == (Size(160, 160), True)
    assert other.network is model.network
    for name in ("sizes", "_inference"):
        with pytest.raises(TypeError, match=f"YoloDetector has no attribute '{name}'"):
            model.replace(**{name: None})


def test_a_file_with_too_few_names(tmp_path: Path) -> None:
    """It is refused, unless other names are given."""
    model = load_yolo("toy.cfg", device="cpu")
    save_safetensors(model.network, tmp_path / "x.safetensors", ["one"])
    classes = model.network.heads[-1].classes
    with pytest.raises(ValueError, match=f"1 class names for a network of {classes} classes"):
        yolo.load(tmp_path / "x.safetensors", device="cpu")
    names = [f"name {k}" for k in range(classes)]
    assert yolo.load(tmp_path / "x.safetensors", names=names, device="cpu").names == names


@pytest.mark.parametrize("name", ["load", "Detector", "Detections", "compute_loss", "CocoMetrics", "open_data",
                                  "Augment", "Loader"])  # fmt: skip
def test_public_names(name: str) -> None:
    """Each name of the README is that of its own module, is in `__all__`, and is completed in a notebook."""
    found = getattr(yolo, name)
    assert found.__name__ == name
    assert found is getattr(importlib.import_module(found.__module__), name)
    assert name in yolo.__all__
    assert name in dir(yolo)


def test_other_names_are_no_attributes() -> None:
    """Other names raise AttributeError, as for any module; the list above is complete."""
    with pytest.raises(AttributeError, match="module 'yolo' has no attribute 'Yolo'"):
        yolo.Yolo  # noqa: B018
    assert sorted([*yolo.HOME, "__version__"]) == sorted(yolo.__all__)


def test_from_weights_backbone_and_safetensors(image: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """All files give the same network. A backbone does not detect: its heads would be random."""
    torch.manual_seed(0)
    source, options = load_yolo("toy.cfg", device="cpu", letterbox=True), Filter(confidence=0.2)
    expected = source.detect(image, options)
    assert len(expected) > 0
    save_weights(source.network, tmp_path / "a.weights")
    save_safetensors(source.network, tmp_path / "a.safetensors", list("abcdef"))
    save_weights(source.network, tmp_path / "toy.conv.17", cutoff=17)
    direct = yolo.load("toy.cfg", tmp_path / "a.weights", device="cpu", letterbox=True)
    alone = yolo.load(tmp_path / "a.safetensors", device="cpu")
    both = yolo.load("toy.cfg", tmp_path / "a.safetensors", names=list("ABCDEF"), device="cpu")
    assert (alone.names, both.names) == (list("abcdef"), list("ABCDEF"))
    for model in (direct, alone, both):
        assert model.detect(image, options).scores.equal(expected.scores)
    assert not caplog.records
    with pytest.raises(
        ValueError, match=r"toy.conv.17: holds layers 0 to 16 of 37 only, so it detects nothing; .*train"
    ):
        yolo.load("toy.cfg", tmp_path / "toy.conv.17", device="cpu")
    with pytest.raises(ValueError, match="saved with another cfg than yolov3.cfg"):
        yolo.load("yolov3.cfg", tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match="holds its own weights"):
        yolo.load(tmp_path / "a.safetensors", tmp_path / "a.weights")


def test_errors_name_the_file(tmp_path: Path) -> None:
    """The errors for a missing cfg, missing weights, a cfg without heads and a missing image have the file's name."""
    with pytest.raises(FileNotFoundError, match=r"yolov9.cfg: no such file; .* toy.cfg, yolo-voc.cfg"):
        yolo.load("yolov9.cfg")
    with pytest.raises(FileNotFoundError, match=r"none.weights: no such file"):
        yolo.load("toy.cfg", "none.weights")
    headless = tmp_path / "headless.cfg"
    headless.write_text("[net]\nwidth=32\nheight=32\nchannels=3\n[conv]\nfilters=2\n")
    with pytest.raises(CfgError, match=r"headless.cfg:1: \[net\] no \[yolo\] or \[region\] section"):
        yolo.load(headless)
    with pytest.raises(FileNotFoundError, match=r"none.jpg"):
        yolo.load("toy.cfg").detect("none.jpg")


def test_a_one_channel_network_reads_images(image: Path, tmp_path: Path) -> None:
    """`channels=1` gets the luminance of an image file; other numbers of channels need arrays."""
    text = (ROOT / "config" / "toy.cfg").read_text()
    for channels in (1, 5):
        (tmp_path / f"{channels}.cfg").write_text(text.replace("channels=3", f"channels={channels}"))
    grey = yolo.load(tmp_path / "1.cfg", device="cpu")
    assert list(grey.prepare(image)[0].shape) == [1, 160, 160]
    grey.detect(image)
    with pytest.raises(ValueError, match="networks with 5 input channels take arrays"):
        yolo.load(tmp_path / "5.cfg", device="cpu").detect(image)
    assert len(yolo.load(tmp_path / "5.cfg", device="cpu").detect([np.zeros((9, 7, 5), np.uint8)])) == 1


def test_no_image(image: Path) -> None:
    """`cv2.imread` returns None for a file that it cannot read; it is an error, alone and among others."""
    model = yolo.load("toy.cfg", device="cpu")
    unreadable = cv2.imread("nowhere.png")
    pixels = cv2.imread(str(image))
    assert pixels is not None
    bad: list[Any] = [unreadable, [unreadable], [pixels, unreadable], (None,)]
    for images in bad:
        with pytest.raises(ValueError, match=r"got NoneType in place of an image; .*cv2.imread returns None"):
            model.detect(images)
    with pytest.raises(ValueError, match=r"got a tensor of shape \[3, 8, 8\] and type torch.float32; expected uint8"):
        model.detect(torch.zeros(1, 3, 8, 8))


def test_one_placement_for_each_image(image: Path) -> None:
    """Fewer would drop images, more would have none."""
    model = yolo.load("toy.cfg", device="cpu")
    prepared, placement = model.prepare(image)
    raw = model.predict(torch.stack([prepared, prepared]))
    for placements in ([], [placement], [placement] * 3):
        message = f"2 images and {len(placements)} placements; expected one for each image"
        with pytest.raises(ValueError, match=message):
            model.detect_batch(torch.stack([prepared, prepared]), placements)
        with pytest.raises(ValueError, match=message):
            model.select(raw, placements, Filter())


@needs_shared
def test_a_trained_model_sees_the_dog() -> None:
    """The fast path (OpenCV's resize, uint8) finds the objects that darknet finds in its sample image."""
    model = load_yolo(
        DATA / "darknet" / "yolo-fastest-1.1-xl.cfg", DATA / "darknet" / "yolo-fastest-1.1-xl.weights", device="cpu"
    )
    found = model.detect(DATA / "samples" / "dog.jpg")
    names = {model.names[label] for label in found.labels.tolist()}
    assert {"dog", "bicycle"} <= names
    assert names & {"car", "truck"}


def test_safetensors_of_a_trained_run_are_the_weights(tmp_path: Path) -> None:
    """Weights saved from a network and loaded into another are bit-equal, including batch norm statistics."""
    torch.manual_seed(0)
    model = load_yolo("toy.cfg", device="cpu")
    model.network.train()(torch.rand(2, 3, 64, 64))  # moves the statistics
    save_weights(model.network, tmp_path / "a.weights")
    other = Darknet(model.network.cfg)
    load_weights(other, tmp_path / "a.weights")
    skipped = "num_batches_tracked"  # a counter of PyTorch, which darknet does not have
    for key, value in model.network.state_dict().items():
        assert skipped in key or other.state_dict()[key].equal(value), key


def test_tensors_of_another_type() -> None:
    """PyTorch would convert them in silence."""
    network = torch.nn.Linear(2, 1)
    halves = {name: tensor.half() for name, tensor in network.state_dict().items()}
    with pytest.raises(ValueError, match=r"x.safetensors: its tensor weight has torch.float16, expected torch.float32"):
        fill(network, halves, Path("x.safetensors"), "another")
