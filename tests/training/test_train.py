"""`python -m yolo train` from outside: the files of a run, reproducibility, options, errors."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import pytest
import torch

from tests.support.train_problems import checkpoint, difference, numbers, options_of, same_run, shapes, tiny_cfg, words
from yolo.__main__ import main
from yolo.darknet.cfg import read_cfg, with_classes
from yolo.darknet.network import Darknet
from yolo.darknet.safetensors_file import load_safetensors, save_safetensors
from yolo.darknet.weights import save_weights
from yolo.data.shapes.figures import NAMES
from yolo.training.run_folder import read_metrics

STILL = ["--lr", "1e-30", "--freeze", "*.bn.*"]
"""Options with which a network does not change."""


class Place(NamedTuple):
    """Data, network and a run of two epochs; tests only read them."""

    data: Path
    cfg: Path
    run: Path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A run with averaged weights, evaluated after both epochs."""
    folder = tmp_path_factory.mktemp("train")
    data, cfg, run = shapes(folder), tiny_cfg(folder), folder / "runs" / "first"
    assert main(["train", *words(data, cfg, "--out", run, "--ema", "0.9")]) == 0
    return Place(data, cfg, run)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative paths are in the test's own folder."""
    monkeypatch.chdir(tmp_path)


def train(place: Place, *more: object, out: str = "run") -> int:
    """Train in the folder `out`, without the checks before it. Returns the exit status."""
    return main(["train", *words(place.data, place.cfg, "--no-check", "--out", out, *more)])


def refused(capsys: pytest.CaptureFixture[str], status: int) -> str:
    """Return the error, which must be a single line."""
    error = capsys.readouterr().err
    assert status == 1
    assert error.startswith("error: ")
    assert error.count("\n") == 1, error
    return error


def network_of(run: str | Path) -> dict[str, torch.Tensor]:
    """Return the trained weights, not averaged."""
    found: dict[str, torch.Tensor] = checkpoint(Path(run))["network"]
    return found


def test_what_a_run_leaves(place: Place) -> None:
    """Every file that the README names, and both epochs in the metrics."""
    there = {path.name.partition(".out.")[0] for path in place.run.iterdir()}
    files = ["options.yaml", "metrics.jsonl", "last.pt", "best.safetensors", "first_batch.png", "detections.png"]
    files += ["data.json", "network.cfg"]
    assert there == {*files, "events"}
    for name in ("first_batch.png", "detections.png"):
        sheet = cv2.imread(str(place.run / name))
        assert sheet is not None
        assert sheet.std() > 10
    rows = read_metrics(place.run)
    assert [(row["epoch"], row["step"]) for row in rows] == [(0, 3), (1, 6)]
    for row in rows:
        assert row["train/loss"] == pytest.approx(row["train/box"] + row["train/obj"] + row["train/cls"])
        assert row["val/loss"] == pytest.approx(row["val/box"] + row["val/obj"] + row["val/cls"])
        assert {"AP", "AP50", "ARl", "lr", "seconds", "eval_seconds", "memory_mb"} <= row.keys()


