"""`python -m yolo explain`, as a user types it."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from tests.commands.test_detect import NAMES, constant, elsewhere, image, rows  # noqa: F401  # fixtures
from tests.commands.test_evaluate import DATA, write_data
from tests.darknet.test_golden import needs_shared
from tests.detection.test_postprocess import SIZE, make_head, make_region, random_raw
from tests.support.load import load_yolo
from tests.support.small_sets import write_yolo
from yolo.__main__ import main
from yolo.commands.explain import find_image
from yolo.darknet.cfg import read_cfg
from yolo.darknet.network import Darknet
from yolo.darknet.safetensors_file import save_safetensors
from yolo.data.datasets import open_data
from yolo.data.transforms import placed
from yolo.detection.assign import SCORES, assign
from yolo.detection.labels import pack_labels
from yolo.evaluation.detect_all import detect_all, truths_in
from yolo.explain.build import explain
from yolo.explain.responsible import responsible_slots, squares
from yolo.images.files import read_image
from yolo.images.placement import Placement
from yolo.metrics.coco import evaluate
from yolo.metrics.collect import Collector
from yolo.metrics.verdict import verdict
from yolo.models.load import load_yolo as load_files
from yolo.models.yolo import YoloDetector
from yolo.options.commands import Explain
from yolo.options.detection import Filter, ModelFiles
from yolo.options.loss import LossOptions
from yolo.options.train import Train
from yolo.options.yaml_file import write_yaml
from yolo.size import Size


def explained(*words: str | Path, out: str = "out") -> dict[str, Any]:
    """Run `python -m yolo explain WORDS` and return the content of explain.json."""
    assert main(["explain", *map(str, words), "--device", "cpu", "--out", out]) == 0
    found: dict[str, Any] = json.loads((Path(out) / "explain.json").read_text())
    return found


@pytest.fixture(scope="module")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a toy network of random weights with boxes near its anchors and many detections of several classes."""
    torch.manual_seed(3)
    network = Darknet(read_cfg("toy.cfg"))
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, torch.nn.Conv2d) and layer.out_channels == 33:
                assert layer.bias is not None
                layer.weight.mul_(0.2)
                layer.bias.view(3, 11)[:, 4] -= 1.5
    path = tmp_path_factory.mktemp("noisy") / "noisy.safetensors"
    save_safetensors(network, path, NAMES)
    return path


