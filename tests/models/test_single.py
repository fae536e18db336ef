"""The models of one object in an image, in every command, in one process."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import yolo
from tests.support.single_problems import singles, tiny_backbone
from tests.support.study_problems import start_warm
from tests.support.train_problems import best_weights, checkpoint, difference, interrupted, numbers
from yolo.__main__ import main
from yolo.ablation import launch_local
from yolo.darknet.cfg import read_cfg
from yolo.darknet.network import Darknet
from yolo.darknet.weights import load_weights
from yolo.localize.metrics import CLASSES, PRESENCE
from yolo.models.largest import LargestDetector
from yolo.models.localizer import LocalizerDetector
from yolo.models.single import SimpleObjectDetector
from yolo.options.detection import Filter
from yolo.training.engine import Trainer

KINDS = {
    "localizer": (LocalizerDetector, PRESENCE),
    "simple": (SimpleObjectDetector, CLASSES),
    "largest": (LargestDetector, CLASSES),
}


class Place:
    """A folder with a data set, a backbone and runs."""

    def __init__(self, data: Path, backbone: str) -> None:
        self.data, self.spec = data, backbone

    def words(self, model: str, out: str, *more: str) -> list[str]:
        """Return the command line of a short training."""
        usual = ["--model", model, "--data", str(self.data), "--size", "64", "--epochs", "3", "--batch-size", "4"]
        usual += ["--workers", "0", "--device", "cpu", "--precision", "fp32", "--eval-every", "1", "--out", out]
        own = [] if model == "simple" else ["--backbone", self.spec]
        own += ["--target", "disc", "--negative-ratio", "3"] if model == "localizer" else []
        own += ["--unfreeze", "1", "2"] if model == "largest" else []
        return ["train", *usual, *own, *more]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Make the set, which tests only read, and the backbone, which they copy."""
    folder = tmp_path_factory.mktemp("made")
    return Place(singles(folder, train=40, val=12), tiny_backbone(folder / "backbone"))