def test_events_for_tensorboard(place: Place) -> None:
    """The terms of every step, the numbers of every epoch, both sheets."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(place.run))
    events.Reload()
    assert [event.step for event in events.Scalars("step/box")] == [1, 2, 3, 4, 5, 6]
    assert [event.step for event in events.Scalars("val/loss")] == [3, 6]
    assert [event.value for event in events.Scalars("AP50")] == pytest.approx(
        [row["AP50"] for row in read_metrics(place.run)]
    )
    assert set(events.Tags()["images"]) == {"first batch", "objects and detections"}


def test_eval_gives_the_numbers_of_the_best_epoch(place: Place) -> None:
    """Digit for digit, of the averaged weights, which is what `best.safetensors` holds."""
    words = ["eval", "--weights", str(place.run), "--data", str(place.data), "--split", "val", "--out", "e"]
    assert main([*words, "--device", "cpu"]) == 0  # on which it was trained
    found = json.loads(Path("e/metrics.json").read_text())
    rows = read_metrics(place.run)
    best = max(rows, key=lambda row: row["AP"])
    assert checkpoint(place.run)["best_epoch"] == best["epoch"]
    compared = [name for name in best if name.startswith("A")]
    assert len(compared) == 12
    assert best["AP50"] > 0
    assert {name: found[name] for name in compared} == {name: best[name] for name in compared}


def test_detect_takes_the_run(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """With the names and the size that it was trained with."""
    saved = load_safetensors(place.run / "best.safetensors")
    assert saved.size == (64, 64)
    assert saved.names == list(NAMES)
    image = next((place.data / "images" / "val").iterdir())
    weights = str(place.run / "best.safetensors")
    assert main(["detect", str(image), "--weights", weights, "--conf", "0.01", "--out", "found"]) == 0
    assert (Path("found") / image.name).is_file()


def test_the_same_seed_is_the_same_run(place: Place) -> None:
    """Bit for bit, with and without worker processes and checks before it; another seed is another run."""
    assert train(place, "--ema", "0.9", out="again") == 0
    assert same_run(place.run, Path("again")) == ""
    assert train(place, "--ema", "0.9", "--workers", "2", out="workers") == 0
    assert same_run(place.run, Path("workers")) == ""
    assert train(place, "--ema", "0.9", "--seed", "1", "--eval-every", "2", out="other") == 0
    assert difference(network_of(place.run), network_of("other"))


def test_evaluation_leaves_the_training_alone(place: Place) -> None:
    """Evaluated after every epoch or at the end only: the same weights, the same random numbers."""
    assert train(place, "--epochs", "3", out="often") == 0
    assert train(place, "--epochs", "3", "--eval-every", "0", out="seldom") == 0
    often, seldom = checkpoint(Path("often")), checkpoint(Path("seldom"))
    for part in ("network", "optimizer", "random"):
        assert difference(often[part], seldom[part]) == ""
    assert [("AP" in row) for row in read_metrics("seldom")] == [False, False, True]
    assert numbers(Path("often"))[-1] == numbers(Path("seldom"))[-1]


def test_on_the_training_images(place: Place) -> None:
    """`--eval-on train` evaluates on those of `--limit`."""
    assert train(place, "--limit", "5", "--eval-on", "train", "--batch-size", "2") == 0
    assert [row["step"] for row in read_metrics("run")] == [3, 6]
    weights = ["--weights", "run", "--data", str(place.data)]
    assert main(["eval", *weights, "--split", "train", "--limit", "5", "--out", "e"]) == 0
    best = max(read_metrics("run"), key=lambda row: row["AP"])
    assert json.loads(Path("e/metrics.json").read_text())["AR100"] == best["AR100"]


def test_frozen_layers_do_not_change(place: Place) -> None:
    """Including statistics of batch norm; the other layers change."""
    assert train(place, "--freeze", "0-1") == 0
    torch.manual_seed(0)
    before, after = Darknet(read_cfg(place.cfg)).state_dict(), network_of("run")
    still = {name for name in before if torch.equal(before[name], after[name])}
    assert still == {name for name in before if name.startswith(("layers.0.", "layers.1."))}


def test_two_batches_of_four_are_one_of_eight(place: Place, tmp_path: Path) -> None:
    """Without batch norm and with losses that are means over images, accumulation is the larger batch."""
    plain = place._replace(cfg=tiny_cfg(tmp_path, norm=False))
    recipe = ["--plain", "--limit", "8", "--box-gain", "0", "--cls-gain", "0", "--obj-label", "1", "--pos-weight", "1"]
    recipe += ["--optimizer", "sgd", "--lr", "0.1", "--epochs", "4"]
    assert train(plain, *recipe, "--batch-size", "8", out="eight") == 0
    assert train(plain, *recipe, "--batch-size", "4", "--accumulate", "2", out="twice") == 0
    assert [row["step"] for row in read_metrics("twice")] == [1, 2, 3, 4]
    for one, other in zip(read_metrics("eight"), read_metrics("twice"), strict=True):
        assert one["train/obj"] == pytest.approx(other["train/obj"], rel=1e-6)
    for name, tensor in network_of("eight").items():
        torch.testing.assert_close(tensor, network_of("twice")[name], rtol=1e-5, atol=1e-7, msg=name)


def test_a_last_step_of_fewer_batches(place: Place) -> None:
    """Three batches, two per step: two steps per epoch."""
    assert train(place, "--accumulate", "2") == 0
    assert [row["step"] for row in read_metrics("run")] == [2, 4]


def test_early_stop(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is learned at such a rate, so no epoch beats the first; the last checkpoint is of the last epoch.

    The reason is printed, by a resume as well; a training that was not stopped early has none.
    """
    assert train(place, "--epochs", "9", *STILL, "--early-stop", "2", "--save-every", "4") == 0
    reason = "stopped early: AP has not improved for 2 epochs; best AP "
    assert capsys.readouterr().out.splitlines()[-2].startswith(reason)
    assert [row["epoch"] for row in read_metrics("run")] == [0, 1, 2]
    assert checkpoint(Path("run"))["loader"]["epoch"] == 3
    assert main(["train", "--resume", "run"]) == 0
    assert [row["epoch"] for row in read_metrics("run")] == [0, 1, 2]
    assert capsys.readouterr().out.splitlines()[-2].startswith(reason)
    assert train(place, "--epochs", "3", *STILL, "--early-stop", "2", out="whole") == 0
    assert "stopped early" not in capsys.readouterr().out


