"""`python -m yolo eval`, as a user types it."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from tests.commands.test_detect import NAMES, constant, elsewhere, image  # noqa: F401  # fixtures
from tests.darknet.test_golden import SHARED, needs_shared
from yolo.__main__ import main
from yolo.boxes import Detections
from yolo.evaluation.plots import plot_confusion, plot_errors, plot_f1, plot_precision_recall
from yolo.images.files import read_image

DATA = SHARED.parent / "data"
TWELVE = ["AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl"]
TRUTH = ["--annotations", "set/truth.json"]
FILES = ["confusion.png", "errors.png", "f1.png", "metrics.json", "per_class.csv", "precision_recall.png"]


def write_data(folder: Path = Path("set")) -> Path:
    """Write six images with classes of the constant detector, and return their annotation file.

    The detector finds the same 25 boxes in all of them, of class 0 and of class 1. Some objects are on one, some near.
    """
    images: list[dict[str, Any]] = []
    objects: list[dict[str, Any]] = []
    for k in range(6):
        image(folder / "images" / f"p{k}.png", 160, 160)
        images.append({"id": 5 * k + 2, "file_name": f"p{k}.png", "width": 160, "height": 160})
        for i in range(k):
            box = [max(32.0 * i - 40 + 3 * k, -4), max(-40.0 + 16 * i, -4), 110 - 5.0 * i, 80]
            objects.append({"image_id": 5 * k + 2, "category_id": 1 + (k + i) % 3, "bbox": box, "iscrowd": int(i == 4)})
    content = {
        "images": images,
        "categories": [{"id": c + 1, "name": name} for c, name in enumerate(NAMES)],
        "annotations": [{"id": n, "area": o["bbox"][2] * 80.0, **o} for n, o in enumerate(objects)],
    }
    path = folder / "truth.json"
    path.write_text(json.dumps(content))
    return path


@pytest.fixture
def unwritten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the plots empty, because drawing them is slow. `test_the_files` and the tests of plots read them."""
    monkeypatch.setattr(Figure, "savefig", lambda _, file, **options: Path(file).touch())


def evaluate(*words: str | Path, out: str = "out") -> int:
    """Return the exit status of `python -m yolo eval WORDS --out OUT`."""
    return main(["eval", *map(str, words), "--out", out])


def numbers(out: str = "out") -> dict[str, Any]:
    """Return the content of metrics.json."""
    found: dict[str, Any] = json.loads((Path(out) / "metrics.json").read_text())
    return found