@pytest.fixture
def place(made: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """Work in a folder of its own, with a backbone that may be removed."""
    monkeypatch.chdir(tmp_path)
    folder = made.data.parent / "backbone"
    shutil.copytree(folder, "backbone")
    return Place(made.data, made.spec.replace(str(folder), str(tmp_path / "backbone")))


@pytest.fixture(scope="module")
def runs(made: Place, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Train each model for an epoch, `simple` until it names a class, and return the folders, which tests only read."""
    folder = tmp_path_factory.mktemp("runs")
    for model in KINDS:
        assert main(made.words(model, str(folder / model), "--epochs", "3" if model == "simple" else "1")) == 0
    return {model: folder / model for model in KINDS}


@pytest.mark.parametrize("model", KINDS)
def test_the_whole_trip(
    model: str, place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The model is trained, interrupted, resumed bit by bit, evaluated, loaded alone, and detects."""
    kind, names = KINDS[model]
    assert main(place.words(model, "whole")) == 0
    rows = numbers(Path("whole"))
    assert [row["epoch"] for row in rows] == [0, 1, 2]
    assert {"train/box", "train/cls", "train/positives", "val/loss", "val/box", *names} <= rows[-1].keys()
    assert rows[-1]["train/cls"] < rows[0]["train/cls"]
    assert f"IoU {rows[-1]['IoU']:.4f}" in (said := capsys.readouterr().out)
    assert "too few epochs to judge the training loss" in said
    assert {"losses.png", "iou.png"} <= {file.name for file in Path("whole").iterdir()}

    # Interrupted in the second epoch and resumed: the same numbers and the same weights, bit by bit.
    steps = rows[0]["step"]
    interrupted(place.words(model, "parts"), steps + 2, monkeypatch)
    assert main(["train", "--resume", "parts"]) == 0
    assert difference(rows, numbers(Path("parts"))) == ""
    assert difference(checkpoint(Path("whole")), checkpoint(Path("parts"))) == ""
    assert difference(best_weights("whole"), best_weights("parts")) == ""

    # Evaluated: the best epoch's own metrics, to the digit.
    best = max(rows, key=lambda row: row["IoU"])
    assert main(["eval", "--weights", "whole", "--device", "cpu", "--resamples", "20", "--out", "e"]) == 0
    written = json.loads(Path("e/metrics.json").read_text())
    assert written["own"] == {name: best[name] for name in names}
    assert written["AP"] == best["AP"]
    assert "NMS" not in written["conditions"]
    assert Path("e/iou.png").is_file()

    # Used for detection: at most one object in an image, in another folder, from the file alone.
    image = str(next((place.data / "images" / "val").iterdir()))
    assert main(["detect", image, "--weights", "whole", "--confidence", "0", "--device", "cpu", "--out", "d"]) == 0
    assert "1 object" in capsys.readouterr().out
    assert [path.suffix for path in Path("d").iterdir() if path.suffix] == [".jpg"]
    shutil.rmtree("backbone")
    Path("other").mkdir()
    shutil.move("whole/best.safetensors", "other/file.safetensors")
    monkeypatch.chdir("other")
    loaded = yolo.load("file.safetensors", device="cpu")
    assert isinstance(loaded, kind)
    assert loaded.size == (64, 64)
    (found,) = loaded.detect([image], Filter(confidence=0))
    assert len(found) == 1
    assert 0 <= found.boxes.min() <= found.boxes.max() <= 64
    assert len(loaded.detect(image, Filter(confidence=1.0))) == 0
    others = [k for k in range(len(loaded.names)) if k != found[0].label]
    assert list(loaded.detect(image, confidence=0, classes=found[0].name)) == list(found)
    assert len(loaded.detect(image, confidence=0, classes=others)) == 0


def test_a_study(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """`ablate` compares two variants of `simple` in its own metrics."""
    monkeypatch.setattr(launch_local, "start", start_warm)
    Path("two.yaml").write_text(
        "preset: simple\nvariants:\n  light: {box_gain: 1}\n  heavy: {box_gain: 5}\n"
        "figures:\n  Weight: [light, heavy]\nmetrics: [IoU, accuracy]\nbeside: [IoU50]\ngoal: {IoU: 0.1}\n"
    )
    words = place.words("simple", "")[3:-2]  # without the model and the folder
    words[words.index("--epochs") + 1] = "1"
    assert main(["ablate", "two.yaml", "--seeds", "1", "--out", "study", "--", *words]) == 0
    report = next(Path("study").glob("*.md")).read_text()
    header = next(line for line in report.splitlines() if "IoU final" in line)
    assert [name in header for name in ("accuracy final", "IoU50 best", "final IoU ≥ 0.1", "AP50")] == [True] * 3 + [
        False
    ]


@pytest.mark.parametrize("model", KINDS)
def test_an_automatic_weight(
    model: str, place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The factor that makes both terms equal is printed, is kept in the file, and survives a resume."""
    words = place.words(model, "run", "--box-gain", "auto", "--epochs", "2")
    interrupted(words, 3, monkeypatch)
    said = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("box_gain auto: "))
    gain = float(said.rpartition(" ")[2])
    assert gain > 0
    assert main(["train", "--resume", "run"]) == 0
    assert "box_gain auto" not in capsys.readouterr().out
    for kept in (best_weights("run")["box_gain"], checkpoint(Path("run"))["network"]["box_gain"]):
        assert float(kept) == pytest.approx(gain, rel=1e-3)
    # Weights of a run bring its box, but not its factor.
    assert main(place.words(model, "more", "--epochs", "1", "--box-gain", "7", "--weights", "run")) == 0
    assert float(best_weights("more")["box_gain"]) == 7


def backbone_of(state: dict[str, Tensor], layers: Sequence[int]) -> dict[str, Tensor]:
    """Return the weights and statistics of some layers of the backbone."""
    starts = tuple(f"backbone.layers.{k}." for k in layers)
    return {name: values for name, values in state.items() if name.startswith(starts)}


def test_unfreezing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """In each epoch the right half of the backbone changes, statistics included, and the rates are 1, .1 and .01."""
    states: list[dict[str, Tensor]] = []
    rates: list[set[tuple[float, float]]] = []
    begin, finish = Trainer._epoch, Trainer._finish

    def copied(trainer: Trainer) -> dict[str, Tensor]:
        return {name: values.clone() for name, values in trainer.detector.network.state_dict().items()}

    def epoch(trainer: Trainer, interrupt: Any) -> bool:
        states.append(copied(trainer))
        return begin(trainer, interrupt)

    def end(trainer: Trainer, number: int) -> None:
        groups, peak = trainer.optimizer.param_groups, trainer.schedule(trainer.step)
        rates.append({(group["factor"], round(group["lr"] / peak, 6)) for group in groups})
        states.append(copied(trainer))
        finish(trainer, number)

    monkeypatch.setattr(Trainer, "_epoch", epoch)
    monkeypatch.setattr(Trainer, "_finish", end)
    assert main(place.words("largest", "run", "--box-gain", "auto", "--final-lr", "1e-4")) == 0
    first = yolo.load("run/best.safetensors", device="cpu")
    assert isinstance(first, LargestDetector)

    lower, upper = (0, 1), (2, 3)
    for number, trained in enumerate(([], [upper], [upper, lower])):
        before, after = states[2 * number], states[2 * number + 1]
        for half in (upper, lower):
            one, other = backbone_of(before, half), backbone_of(after, half)
            moved = {name for name, values in one.items() if not torch.equal(values, other[name])}
            assert moved == (set(one) if half in trained else set()), (number, half)
            assert any("running_mean" in name for name in one)
        assert all(not torch.equal(before[name], after[name]) for name in before if name.startswith("head.layers.7"))
    assert rates == [{(1.0, 1.0), (0.1, 0.1), (0.01, 0.01)}] * 3
    # Before the first step the backbone is the published one: measuring the weight of the box loss changed nothing.
    given = yolo.load("backbone/tiny.cfg", "backbone/tiny.weights", device="cpu")
    published = {f"backbone.{name}": values for name, values in given.network.state_dict().items()}
    assert difference(backbone_of(states[0], (0, 1, 2, 3)), backbone_of(published, (0, 1, 2, 3))) == ""


def test_the_balanced_order_is_used(place: Place, runs: dict[str, Path]) -> None:
    """Every disc and three times as many other images, whatever the rest; all images if that is asked for."""
    (row,) = numbers(runs["localizer"])
    assert checkpoint(runs["localizer"])["loader"]["order"] == "3 negatives per positive, shuffled, seed 0"
    assert row["step"] == row["train/positives"]  # batches of four, of which one is a disc
    assert main(place.words("localizer", "all", "--epochs", "1", "--negative-ratio", "None")) == 0
    assert numbers(Path("all"))[0]["step"] == 10


def test_a_validation_split_without_the_class(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """There is nothing to evaluate: an error before anything is written."""
    annotations = place.data / "annotations" / "instances_val.json"
    content = json.loads(annotations.read_text())
    disc = next(one["id"] for one in content["categories"] if one["name"] == "disc")
    content["annotations"] = [one for one in content["annotations"] if one["category_id"] != disc]
    other = Path("other")
    shutil.copytree(place.data, other)
    (other / "annotations" / "instances_val.json").write_text(json.dumps(content))
    assert main(place.words("localizer", "run", "--data", str(other))) == 1
    assert "val, disc: no image has exactly one" in capsys.readouterr().err
    assert not Path("run").exists()


@pytest.mark.parametrize("model", [pytest.param("localizer", marks=pytest.mark.drawn), "simple", "largest"])
def test_a_last_batch_of_one_image(model: str, place: Place) -> None:
    """Batch norm has no statistics of one image and uses those of before."""
    more = ["--negative-ratio", "None"] if model == "localizer" else []
    assert main(place.words(model, "run", "--epochs", "1", "--batch-size", "39", *more)) == 0
    (row,) = numbers(Path("run"))
    assert row["step"] == 2
    assert row["train/loss"] > 0


@pytest.mark.parametrize(
    ("model", "words", "message"),
    [
        ("localizer", ["--hue", "0.1"], "only flip can be used"),
        ("localizer", ["--mosaic", "0.5"], "only flip can be used"),
        ("localizer", ["--cache", "ram"], "cache=ram without effect"),
        ("largest", ["--unfreeze", "8", "3"], "unfreeze=(8, 3): expected at most two epochs, the upper half's first"),
        ("largest", ["--unfreeze", "1", "2", "3"], "expected at most two epochs"),
        ("largest", ["--freeze", "head.*"], "freeze beside unfreeze"),
        ("simple", ["--box-gain", "-1"], "box_gain=-1.0: expected a number from 0, or auto"),
        ("simple", ["--backbone", "lite0"], "--backbone"),
    ],
)
def test_wrong_options(
    model: str, words: list[str], message: str, place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    """Options without effect, out of range or of another model are errors before anything is read."""
    with pytest.raises(SystemExit):
        main(place.words(model, "run", *words))
    assert message in " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert not Path("run").exists()


def test_nothing_unfrozen(place: Place) -> None:
    """`--unfreeze` without a number trains the head alone."""
    words = place.words("largest", "run", "--epochs", "1")
    at = words.index("--unfreeze")
    assert main([*words[:at], "--unfreeze", *words[at + 3 :]]) == 0
    trained, layers = best_weights("run"), (0, 1, 2, 3)
    given = Darknet(read_cfg("backbone/tiny.cfg"))
    load_weights(given, "backbone/tiny.weights")
    published = {f"backbone.{name}": values for name, values in given.state_dict().items()}
    assert difference(backbone_of(trained, layers), backbone_of(published, layers)) == ""


def test_weights_of_another_network(place: Place, runs: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    """Weights of another model, another number of features, or a darknet file: the error names the file."""
    shutil.copytree(runs["localizer"], "a")
    shutil.copytree(runs["simple"], "b")
    for words in (
        place.words("simple", "x", "--weights", "a"),
        place.words("localizer", "x", "--weights", "b"),
        place.words("localizer", "x", "--weights", "a", "--features", "vector"),
        place.words("simple", "x", "--weights", "b", "--size", "128"),
    ):
        file = f"{words[words.index('--weights') + 1]}/best.safetensors"
        capsys.readouterr()
        assert main(words) == 1
        assert f"{file}: the weights of another network" in capsys.readouterr().err
    assert main(place.words("simple", "x", "--weights", "backbone/tiny.weights")) == 1
    assert "tiny.weights" in capsys.readouterr().err
    assert not Path("x").exists()


@pytest.mark.parametrize("model", KINDS)
def test_fine_tuning(model: str, place: Place, runs: dict[str, Path]) -> None:
    """`--weights RUN` begins where the run ended, with its class order and its input."""
    shutil.copytree(runs[model], "run")
    words = place.words(model, "more", "--epochs", "1", "--weights", "run")
    at = words.index("--size")
    rates = {"localizer": ["--peak-lr"], "simple": ["--lr"], "largest": ["--lr", "--peak-lr"]}[model]
    assert main([*words[:at], *words[at + 2 :], *(word for rate in rates for word in (rate, "1e-12"))]) == 0
    loaded, before = yolo.load("more", device="cpu"), best_weights("run")
    assert loaded.size == (64, 64)
    for name, values in loaded.network.named_parameters():
        torch.testing.assert_close(values.detach(), before[name], rtol=0, atol=1e-9)


def test_classes_in_another_order(place: Place, runs: dict[str, Path]) -> None:
    """`eval --data` matches classes by name, in the model's own metrics as well."""
    shutil.copytree(runs["simple"], "run")
    assert main(["eval", "--weights", "run", "--device", "cpu", "--resamples", "0", "--out", "one"]) == 0
    other = Path("other")
    shutil.copytree(place.data, other)
    for split in ("train", "val"):
        file = other / "annotations" / f"instances_{split}.json"
        content = json.loads(file.read_text())
        ids = sorted(one["id"] for one in content["categories"])
        turned = dict(zip(ids, ids[::-1], strict=True))
        for one in content["categories"]:
            one["id"] = turned[one["id"]]
        for one in content["annotations"]:
            one["category_id"] = turned[one["category_id"]]
        file.write_text(json.dumps(content))
    words = ["--data", str(other), "--split", "val", "--device", "cpu", "--resamples", "0", "--out", "two"]
    assert main(["eval", "--weights", "run", *words]) == 0
    one, two = (json.loads(Path(f"{name}/metrics.json").read_text()) for name in ("one", "two"))
    assert one["own"] == two["own"]
    assert one["own"]["accuracy"] > 0