def test_early_stop_waits_for_an_evaluation(place: Place) -> None:
    """Evaluated every third epoch with a patience of two: training continues until the evaluation of the sixth."""
    assert train(place, "--epochs", "9", *STILL, "--early-stop", "2", "--eval-every", "3") == 0
    assert [row["epoch"] for row in read_metrics("run")] == [0, 1, 2, 3, 4, 5]


def test_the_lowest_loss_is_the_best(place: Place) -> None:
    """A metric with a slash is a loss."""
    assert train(place, "--early-metric", "val/loss", "--epochs", "3", "--lr", "1e-2") == 0
    losses = [row["val/loss"] for row in read_metrics("run")]
    state = checkpoint(Path("run"))
    assert state["best_epoch"] == losses.index(min(losses))
    assert state["best"] == -min(losses)


def test_objectness_bias(place: Place) -> None:
    """Of every head's slots, at the start; nothing else changes."""
    assert train(place, "--obj-bias", "-4.5", "--epochs", "1", "--lr", "1e-30") == 0
    after = network_of("run")
    for layer in (4, 7):
        biases = after[f"layers.{layer}.conv.bias"].view(3, 11)
        torch.testing.assert_close(biases[:, 4], torch.full((3,), -4.5))
        assert float(biases[:, :4].abs().max()) < 1e-20
        assert float(biases[:, 5:].abs().max()) < 1e-20


def saved_network(place: Place, names: list[str], file: str) -> Darknet:
    """The tiny network for these classes, with weights of its own, in a file."""
    torch.manual_seed(7)
    network = Darknet(with_classes(read_cfg(place.cfg), len(names)))
    with torch.no_grad():
        for bias in (network.layers[k].get_parameter("conv.bias") for k in (4, 7)):
            bias.fill_(0.5)
    if file.endswith(".weights"):
        save_weights(network, file)
    else:
        save_safetensors(network, file, names)
    return network