@pytest.mark.usefixtures("unwritten")
def test_a_model_and_its_results_file(
    constant: Path,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A model and the json file that `detect` writes with it, unclipped, have equal numbers: those of pycocotools."""
    monkeypatch.setattr(Detections, "clipped", lambda self, size: self)
    truth = write_data()
    model = ["--weights", str(constant), "--device", "cpu"]
    words: list[str | Path] = ["--data", truth, "--pycocotools", "--matrix-conf", "0.1", "--resamples", "50"]
    assert evaluate(*words, *model) == 0
    printed = capsys.readouterr().out
    assert "6 images, 15 objects (1 crowds), 6 classes, " in printed
    limits = "confidence 0.001, NMS 0.6, at most 100 detections of an image, input 160x160 letterbox"
    assert f"conditions: {limits}" in printed
    assert float(printed.split("twelve, is ")[1].split()[0]) < 1e-12
    direct = numbers()
    assert list(direct)[:12] == TWELVE
    assert 0 < direct["AP"] < direct["AP50"] < 1
    assert main(["detect", "set/images", *model, "--conf", "0.001", "--iou", "0.6", "--max-det", "100", "--json"]) == 0
    results = Path("runs/detect/detections.json")
    assert evaluate("--annotations", truth, "--results", results, "--resamples", "50", "--matrix-conf", "0.1",
                    out="again") == 0  # fmt: skip
    again = numbers("again")
    assert {key: value for key, value in again.items() if key != "conditions"} == {
        key: value for key, value in direct.items() if key != "conditions"
    }
    assert again["conditions"]["those of"].startswith(str(results))


@pytest.mark.drawn
def test_the_files(constant: Path, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    """metrics.json, per_class.csv and four images that can be read; the table has a line for each class."""
    truth = write_data()
    assert evaluate("--weights", constant, "--data", truth, "--batch-size", "4") == 0
    assert sorted(path.name for path in Path("out").iterdir()) == FILES
    for name in FILES:
        if name.endswith(".png"):
            pixels = read_image(Path("out", name))
            assert min(pixels.shape[:2]) > 400
            assert pixels.std() > 10
    with Path("out/per_class.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["class"] for row in rows] == NAMES
    assert [int(row["objects"]) > 0 for row in rows] == [True] * 3 + [False] * 3
    found = numbers()
    with_objects = [float(row["AP"]) for row in rows if int(row["objects"])]
    assert found["AP"] == pytest.approx(np.mean(with_objects), abs=1e-12)
    assert "own" not in found, "YOLO has no metrics of its own"
    assert rows[3]["AP"] == rows[3]["best_f1"] == ""
    assert set(found["errors"]) == {"duplicate", "classification", "localisation", "both", "background", "missed"}
    assert found["interval95"]["AP"][0] <= found["AP"] <= found["interval95"]["AP"][1]
    assert found["darknet"]["tp"] + found["darknet"]["fn"] == found["objects"] - found["crowds"]
    printed = capsys.readouterr().out
    for name in NAMES:
        assert f"\n{name} " in printed
    assert "AP50 lost     " in printed


@pytest.mark.usefixtures("unwritten")
def test_a_run_folder_without_detections(constant: Path) -> None:  # noqa: F811
    """A run folder means its best.safetensors. A confidence that no score exceeds gives zeros."""
    truth = write_data()
    Path("runs/x").mkdir(parents=True)
    Path("runs/x/best.safetensors").write_bytes(constant.read_bytes())
    assert evaluate("--weights", "runs/x", "--data", truth, "--conf", "0.99") == 0
    found = numbers()
    assert (found["AP"], found["detections"], found["best_f1"]["f1"]) == (0, 0, 0)
    assert found["errors"]["missed"] == {"number": 14, "cost_AP50": 1.0}


def change_names(truth: Path, old: str, new: str) -> None:
    """Change the name of a class in the annotation file."""
    content = json.loads(truth.read_text())
    for category in content["categories"]:
        category["name"] = new if category["name"] == old else category["name"]
    truth.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--annotations", "no.json", "--results", "no.json"], "no.json"),
        (["--weights", "WEIGHTS", "--data", "set/lost.json"], "set/lost.json: no such image: set/images/nowhere.png"),
        (["--weights", "WEIGHTS", "--data", "set/other.json"],
         "the data have classes that the model does not: zebra; the model's 6 are .., motorbike"),
        ([*TRUTH, "--results", "rows.json"], "1 images are not in set/truth.json: 4"),
        (["--weights", "a.weights", "--data", "set/truth.json"], "a.weights: no such file"),
        (["--weights", "WEIGHTS", "--data", "set/truth.json", "--device", "tpu"], "device 'tpu'"),
        (["--weights", "WEIGHTS", "--data", "set/truth.json", "--size", "100"], "a multiple of 32"),
    ],
)  # fmt: skip
def test_errors(
    words: list[str],
    message: str,
    constant: Path,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Exit with status 1 and a message, and write nothing."""
    truth = write_data()
    other = truth.with_name("other.json")
    other.write_bytes(truth.read_bytes())
    change_names(other, "e", "zebra")
    truth.with_name("lost.json").write_text(truth.read_text().replace("p3.png", "nowhere.png"))
    Path("rows.json").write_text(json.dumps([{"image_id": 4, "category_id": 1, "bbox": [0, 0, 1, 1], "score": 1}]))
    assert evaluate(*(str(constant) if word == "WEIGHTS" else word for word in words)) == 1
    error = capsys.readouterr().err
    assert message in error
    assert not Path("out").exists()


def test_a_corrupt_image_is_an_error(constant: Path, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    """The message names the image. Numbers without it would be others."""
    truth = write_data()
    Path("set/images/p3.png").write_bytes(b"no image")
    assert evaluate("--weights", constant, "--data", truth) == 1
    assert "p3.png" in capsys.readouterr().err


@pytest.mark.usefixtures("unwritten")
def test_classes_by_name(constant: Path, caplog: pytest.LogCaptureFixture) -> None:  # noqa: F811
    """Classes in another order, one in another spelling and one missing change no number."""
    truth = write_data()
    assert evaluate("--weights", constant, "--data", truth) == 0
    expected = numbers()
    content = json.loads(truth.read_text())
    new_ids = {1: 30, 2: 20, 3: 10, 4: 40, 5: 50}
    content["categories"] = [
        {"id": new_ids[c["id"]], "name": "motorcycle" if c["name"] == "motorbike" else c["name"]}
        for c in content["categories"][:-1]
    ]
    for entry in content["annotations"]:
        entry["category_id"] = new_ids[entry["category_id"]]
    truth.write_text(json.dumps(content))
    assert evaluate("--weights", constant, "--data", truth, out="other") == 0
    assert [numbers("other")[key] for key in TWELVE] == pytest.approx([expected[key] for key in TWELVE], abs=1e-12)
    assert "have no such class: f" in caplog.text


@pytest.mark.parametrize("words", [[], ["--results", "a.json", "--weights", "b.weights"], ["--weights", "b.weights"]])
def test_either_results_or_weights(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Results with annotations, or weights with a data set; not both and not neither."""
    with pytest.raises(SystemExit) as end:
        main(["eval", *words])
    assert end.value.code == 2
    assert "give either --results FILE and" in capsys.readouterr().err


@needs_shared
@pytest.mark.usefixtures("unwritten")
@pytest.mark.parametrize(("name", "ap"), [("yolo-fastest-1.1", 0.1252), ("yolo-fastest-1.1-xl", 0.1954)])
def test_a_real_model_on_real_images(name: str, ap: float, capsys: pytest.CaptureFixture[str]) -> None:
    """141 images of COCO and a trained network: pycocotools' numbers, of images that are stretched as in training."""
    model = DATA / "darknet" / name
    words: list[str | Path] = [
        "--weights",
        f"{model}.weights",
        "--cfg",
        f"{model}.cfg",
        "--names",
        DATA / "darknet" / "coco.names",
    ]
    mini = DATA / "coco-mini"
    words += ["--data", mini, "--split", "val", "--pycocotools", "--device", "cpu", "--resamples", "50"]
    assert evaluate(*words) == 0
    printed = capsys.readouterr().out
    assert "141 images, 1,178 objects (13 crowds), 80 classes" in printed
    assert float(printed.split("twelve, is ")[1].split()[0]) < 1e-12
    assert "input 320x320 stretch" in printed
    assert numbers()["AP"] == pytest.approx(ap, abs=1e-3)


# plots of many classes, without objects, without detections


@pytest.mark.drawn
@pytest.mark.parametrize("classes", [1, 12, 45])
def test_plots_of_any_number_of_classes(classes: int, tmp_path: Path) -> None:
    """Few classes and many, with names that the font lacks and dollar signs, give images that can be read."""
    names = [f"$x_{c} 犬" if c % 5 == 0 else f"class {c}" for c in range(classes)]
    rng = np.random.default_rng(0)
    precision = np.sort(rng.random((101, classes)), axis=0)[::-1]
    ap = [-1.0 if c % 7 == 3 else float(precision[:, c].mean()) for c in range(classes)]
    plot_precision_recall(tmp_path / "pr.png", precision, ap, names)
    f1 = rng.random((classes + 1, 1001))
    f1[0] = np.nan
    plot_f1(tmp_path / "f1.png", np.linspace(0, 1, 1001), f1, (0.5, 0.7), names)
    counts = rng.integers(0, 50, (classes + 1, classes + 1)) * (rng.random((classes + 1, classes + 1)) < 0.2)
    plot_confusion(tmp_path / "confusion.png", counts, names, 0.25)
    for name in ("pr", "f1", "confusion"):
        assert read_image(tmp_path / f"{name}.png").shape[2] == 3


@pytest.mark.drawn
def test_plots_of_nothing(tmp_path: Path) -> None:
    """Plots without objects and detections are written too."""
    plot_precision_recall(tmp_path / "pr.png", np.full((101, 2), -1.0), [-1, -1], ["a", "b"])
    plot_f1(tmp_path / "f1.png", np.linspace(0, 1, 11), np.full((3, 11), np.nan), (0, 0), ["a", "b"])
    plot_confusion(tmp_path / "confusion.png", np.zeros((3, 3), dtype=np.int64), ["a", "b"], 0.25)
    plot_errors(tmp_path / "errors.png", -1, dict.fromkeys("abc", 0.0), dict.fromkeys("abc", 0))
    assert len(list(tmp_path.glob("*.png"))) == 4
