"""Cfg and data of a run that changed while it was stopped, options that may change, and runs that begin from a run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import pytest

from tests.support.small_sets import NAMES, DrawnImage, write_yolo
from tests.support.train_problems import checkpoint, difference, numbers, options_of, same_run, tiny_cfg, words
from yolo.__main__ import main
from yolo.darknet.safetensors_file import load_safetensors
from yolo.options.presets import read_options
from yolo.options.train import Train
from yolo.training.engine import Trainer
from yolo.training.record import Record, read_record
from yolo.training.run_folder import read_metrics

IMAGES = [DrawnImage((64, 64), [(k % 3, 4 + k, 6, 30 + k, 40), (0, 10, 12, 50, 60)]) for k in range(6)]
IMAGES[5] = DrawnImage((64, 64), [])

TRAIN = "set/images/train"
Made = Callable[[str, Callable[[], object]], None]
STEPS = 3  # of an epoch: six images, two of them in a batch


@pytest.fixture(scope="module")
def drawn_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A YOLO set of six images to train on and six to evaluate on."""
    folder = write_yolo(tmp_path_factory.mktemp("kept") / "set", IMAGES)
    for kind in ("images", "labels"):
        shutil.copytree(folder / kind / "train", folder / kind / "val")
    return folder


@pytest.fixture(autouse=True)
def data(drawn_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The set and the cfg, in the test's own folder. All paths are relative: a run can be moved with them."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(drawn_set, "set")
    tiny_cfg(Path())


def train(*more: object, out: str = "run") -> int:
    """Train on the set; every second epoch and the last one end with an evaluation. Returns the exit status."""
    rarely = [] if "--eval-every" in more else ["--eval-every", "2"]
    usual = ["--batch-size", "2", "--no-check", *rarely, "--out", out]
    return main(["train", *words(Path("set"), Path("tiny.cfg"), *usual, *more)])


def stopped(step: int, *more: object) -> None:
    """Stop a run of two epochs after a step."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "_all_agree", lambda trainer, _interrupt: trainer.step == step)
        assert train(*more) == 130


@pytest.fixture(scope="module")
def made(drawn_set: Path) -> Made:
    """Copy a run to where the test is; the first time it is made, beside the set."""

    def copy(run: str, make: Callable[[], object]) -> None:
        """`run` is its name there, `make` trains it."""
        parent = drawn_set.parent / make.__name__
        if not parent.exists():
            parent.mkdir()
            with pytest.MonkeyPatch.context() as patch:
                patch.chdir(parent)
                shutil.copytree(drawn_set, "set")
                tiny_cfg(Path())
                make()
        shutil.copytree(parent / run, run)

    return copy


def begun() -> None:
    """A run of two epochs, stopped after its first step."""
    stopped(1)


def whole() -> None:
    """The same run that was not stopped."""
    assert train(out="whole") == 0


def short() -> None:
    """A run of one epoch."""
    assert train("--epochs", "1") == 0


def divided() -> None:
    """A run of one epoch on a set that it has divided."""
    assert train("--epochs", "1", "--holdout", "0.5") == 0


def larger() -> None:
    """A run of one epoch with another size of the input."""
    assert train("--epochs", "1", "--size", "96") == 0


def judged() -> None:
    """A run of two epochs with an evaluation in each; it has fewer images to train on than to evaluate on."""
    image_less()
    assert train("--early-metric", "AP50", "--lr", "3e-3", "--eval-every", "1") == 0


def resume(*more: str) -> int:
    """Return the exit status of a resume."""
    return main(["train", "--resume", "run", *more])


def record(run: str = "run") -> Record:
    """Return the record of a run."""
    found = read_record(Path(run) / "data.json")
    assert found is not None
    return found


def other_label() -> None:
    """Change the class of an object."""
    file = Path("set/labels/train/img_3.txt")
    file.write_text("2" + file.read_text()[1:])


def other_pixels() -> None:
    """Change an image, not its size."""
    pixels = cv2.imread(f"{TRAIN}/img_2.jpg")
    assert pixels is not None
    cv2.imwrite(f"{TRAIN}/img_2.jpg", 255 - pixels)


def image_less() -> None:
    """Remove an image and its labels."""
    Path(TRAIN, "img_1.jpg").unlink()
    Path("set/labels/train/img_1.txt").unlink()


def image_more() -> None:
    """Add an image without objects."""
    shutil.copyfile(f"{TRAIN}/img_5.jpg", f"{TRAIN}/img_6.jpg")


def other_name() -> None:
    """Rename a class."""
    Path("set/classes.txt").write_text("\n".join(["cat", "wolf", "red ball"]))


def other_order() -> None:
    """List the same classes in another order."""
    Path("set/classes.txt").write_text("\n".join(NAMES[::-1]))


def other_val_label() -> None:
    """Add an object to an image to evaluate on."""
    Path("set/labels/val/img_5.txt").write_text("0 0.5 0.5 0.2 0.2\n")


def other_cfg() -> None:
    """Change the network."""
    Path("tiny.cfg").write_text(Path("tiny.cfg").read_text().replace("filters=12", "filters=16"))


CHANGES: list[tuple[Callable[[], None], str]] = [
    (other_label, "  labels of images/train/img_3.jpg changed"),
    (other_pixels, "  the image file of images/train/img_2.jpg changed"),
    (image_less, "  images/train/img_1.jpg was removed"),
    (image_more, "  images/train/img_6.jpg was added"),
    (other_name, "  class 1 was dog, is wolf"),
    (other_order, "  the data lists the classes as red ball, dog, cat; it was cat, dog, red ball"),
    (other_val_label, "  to evaluate on: labels of images/val/img_5.jpg changed"),
    (other_cfg, "  the cfg changed: [convolutional] (layer 1): filters=12 became filters=16"),
]


@pytest.mark.parametrize(("change", "found"), CHANGES, ids=[change.__name__ for change, _ in CHANGES])
def test_a_change_while_it_was_stopped(
    made: Made, change: Callable[[], None], found: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Refused with what changed, and nothing is written; accepted it continues, and is not refused again."""
    made("run", begun)
    change()
    kept = {path: path.read_bytes() for path in Path("run").iterdir()}
    capsys.readouterr()
    assert resume() == 1
    error = capsys.readouterr().err
    assert error.startswith("error: run: changed since the run began")
    assert f"\n{found}" in error
    assert "continue nevertheless with --accept-changes" in error
    assert {path: path.read_bytes() for path in Path("run").iterdir()} == kept
    # Accepted, in the second epoch: the change is in data.json, and in force.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "_all_agree", lambda trainer, _interrupt: trainer.loader.epoch == 1)
        assert resume("--accept-changes") == 130
    assert found in capsys.readouterr().out
    (entry,) = record().accepted
    assert (entry["epoch"], entry["step"]) == (0, 1)
    assert any(line.startswith(found.strip()) for line in entry["changes"])
    assert resume() == 0
    assert len(record().accepted) == 1
    assert [row["epoch"] for row in read_metrics("run")] == [0, 1]


@pytest.mark.parametrize(("change", "images"), [(image_less, 5), (image_more, 7)])
def test_another_number_of_images(change: Callable[[], None], images: int) -> None:
    """The interrupted epoch begins anew, with all images of today; the schedule ends with the last step."""
    cosine = ["--schedule", "cosine", "--lr", "1e-4", "--peak-lr", "1e-3", "--final-lr", "1e-5", "--epochs", "3"]
    steps = -(-images // 2)
    stopped(STEPS + 1, *cosine)
    change()
    assert resume("--accept-changes") == 0
    rows = read_metrics("run")
    assert [row["step"] for row in rows] == [STEPS, STEPS + 1 + steps, STEPS + 1 + 2 * steps]
    assert rows[-1]["lr"] == pytest.approx(1e-5)
    assert rows[1]["lr"] > 2e-5
    assert record().train.conditions["images"] == images


def test_a_crash_after_changes_were_accepted() -> None:
    """Killed in its next step, it resumes without a question, and equals the run that was not killed."""

    class Killed(BaseException):
        pass

    def killed(*_: object) -> None:
        raise Killed

    stopped(STEPS + 1)
    image_more()
    shutil.copytree("run", "copy")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "_step", killed)
        with pytest.raises(Killed):
            resume("--accept-changes")
    assert resume() == 0
    assert main(["train", "--resume", "copy", "--accept-changes"]) == 0
    assert same_run(Path("copy"), Path("run")) == ""


def test_another_number_of_classes(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    """The network does not fit: also refused with --accept-changes."""
    made("run", begun)
    Path("set/classes.txt").write_text("\n".join([*NAMES, "bird"]))
    for more in ([], ["--accept-changes"]):
        capsys.readouterr()
        assert resume(*more) == 1
        error = capsys.readouterr().err
        assert "run: the network has 3 classes, the data now 4: class 3, bird, is new." in error
        assert "start a new run from the weights: --weights run" in error


def test_the_cfg_is_gone(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    """The run has its own, and equals the one that was not stopped."""
    made("whole", whole)
    made("run", begun)
    Path("tiny.cfg").unlink()
    capsys.readouterr()
    assert resume() == 0
    assert "tiny.cfg: no such file; the run continues with its own copy, run/network.cfg" in capsys.readouterr().out
    assert same_run(Path("whole"), Path("run")) == ""


def test_data_that_moved(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    """The error says what to do; the new path is kept, and the run equals the one that was not stopped."""
    made("whole", whole)
    made("run", begun)
    Path("deeper").mkdir()
    Path("set").rename("deeper/moved")
    capsys.readouterr()
    assert resume() == 1
    assert "set: the data of run is not there; if it moved, add --data PATH" in capsys.readouterr().err
    assert resume("--data", "deeper/moved") == 0
    assert "run: the data is at deeper/moved now, with the same images and labels" in capsys.readouterr().out
    assert read_options(Path("run/options.yaml")).data == "deeper/moved"
    assert record().train.conditions["path"] == "deeper/moved"
    assert same_run(Path("whole"), Path("run")) == ""
    # Another set is not the same one.
    Path("deeper/moved/labels/train/img_0.txt").unlink()
    assert resume("--data", "./deeper/moved") == 1
    assert "labels of images/train/img_0.jpg changed" in capsys.readouterr().err


def test_a_run_without_a_record(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    """It resumes and gets one; with other data it cannot be compared, so that has to be accepted."""
    made("run", begun)
    for name in ("data.json", "network.cfg"):
        Path("run", name).unlink()
    Path("set").rename("moved")
    capsys.readouterr()
    assert resume("--data", "moved") == 1
    assert "the data is moved, and the run has no data.json to compare it with" in capsys.readouterr().err
    Path("moved").rename("set")
    assert resume() == 0
    assert "run: it has no data.json, as runs of older versions" in capsys.readouterr().out
    assert record().train.conditions["images"] == len(IMAGES)
    assert load_safetensors("run/best.safetensors").network.cfg.to_text() == Path("run/network.cfg").read_text()


def test_accept_changes_needs_a_resume(capsys: pytest.CaptureFixture[str]) -> None:
    """A new run has nothing to compare."""
    with pytest.raises(SystemExit):
        train("--accept-changes")
    assert "accept_changes without effect" in capsys.readouterr().err
    assert not Path("run").exists()


def test_more_epochs(capsys: pytest.CaptureFixture[str]) -> None:
    """With a constant rate, a run of 2 epochs that gets 4 is the run of 4; one line says what else would change."""
    assert train("--epochs", "4", out="whole") == 0
    assert train("--epochs", "2") == 0
    capsys.readouterr()
    assert resume("--epochs", "4") == 0
    out = capsys.readouterr().out
    assert "4 epochs in place of 2: from step 7 on, learning rate (constant) and augmentation follow the plan" in out
    assert same_run(Path("whole"), Path("run")) == ""
    assert options_of(Path("run")) == options_of(Path("whole")).replace('"whole"', '"run"')
    # Once more, without words: the options of the run and of its checkpoint agree.
    assert resume() == 0
    assert "in place of" not in capsys.readouterr().out
    assert resume("--epochs", "3") == 1
    assert "epochs=3 next to --resume: the run was planned for 4" in capsys.readouterr().err
    assert read_options(Path("run/options.yaml")).epochs == 4


def test_more_epochs_that_are_the_default(made: Made) -> None:
    """The run decides what was given, not the default of the option."""
    made("run", short)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "_all_agree", lambda trainer, _interrupt: trainer.loader.epoch == 1)
        assert resume("--epochs", str(Train.epochs)) == 130
    assert read_options(Path("run/options.yaml")).epochs == Train.epochs == 30


def test_options_that_may_change() -> None:
    """Workers, device, and how often to evaluate and to save: the same weights, kept in the run."""
    assert train("--epochs", "3", out="whole") == 0
    stopped(1, "--epochs", "3", "--eval-every", "1")
    more = {"workers": 1, "device": "cpu", "eval_every": 2, "save_every": 3}
    assert resume(*(word for name, value in more.items() for word in (f"--{name.replace('_', '-')}", str(value)))) == 0
    options = read_options(Path("run/options.yaml"))
    assert {name: getattr(options, name) for name in more} == more
    assert difference(checkpoint(Path("whole"))["network"], checkpoint(Path("run"))["network"]) == ""
    assert ["AP" in row for row in numbers(Path("run"))] == [False, True, True]
    assert resume() == 0


def test_options_that_may_not_change(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    """The error lists those that may."""
    made("run", begun)
    capsys.readouterr()
    assert resume("--batch-size", "3", "--workers", "1") == 1
    error = capsys.readouterr().err
    assert "error: batch_size next to --resume" in error
    assert (
        "only --data, --val, --epochs, --workers, --device, --eval-every, --save-every, --max-pixels may change"
        in error
    )
    assert resume("--batch-size", "2") == 0, "the value that it has"


def evaluated(*words: str) -> dict[str, Any]:
    """Return the numbers that `eval` writes."""
    assert main(["eval", *words, "--device", "cpu", "--resamples", "0", "--out", "e"]) == 0
    found: dict[str, Any] = json.loads(Path("e/metrics.json").read_text())
    return found


def of(row: dict[str, Any], names: Sequence[str] = ("AP", "AP50", "APm", "AR1", "AR100")) -> list[float]:
    """Return some of the numbers of an evaluation."""
    return [row[name] for name in names]


@pytest.mark.parametrize("weights", ["run", "run/best.safetensors"])
def test_eval_of_a_run(made: Made, weights: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Without --data: its own images, the digits of the best epoch; changes since are a warning."""
    made("run", judged)
    best = max(read_metrics("run"), key=lambda row: row["AP50"])
    found = evaluated("--weights", weights)
    assert of(found) == of(best)
    assert found["images"] == 6
    capsys.readouterr()
    other_val_label()
    assert evaluated("--weights", weights)["objects"] == found["objects"] + 1


def test_eval_warns_of_changes(made: Made, caplog: pytest.LogCaptureFixture) -> None:
    """Of the images that it evaluates only, and without an error."""
    made("run", short)
    other_label()
    evaluated("--weights", "run")
    assert "changed since" not in caplog.text
    other_val_label()
    evaluated("--weights", "run")
    assert "run: changed since it was trained: labels of images/val/img_5.jpg changed" in caplog.text


@pytest.mark.parametrize(("split", "images"), [(None, 12), ("val", 12), ("train", None)])
def test_eval_divides_only_what_has_no_such_split(made: Made, split: str | None, images: int | None) -> None:
    """A file with one split, `val`, is all of it to the run of the weights; without one it is divided as in the run."""
    made("run", divided)
    Path("set/val.txt").write_text(
        "".join(f"images/{part}/img_{k}.jpg\n" for part in ("train", "val") for k in range(6))
    )
    more = ["--split", split] if split else []
    found = evaluated("--weights", "run", "--data", "set/val.txt", *more)["images"]
    assert found == images or (images is None and 0 < found < 12)


def test_eval_of_a_run_under_its_conditions() -> None:
    """The training images, or another split, without those that were left out: as in training."""
    assert train("--eval-on", "train", "--limit", "4", "--epochs", "1", out="a") == 0
    found = evaluated("--weights", "a")
    assert (found["images"], of(found)) == (4, of(read_metrics("a")[-1]))
    assert record("a").val is None
    Path("set/images/val/img_0.jpg").write_bytes(b"cut off")
    assert train("--bad", "skip", "--epochs", "1", out="b") == 0
    found = evaluated("--weights", "b")
    assert (found["images"], of(found)) == (5, of(read_metrics("b")[-1]))


def test_eval_without_data(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    """Weights that no run made, and options that would have no effect."""
    made("run", short)
    shutil.copyfile("run/best.safetensors", "alone.safetensors")
    assert main(["eval", "--weights", "alone.safetensors"]) == 1
    assert "alone.safetensors: not the weights of a run (options.yaml is missing)" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["eval", "--weights", "run", "--split", "train"])
    assert "split without effect: a run has its own data" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("weights", ["run", "run/best.safetensors"])
def test_a_run_that_begins_from_a_run(made: Made, weights: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It has its network, its input and its order of classes, also when it is resumed without the first one."""
    made("run", larger)
    assert main(["train", "--weights", weights, *words(Path("set"), Path("-"))[4:], "--data", "set", "--lr", "1e-30",
                 "--epochs", "1", "--out", "next"]) == 0  # fmt: skip
    assert "run/best.safetensors: 28 of 28 tensors loaded" in capsys.readouterr().out
    first, following = (load_safetensors(f"{run}/best.safetensors") for run in ("run", "next"))
    assert following.network.cfg == first.network.cfg
    assert (following.size, following.names) == (first.size, first.names) == ((96, 96), list(NAMES))
    options = read_options(Path("next/options.yaml"))
    assert isinstance(options, Train)
    assert (options.cfg, options.size, options.weights) == (None, "96x96", Path("run/best.safetensors"))
    Path("run").rename("gone")
    Path("tiny.cfg").unlink()
    assert main(["train", "--resume", "next", "--epochs", "2"]) == 0
    assert len(read_metrics("next")) == 2


def as_coco(order: Sequence[int]) -> None:
    """Write the labels of the set as COCO files whose categories have this order."""
    Path("coco/annotations").mkdir(parents=True)
    shutil.copytree("set/images", "coco/images")
    for split in ("train", "val"):
        images = [{"id": k, "file_name": f"img_{k}.jpg", "width": 64, "height": 64} for k in range(len(IMAGES))]
        objects = [
            {"id": 10 * k + n, "image_id": k, "category_id": order.index(label), "bbox": [x1, y1, x2 - x1, y2 - y1],
             "area": (x2 - x1) * (y2 - y1), "iscrowd": 0}
            for k, image in enumerate(IMAGES) for n, (label, x1, y1, x2, y2) in enumerate(image.objects)
        ]  # fmt: skip
        categories = [{"id": k, "name": NAMES[label]} for k, label in enumerate(order)]
        content = {"images": images, "annotations": objects, "categories": categories}
        Path(f"coco/annotations/instances_{split}.json").write_text(json.dumps(content))


def test_the_order_of_classes_is_that_of_the_weights(made: Made) -> None:
    """Data with the same classes in another order trains the same heads; a resume and `eval` know of it."""
    made("run", short)
    as_coco([2, 0, 1])
    command = ["train", "--weights", "run", *words(Path("set"), Path("-"))[4:]]
    for run, source in {"one": "set", "other": "coco"}.items():
        assert main([*command, "--data", source, "--out", run]) == 0
        assert load_safetensors(f"{run}/best.safetensors").names == list(NAMES)
    assert record("other").train.listed == [NAMES[2], NAMES[0], NAMES[1]]
    # Text with six decimals and whole pixels: nearly the same boxes.
    for row, same in zip(read_metrics("one"), read_metrics("other"), strict=True):
        assert row["train/loss"] == pytest.approx(same["train/loss"], rel=1e-3)
    assert main(["train", "--resume", "other", "--epochs", "3"]) == 0
    best = max(read_metrics("other"), key=lambda row: row["AP"])
    assert of(evaluated("--weights", "other")) == of(best)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("run/last.pt", "run/last.pt: the state of a run, for --resume; give run/best.safetensors, the weights of"),
        ("set", "set: no best.safetensors in it"),
        ("yolov8n.pt", "yolov8n.pt: not weights that this program reads"),
    ],
)  # fmt: skip
def test_what_holds_no_weights(made: Made, weights: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The answer has the file to take."""
    made("run", short)
    capsys.readouterr()
    assert train("--weights", weights, out="next") == 1
    assert message in capsys.readouterr().err
    assert not Path("next").exists()


def test_another_cfg_than_that_of_the_weights(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    """A cfg that is given wins, as ever: weights of another network are refused."""
    made("run", short)
    Path("other.cfg").write_text(Path("tiny.cfg").read_text().replace("filters=12", "filters=16"))
    assert train("--weights", "run", "--cfg", "other.cfg", out="next") == 1
    assert "it is of another network" in capsys.readouterr().err
    assert train("--weights", "run", "--size", "128", "--epochs", "1", out="next") == 0
    assert load_safetensors("next/best.safetensors").size == (128, 128)