@pytest.mark.parametrize("file", ["old.weights", "old.safetensors"])
def test_weights_of_other_classes(file: str, place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """All layers but the heads are loaded, and the table shows it; --obj-bias applies to the new heads."""
    old = saved_network(place, ["a", "b"], file).state_dict()
    capsys.readouterr()
    assert train(place, "--weights", file, "--epochs", "1", "--lr", "1e-30", "--obj-bias", "-4.5") == 0
    said = capsys.readouterr().out
    assert file in said
    assert "initial" in said
    after = network_of("run")
    for name in old:
        if name.startswith(("layers.4.", "layers.7.")):
            assert after[name].shape != old[name].shape
        elif "running" not in name and "num_batches" not in name:
            torch.testing.assert_close(after[name], old[name])
    assert after["layers.4.conv.bias"].view(3, 11)[:, 4].tolist() == pytest.approx([-4.5] * 3)


def test_classes_are_told_apart_by_name(place: Place) -> None:
    """The same number of classes with other names: new heads. With the same names the heads are kept."""
    old = saved_network(place, list(NAMES[::-1]), "other.safetensors").state_dict()
    assert train(place, "--weights", "other.safetensors", "--epochs", "1", "--lr", "1e-30", out="other") == 0
    assert float(network_of("other")["layers.4.conv.bias"].abs().max()) < 1e-20
    saved_network(place, list(NAMES), "same.safetensors")
    assert train(place, "--weights", "same.safetensors", "--epochs", "1", "--lr", "1e-30", out="same") == 0
    torch.testing.assert_close(network_of("same")["layers.4.conv.bias"], old["layers.4.conv.bias"])


def test_classes_of_the_cfg_become_those_of_the_data(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """A line reports it, once, only if they differ."""
    text = place.cfg.read_text().replace("classes=6", "classes=80").replace("filters=33", "filters=255")
    Path("coco.cfg").write_text(text)
    assert train(place._replace(cfg=Path("coco.cfg")), "--epochs", "1") == 0
    assert "coco.cfg: 6 classes as in the data, in place of 80" in capsys.readouterr().out
    assert load_safetensors("run/best.safetensors").network.heads[0].classes == 6


def test_images_without_objects(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """Refused; meant so, losses are finite, no epoch is the best, and the newest weights are kept and announced."""
    path = place.data / "annotations" / "instances_train.json"
    content: dict[str, Any] = json.loads(path.read_text())
    folder = Path("empty/annotations")
    folder.mkdir(parents=True)
    for split in ("train", "val"):
        (folder / f"instances_{split}.json").write_text(json.dumps({**content, "annotations": []}))
        (Path("empty/images") / split).parent.mkdir(exist_ok=True)
        (Path("empty/images") / split).symlink_to(place.data / "images" / "train")
    empty = place._replace(data=Path("empty"))
    assert "split train: nothing to learn" in refused(capsys, train(empty))
    assert train(empty, "--allow-empty", "--early-stop", "1") == 0
    row = read_metrics("run")[-1]
    assert row["train/box"] == row["train/cls"] == 0
    assert row["train/obj"] > 0
    # Not defined is not a number: in the log, in the lines of the epochs, and for the choice of the weights.
    assert (row["epoch"], row["AP"], row["APl"]) == (1, None, None)
    out = capsys.readouterr().out
    assert out.count("AP n/a, AP50 n/a, AP is not defined without objects: the newest weights are kept") == 2
    assert checkpoint(Path("run"))["best_epoch"] == -1
    best = load_safetensors("run/best.safetensors").network.state_dict()
    assert difference(best, network_of("run")) == ""


def test_nothing_to_evaluate_on(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """Only the validation split is without objects: refused before the folder of the run is made."""
    content: dict[str, Any] = json.loads((place.data / "annotations" / "instances_val.json").read_text())
    Path("half/annotations").mkdir(parents=True)
    Path("half/images").symlink_to(place.data / "images")
    shutil.copy(place.data / "annotations" / "instances_train.json", "half/annotations")
    crowds = [{**entry, "iscrowd": 1} for entry in content["annotations"]]
    Path("half/annotations/instances_val.json").write_text(json.dumps({**content, "annotations": crowds}))
    error = refused(capsys, train(place._replace(data=Path("half"))))
    assert f"split val: nothing to learn or to evaluate on: of {len(crowds)} objects {len(crowds)} are crowds" in error
    assert "--allow-empty" in error
    assert not Path("run").exists()
    assert train(place._replace(data=Path("half")), "--allow-empty", "--epochs", "1") == 0
    capsys.readouterr()
    # The run says that it is meant so; other weights do not.
    shutil.copy("run/best.safetensors", "other.safetensors")
    for weights, status in (("run", 0), ("other.safetensors", 1)):
        assert main(["eval", "--weights", weights, "--data", "half", "--split", "val", "--out", "e"]) == status
    out, error = capsys.readouterr()
    assert "AP      0.50:0.95    all      100      n/a\n" in out
    assert json.loads(Path("e/metrics.json").read_text())["AP"] is None
    assert "--allow-empty" in error
    assert read_metrics("run")[0]["train/box"] > 0


def test_the_evaluation_of_a_run_leaves_out_the_same_images(
    place: Place, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Damaged images stop a training before it begins; left out by it, they are left out by `eval` and `explain`."""
    shutil.copytree(place.data, "set")
    (file,) = Path("set/images/val").glob("*000003.jpg")
    file.write_bytes(file.read_bytes()[:500])
    damaged = place._replace(data=Path("set"))
    assert main(["train", *words(damaged.data, place.cfg, "--out", "run")]) == 1
    error = capsys.readouterr().err
    assert f"{file.resolve()}: truncated JPEG" in error
    assert error.endswith("Correct the files, or have their images left out: --bad skip\n")
    assert not Path("run").exists()
    assert train(damaged, "--bad", "skip", "--epochs", "1") == 0
    images = len([*Path("set/images/val").iterdir()])
    choices: dict[tuple[str, ...], int] = {(): images - 1, ("--bad", "skip"): images - 1, ("--bad", "error"): 0}
    for more, count in choices.items():
        given = ["eval", "--weights", "run", "--data", "set", "--split", "val", "--out", "e", "--resamples", "0", *more]
        assert main(given) == (0 if count else 1)
        out, error = capsys.readouterr()
        assert f"{count} images, " in out if count else "truncated JPEG" in error
    explained = ["explain", "--image-id", "1", "--data", "set", "--split", "val", "--weights", "run", "--out", "x"]
    caplog.clear()
    assert main(explained) == 0
    assert "1 images left out because of 1 faults" in caplog.text


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--split", "nowhere"], "nowhere"),
        (["--val-split", "nowhere"], "no split begins with 'nowhere' to evaluate on"),
        (["--early-metric", "AP42"], "early_metric='AP42': expected one of AP, AP50,"),
        (["--precision", "fp16"], "precision fp16 on a CPU"),
        (["--weights", "nothing.weights"], "nothing.weights"),
        (["--freeze", "99"], "freeze '99' matches nothing"),
        (["--device", "toaster"], "toaster"),
        (["--data", "nowhere"], "nowhere"),
    ],
)
def test_what_is_refused(more: list[str], message: str, place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """In one line, before anything is trained or written."""
    assert message in refused(capsys, train(place, *more))
    assert not Path("run").exists()


def test_a_run_is_not_overwritten(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """The error has the command that resumes it."""
    before = (place.run / "last.pt").read_bytes()
    error = refused(capsys, train(place, out=str(place.run)))
    assert f"python -m yolo train --resume {place.run}" in error
    assert (place.run / "last.pt").read_bytes() == before


def test_other_options_beside_resume(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """They are named; the run keeps the options it began with."""
    status = main(["train", "--resume", str(place.run), "--epochs", "9", "--lr", "1", "--seed", "3"])
    assert "seed, schedule next to --resume" in refused(capsys, status)


def test_changed_options(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """A run whose options.yaml was edited would be another run."""
    assert train(place, "--epochs", "1") == 0
    (Path("run") / "options.yaml").write_text(options_of(Path("run")).replace("seed: 0", "seed: 1"))
    capsys.readouterr()
    assert "is not what the run began with" in refused(capsys, main(["train", "--resume", "run"]))


def test_a_moved_run_is_resumed(place: Place) -> None:
    """A run does not depend on the path of its folder; a complete one stays complete."""
    assert train(place, "--epochs", "1") == 0
    Path("run").rename("moved")
    assert main(["train", "--resume", "moved"]) == 0
    assert not Path("run").exists()


def test_nothing_to_resume(capsys: pytest.CaptureFixture[str]) -> None:
    """A folder that is not a run."""
    assert "last.pt" in refused(capsys, main(["train", "--resume", "nowhere"]))


def test_a_damaged_checkpoint(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """Cut at any byte, or not a checkpoint at all: one line that names the file, and nothing is written."""
    assert train(place, "--epochs", "1") == 0
    path = Path("run/last.pt")
    whole = path.read_bytes()
    capsys.readouterr()
    for kept in (0, 30, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:kept])
        assert "run/last.pt: not a complete checkpoint" in refused(capsys, main(["train", "--resume", "run"]))
    path.write_bytes(b"cfg: toy\n" * 100)
    assert "run/last.pt: not a complete checkpoint" in refused(capsys, main(["train", "--resume", "run"]))
    torch.save({"model": torch.zeros(3)}, path)
    assert "a checkpoint of format None" in refused(capsys, main(["train", "--resume", "run"]))