def test_table_numbers_and_drawing(constant: Path, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    """Each object has a reason and each detection a line; text, json and drawing have the same numbers."""
    found = explained("p5.png", "--data", write_data(), "--weights", constant)
    printed = capsys.readouterr().out
    assert found["image"] == "p5.png"
    assert found["image_id"] == 27
    assert [thing["object"] for thing in found["objects"]] == [1, 2, 3, 4, 5]
    for thing in found["objects"]:
        assert thing["reason"].upper() in printed
        assert f"       {thing['text']}\n" in printed
        assert set(thing["responsible"]) == {"ratio", "prediction", "prior"}
    assert [thing["reason"] for thing in found["objects"] if thing["crowd"]] == ["set aside"]
    for thing in found["detections"]:
        assert f"D{thing['detection']} {NAMES[NAMES.index(thing['class'])]} " in printed
        assert f"{thing['score']:.3f}  {thing['kind'].upper()}" in printed
        assert thing["score"] == pytest.approx(thing["objectness"] * thing["class_score"], rel=1e-6)
    assert "confidence 0.25, NMS 0.45, match IoU 0.5, input 160x160 letterbox, trained with prior" in printed
    assert sorted(path.name for path in Path("out").iterdir()) == ["explain.json", "p5.png"]
    drawn = read_image("out/p5.png")
    assert drawn.shape[1] > 2000  # two images of 160 pixels, enlarged
    assert drawn.shape[0] > 1000
    assert drawn.std() > 10


@pytest.mark.parametrize("conf", ["0.25", "0.2"])
def test_the_detections_of_detect(noisy: Path, conf: str) -> None:
    """Scores and boxes, clipped, equal those of `detect` to the last digit, on an image that is not square."""
    truth = write_data()
    image(Path("set/images/p5.png"), 200, 111)
    content = json.loads(truth.read_text())
    content["images"][5] |= {"width": 200, "height": 111}
    truth.write_text(json.dumps(content))
    found = explained("--image-id", "27", "--data", truth, "--weights", noisy, "--conf", conf)
    words = ["detect", "set/images/p5.png", "--weights", str(noisy), "--json", "--conf", conf, "--device", "cpu"]
    assert main([*words, "--out", "d"]) == 0
    expected = rows("d")
    assert len(expected) > 10
    assert [thing["score"] for thing in found["detections"]] == [row["score"] for row in expected]
    assert [thing["class"] for thing in found["detections"]] == [row["category_name"] for row in expected]
    for thing, row in zip(found["detections"], expected, strict=True):
        left, top, right, bottom = (min(max(x, 0), end) for x, end in zip(thing["box"], (200, 111) * 2, strict=True))
        assert [left, top, right - left, bottom - top] == row["bbox"]


def check_found(model: YoloDetector, folder: Path, split: str | None, images: int, options: Filter) -> int:
    """Check that the objects called found are those of COCO's metrics, in the first images; return their number."""
    data, hits = open_data(folder, split=split, limit=images), 0
    found = detect_all(model, data, 1, options)
    for k in range(images):
        mine = explain(model, data, k, options, rule="prior")
        alone = Collector(data.names)
        truths = truths_in(data)
        keep, there = (found.image == k).nonzero().squeeze(1), (truths.image == k).nonzero().squeeze(1)
        alone.add(
            torch.tensor([0]),
            type(truths)(torch.zeros_like(there), *(field[there] for field in truths[1:])),
            type(found)(torch.zeros_like(keep), *(field[keep] for field in found[1:])),
        )
        judged = verdict(evaluate(alone.records(), data.names))
        missed = sorted(map(tuple, judged.records.truths.boxes[judged.missed].tolist()))
        names = [reason.name for reason in mine.reasons]
        assert len(names) == len(there)
        assert names.count("found") == int(judged.hit.sum())
        assert missed == sorted(
            tuple(box) for box, crowd, name in zip(mine.scene.boxes.tolist(), mine.scene.crowd, names, strict=True)
            if name != "found" and not crowd
        )  # fmt: skip
        hits += names.count("found")
    return hits


def test_found_agrees_with_eval(constant: Path, noisy: Path) -> None:  # noqa: F811
    """On six images, at a low confidence and without a limit on the detections, for two networks."""
    truth = write_data()
    for weights, confidence, least in ((constant, 0.01, 3), (noisy, 0.1, 0)):
        model = load_yolo(weights, device="cpu")
        assert check_found(model, truth, None, 6, Filter(confidence=confidence, nms=0.6)) >= least


def test_responsible_is_what_training_assigns(noisy: Path) -> None:
    """The slots are those that `assign` returns for the training sample of the image."""
    data, model = open_data(write_data()), load_yolo(noisy, device="cpu")
    image, target = placed(data.sample(5), model.size)
    labels = pack_labels([target], model.size)
    raw = model.predict(image[None])
    places = explain(model, data, 5, Filter(), rule="prior").scene
    objects = (~target["iscrowd"]).nonzero().squeeze(1).tolist()
    for rule in SCORES:
        s, n, _, a, i, j = (index.tolist() for index in assign(raw, labels, model.network.heads, rule).compact())
        expected = sorted(zip((objects[k] for k in n), s, i, j, a, strict=True))
        slots = [(g, *places.slots.place[p].tolist()) for g, row in enumerate(places.responsible[rule]) for p in row]
        assert sorted(slots) == expected
        assert len(expected) >= len(objects) or rule == "ratio"


def test_heads_that_training_refuses() -> None:
    """With new_coords or region heads there are no responsible slots, so no reason is based on them."""
    heads = [make_head(32, new_coords=1), make_region(16)]
    raws = [raw[0] for raw in random_raw(heads, 0)]
    box, crowd = torch.tensor([[1.0, 2, 30, 40]]), torch.tensor([False])
    assert responsible_slots(raws, heads, SIZE, Placement.stretch(Size(64, 96), Size(64, 96)), box, crowd) == {}


def test_no_anchor_and_no_objects() -> None:
    """By `ratio` no anchor fits a thin line; crowds and boxes without area have no slot; no objects give no rows."""
    heads = [make_head(32), make_head(16)]
    raws = [raw[0] for raw in random_raw(heads, 0)]
    placement = Placement.stretch(Size(64, 96), Size(64, 96))
    boxes = torch.tensor([[0.0, 10, 90, 11], [10, 10, 40, 40], [5, 5, 5, 30], [10, 10, 26, 40]])
    crowd = torch.tensor([False, True, False, False])
    found = responsible_slots(raws, heads, SIZE, placement, boxes, crowd)
    assert [len(slots) for slots in found["ratio"]] == [0, 0, 0, 2]
    assert [len(slots) for slots in found["prior"]] == [1, 0, 0, 1]
    nothing = responsible_slots(raws, heads, SIZE, placement, boxes[:0], crowd[:0])
    assert nothing == {"ratio": [], "prediction": [], "prior": []}


def test_squares() -> None:
    """Cell and anchor in pixels of an image of 192 x 64, which an input of 96 x 64 shows at half its size."""
    heads = [make_head(32), make_head(16)]
    assert heads[1].strides == (Fraction(16), Fraction(16))
    placement = Placement.letterbox(Size(64, 192), Size(64, 96))
    assert (placement.placed, placement.offset) == ((32, 96), (0, 16))
    cells, anchors, sizes = squares(torch.tensor([[1, 2, 3, 1]]), heads, placement)
    assert cells.tolist() == [[96, 32, 128, 64]]
    assert anchors.tolist() == [[96, 18, 128, 78]]
    assert sizes.tolist() == [[16, 30]]


def test_without_objects_or_detections(constant: Path, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    """Both lists may be empty; the image has one channel."""
    truth = write_data()
    cv2.imwrite("set/images/p0.png", np.full((160, 160), 90, np.uint8))
    found = explained("set/images/p0.png", "--data", truth, "--weights", constant, "--conf", "0.99")
    assert (found["objects"], found["detections"]) == ([], [])
    assert capsys.readouterr().out.count("     none\n") == 2
    assert Path("out/p0.png").is_file()


def test_the_rule_of_a_run(constant: Path, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    """The folder of a run has the rule of its training; --assign overrides it."""
    truth = write_data()
    Path("runs/x").mkdir(parents=True)
    Path("runs/x/best.safetensors").write_bytes(constant.read_bytes())
    write_yaml("runs/x/options.yaml", Train(loss=LossOptions(assign="prediction")))
    words = ["p3", "--data", str(truth), "--weights", "runs/x"]
    assert explained(*words)["conditions"]["trained with"] == "prediction"
    assert explained(*words, "--assign", "ratio")["conditions"]["trained with"] == "ratio"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["p9.png"], "p9.png: no such image in set/truth.json (truth); did you mean p"),
        (["nothing-like-it"], "it has p0.png and 5 others"),
        (["--image-id", "3"], "id 3: no such image"),
        (["p1.png", "--out", "set/images"], "set/images/p1.png is an image of the data set and would be replaced"),
        (["p1.png", "--size", "100"], "a multiple of 32"),
        (["p1.png", "--conf", "2"], "confidence=2"),
        (["p3.png", "--names", "few.names"], "names"),
    ],
)
def test_errors(
    words: list[str],
    message: str,
    constant: Path,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each prints one line, exits with status 1 and writes nothing."""
    Path("few.names").write_text("a\nb\n")
    assert (
        main(
            [
                "explain",
                *words,
                "--data",
                str(write_data()),
                "--weights",
                str(constant),
                *(["--out", "out"] if "--out" not in words else []),
            ]
        )
        == 1
    )
    assert message in capsys.readouterr().err
    assert not Path("out").exists()


def test_an_object_of_an_unknown_class(constant: Path, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    """It is an error only for images that have one; other images of the data set can be explained."""
    truth = write_data()
    truth.write_text(truth.read_text().replace('"c/d"', '"zebra"'))
    words = ["--data", str(truth), "--weights", str(constant), "--device", "cpu"]
    assert main(["explain", "p2", *words]) == 1
    assert "not among the 6 class names: 'zebra'; the names are '..', 'motorbike'" in capsys.readouterr().err
    assert main(["explain", "p0", *words]) == 0


def test_one_name_in_two_splits(constant: Path, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    """The name alone is ambiguous; a split or the path is not."""
    folders = [Path("both/images") / split for split in ("train2017", "val2017")]
    content = json.loads(write_data().read_text())
    content["images"], content["annotations"] = content["images"][:1], []
    Path("both/annotations").mkdir(parents=True)
    for folder in folders:
        image(folder / "p0.png")
        Path("both/annotations", f"instances_{folder.name}.json").write_text(json.dumps(content))
    words = ["--data", "both", "--weights", str(constant)]
    assert main(["explain", "p0.png", *words]) == 1
    error = capsys.readouterr().err
    assert "p0.png: 2 images of both fit: " in error
    assert "give the path or --split" in error
    assert explained("p0.png", *words, "--split", "val")["image"] == "p0.png"
    assert explained(folders[0] / "p0.png", *words)["image"] == "p0.png"


@pytest.mark.parametrize("words", [[], ["a.png", "--image-id", "3"], ["a.png", "--match-iou", "0"]])
def test_exactly_one_image_must_be_given(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """An image or its id, and a valid IoU."""
    with pytest.raises(SystemExit) as end:
        main(["explain", *words, "--data", "d", "--weights", "w.safetensors"])
    assert end.value.code == 2
    error = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert "give either an IMAGE or --image-id" in error or "expected an IoU above 0" in error


@needs_shared
def test_a_real_model_on_real_images() -> None:
    """On 20 images of COCO with a trained network, the found objects are those of COCO's metrics."""
    folder = DATA / "darknet"
    files = ModelFiles(
        weights=folder / "yolo-fastest-1.1-xl.weights",
        cfg=folder / "yolo-fastest-1.1-xl.cfg",
        names=folder / "coco.names",
        device="cpu",
    )
    assert check_found(load_files(files, "explain"), DATA / "coco-mini", "val", 20, Filter()) > 30


def test_a_broken_split_does_not_hide_an_image(tmp_path: Path) -> None:
    """An image of another split is found; one that may be in the broken split is reported with what is wrong there."""
    root = write_yolo(tmp_path / "set")
    (root / "data.yaml").write_text("train: images/train\nval: images/nowhere\nnames: [cat, dog, red ball]\n")
    options = Explain(image="img_1.jpg", data=root, model=ModelFiles(weights=tmp_path / "some.weights"))
    data, k = find_image(options)
    assert data.path(k).name == "img_1.jpg"
    with pytest.raises(ValueError, match=r"(?s)^val: .*images/nowhere: no such folder"):
        find_image(replace(options, image="img_7.jpg"))


def test_faults_are_treated_as_in_the_run(tmp_path: Path) -> None:
    """A bad line stops `explain`, or its image is left out: as asked for, else as in the run of the weights."""
    root = write_yolo(tmp_path / "set")
    (root / "labels" / "train" / "img_0.txt").write_text("9 0.5 0.5 0.1 0.1\n")
    (tmp_path / "run").mkdir()
    write_yaml(tmp_path / "run" / "options.yaml", Train(bad="skip"))
    run, other = (ModelFiles(weights=tmp_path / folder / "best.safetensors") for folder in ("run", "other"))
    options = Explain(image="img_1.jpg", data=root, model=run)
    for skipping in (options, replace(options, model=other, bad="skip")):
        assert len(find_image(skipping)[0]) == 1
    for stopping in (replace(options, bad="error"), replace(options, model=other)):
        with pytest.raises(ValueError, match="img_0.txt:1: class 9"):
            find_image(stopping)
