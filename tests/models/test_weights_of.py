"""One meaning of weights: every kind of file, folder and name through `detect`, `eval`, `summary` and `yolo.load`."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

import yolo
from tests.commands.test_detect import NAMES as SIX
from tests.commands.test_detect import constant  # noqa: F401, a fixture
from tests.commands.test_evaluate import unwritten, write_data  # noqa: F401, a fixture
from tests.support.load import load_yolo
from tests.support.paths import ROOT
from yolo.__main__ import main
from yolo.darknet.cfg import parse_cfg, read_cfg
from yolo.darknet.network import Darknet
from yolo.darknet.weights import save_weights
from yolo.download.fetch import OfficialFile
from yolo.models.weights_of import weights_of
from yolo.models.yolo import YoloDetector
from yolo.options.detection import Filter
from yolo.size import Size

TOY = (ROOT / "config" / "toy.cfg").read_text()
NAMES = list("abcdef")
MISSING = [name for name in ("onnx", "onnxruntime", "onnxscript") if importlib.util.find_spec(name) is None]
needs_onnx = pytest.mark.skipif(bool(MISSING), reason=f"{', '.join(MISSING)} not installed: NO ONNX FILE WAS READ")

KINDS = {
    "net/net.weights": "net/net.cfg and net/net.names",
    "steps/net_1000.weights": "steps/net.cfg and steps/net.names",
    "only/x.backup": "only/other.cfg and only/other.names",
    "run": "",
    "own.safetensors": "",
    "OWN.SAFETENSORS": "",
    "own.onnx": "",
}
"""What is given as weights -> the files that are taken with it."""


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give every test a working directory of its own."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def raw_onnx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a small network for 96 x 64 pixels as a.safetensors and as raw.onnx beside it; return the latter."""
    from tests.deploy.test_export import SMALL  # needs packages
    from yolo.deploy.export import Contents, export_onnx

    torch.manual_seed(0)
    network = Darknet(parse_cfg(SMALL, "small.cfg"))
    network.train()(torch.rand(2, 3, 64, 64))
    with torch.no_grad():  # moderate predictions, as a trained network has them
        for k in network.cfg.heads:
            network.get_parameter(f"layers.{k - 1}.conv.weight").mul_(0.2)
    detector, path = YoloDetector(network, SIX, size=Size(64, 96)), tmp_path_factory.mktemp("raw") / "raw.onnx"
    detector.save(path.with_name("a.safetensors"))
    export_onnx(detector, path, Contents("raw"))
    return path


@pytest.fixture(scope="module")
def converted(raw_onnx: Path) -> tuple[Path, str]:
    """Convert the same network, as a .weights file of a cfg with another input, to a.onnx; return it and what was said.

    The file has whole detections.
    """
    from tests.deploy.test_export import SMALL

    folder = raw_onnx.parent
    (folder / "wide.cfg").write_text(SMALL.replace("width=96", "width=64\nletter_box=1"))
    (folder / "some.names").write_text("\n".join(SIX))
    network = yolo.load(raw_onnx.with_name("a.safetensors"), device="cpu").network
    assert isinstance(network, Darknet)
    save_weights(network, folder / "a.weights")
    words = ["convert", folder / "a.weights", folder / "a.onnx", "--cfg", folder / "wide.cfg", "--size", "96x64"]
    with redirect_stdout(StringIO()) as said:
        assert main([*map(str, words), "--names", str(folder / "some.names")]) == 0
    return folder / "a.onnx", said.getvalue()


@pytest.fixture
def toy() -> Path:
    """Write the weights of a toy network whose batch norm has seen images, without a cfg; return the file."""
    torch.manual_seed(0)
    network = Darknet(read_cfg("toy.cfg"))
    network.train()(torch.rand(2, 3, 64, 64))
    save_weights(network, Path("toy.weights"))
    return Path("toy.weights")


def write(*files: str, text: str = TOY) -> None:
    """Write text files, in folders that are made."""
    for file in files:
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        Path(file).write_text("\n".join(NAMES) if file.endswith(".names") else text)


def write_kind(kind: str, model: Path) -> None:
    """Write the weights of a safetensors file as another kind, with its cfg and names beside it."""
    path, source = Path(kind), str(model)
    if kind == "run":
        path.mkdir()
        shutil.copy(model, path / "best.safetensors")
    elif path.suffix.lower() == ".safetensors":
        shutil.copy(model, path)
    elif path.suffix == ".onnx":
        shutil.copy(model.with_name("a.onnx"), kind)
    else:
        assert main(["convert", source, f"{path.parent}/{Path(KINDS[kind].split(' ')[0]).stem}.weights"]) == 0
        next(path.parent.glob("*.weights")).rename(path)


def gap(found: yolo.Detections, expected: yolo.Detections) -> float:
    """Return the largest relative difference of a detection to the one most like it; nearly equal scores may swap."""
    assert len(found) == len(expected)
    a, b = (torch.cat([one.boxes, one.scores[:, None], one.labels[:, None]], 1) for one in (found, expected))
    differences = (a[:, None] - b).abs() / b.abs().clamp(1)
    return float(differences.amax(2).amin(0).max())


Answers = tuple[list[dict[str, Any]], dict[str, Any], yolo.Detections]


@pytest.fixture(scope="module")
def known() -> dict[Path, Answers]:
    """Return what files were found to answer."""
    return {}


def answers(weights: str, out: str) -> Answers:
    """Return the detections of `detect`, the metrics of `eval` and the boxes of `yolo.load` in the set of `write_data`.

    Only the best detections of an image, since rounding swaps scores that are nearly equal.
    """
    words = ["--weights", weights, "--device", "cpu"]
    assert main(["detect", "set/images", *words, "--max-det", "20", "--json", "--out", out]) == 0
    assert main(["eval", "--data", "set/truth.json", *words, "--resamples", "20", "--out", f"{out}-eval"]) == 0
    rows, metrics = (
        json.loads(Path(file).read_text()) for file in (f"{out}/detections.json", f"{out}-eval/metrics.json")
    )
    return rows, metrics, yolo.load(weights, device="cpu").detect("set/images/p1.png", max_detections=20)


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    """Return what was printed to stderr, which must be one line."""
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


@pytest.mark.usefixtures("unwritten")
@pytest.mark.parametrize("kind", [pytest.param(kind, marks=needs_onnx if "onnx" in kind else ()) for kind in KINDS])
def test_every_kind_in_every_command(
    kind: str,
    constant: Path,  # noqa: F811
    known: dict[Path, Answers],
    request: pytest.FixtureRequest,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """All give the detections, the metrics and the summary of the file that they were made from."""
    original = request.getfixturevalue("converted")[0].with_name("a.safetensors") if "onnx" in kind else constant
    write_data()
    write_kind(kind, original)
    if original not in known:  # once for all kinds
        known[original] = answers(str(original), "a")
    expected, found = known[original], answers(kind, "b")
    assert len(expected[0]) == 120
    for row, same in zip(expected[0], found[0], strict=True):
        assert row["category_name"] == same["category_name"]
        assert [row["score"], *row["bbox"]] == pytest.approx([same["score"], *same["bbox"]], abs=1e-4)
    for name in ("AP", "AR100"):
        assert expected[1][name] > 0
        assert expected[1][name] == pytest.approx(found[1][name], abs=1e-9)
    torch.testing.assert_close(expected[2].boxes, found[2].boxes, atol=1e-4, rtol=0)
    capsys.readouterr()
    assert main(["summary", kind]) == 0
    printed = capsys.readouterr().out
    assert ("1,618 parameters" if "onnx" in kind else "2,012 parameters") in printed
    size = "96x64" if "onnx" in kind else "160x160"
    assert "loaded" in printed or f"complete, input {size}, images letterboxed, classes .., motorbike" in printed
    # One line for each command, with what was taken from beside the file.
    said = {message for message in caplog.messages if message.startswith(f"{kind}: with ")}
    assert said >= {f"{kind}: with {KINDS[kind]}"} if KINDS[kind] else not said


@pytest.mark.parametrize("command", ["doctor", "explain", "convert", "train"])
def test_the_other_commands(command: str, toy: Path, caplog: pytest.LogCaptureFixture) -> None:
    """They take a .weights file with its cfg beside it as well."""
    write("toy.cfg")
    truth = write_data()
    names = [entry["name"] for entry in json.loads(truth.read_text())["categories"]]
    Path("toy.names").write_text("\n".join(names))
    words = {
        "doctor": ["set/truth.json", "--weights", str(toy), "--out", "out"],
        "explain": ["p1.png", "--data", "set/truth.json", "--weights", str(toy), "--conf", "0.9",
                    "--out", "out"],
        "convert": [str(toy), "out.safetensors"],
        "train": ["--data", "set/truth.json", "--val", "set/truth.json", "--weights", str(toy), "--epochs", "1",
                  "--size", "64", "--workers", "0", "--out", "out"],
    }[command]  # fmt: skip
    assert main([command, *words]) == 0 or command == "doctor"
    assert f"{toy}: with toy.cfg" in caplog.text
    if command == "convert":
        assert yolo.load("out.safetensors", device="cpu").names == names
    if command == "train":
        assert 'cfg: "toy.cfg"' in Path("out/options.yaml").read_text()


def test_which_cfg(toy: Path) -> None:
    """That of the same name, else of the name before darknet's numbering, else the only one; never one of two."""
    with pytest.raises(ValueError, match=r"toy.weights does not say what network .*: no toy.cfg beside it; give --cfg"):
        yolo.load(toy)
    write("b.cfg")
    shutil.copy(toy, "net_final.weights")
    assert weights_of(toy).cfg == weights_of("net_final.weights").cfg == read_cfg("b.cfg")
    write("net.cfg")
    for weights in (toy, Path("x.conv.17")):
        weights.write_bytes(toy.read_bytes())
        with pytest.raises(ValueError, match=rf"{weights}: which of b.cfg, net.cfg beside it\? give --cfg FILE"):
            weights_of(weights)
    cfg = weights_of("net_final.weights").cfg
    assert cfg is not None
    assert cfg.file == "net.cfg"
    write("net_final.cfg", "toy.cfg")
    for weights in (toy, Path("net_final.weights")):
        cfg = weights_of(weights).cfg
        assert cfg is not None
        assert cfg.file == f"{weights.stem}.cfg"


def test_which_names(toy: Path, tmp_path: Path) -> None:
    """Beside the weights, else beside a cfg that is given; an only file must fit, one of the same name must too."""
    write("cfgs/net.cfg")
    assert weights_of(toy, "cfgs/net.cfg").names is None
    write("cfgs/net.names")
    Path("coco.names").write_text("a\nb\n")
    assert yolo.load("cfgs/net.cfg", toy, device="cpu").names == NAMES
    write("other.names")
    assert weights_of(toy, "cfgs/net.cfg").names == Path("other.names")
    write("second.names")
    with pytest.raises(ValueError, match=r"which of other.names, second.names beside it\? give --names FILE"):
        weights_of(toy, "cfgs/net.cfg")
    assert yolo.load("cfgs/net.cfg", toy, NAMES[::-1], device="cpu").names == NAMES[::-1]
    Path("toy.names").write_text("a\nb\n")
    with pytest.raises(ValueError, match="toy.names: 2 class names for a network of 6 classes"):
        yolo.load("cfgs/net.cfg", toy, device="cpu")


@pytest.mark.parametrize("command", ["detect", "eval", "explain", "doctor", "convert", "summary", "train", "load"])
def test_a_checkpoint_is_answered_with_what_to_take(
    command: str,
    constant: Path,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The best weights of its folder, or the command that makes some; so is a folder without them."""
    write_data()
    Path("my run").mkdir()
    Path("my run/last.pt").write_bytes(b"")
    words = {
        "detect": ["set/images/p0.png", "--weights", "W"],
        "eval": ["--data", "set/truth.json", "--weights", "W"],
        "explain": ["p1.png", "--data", "set/truth.json", "--weights", "W"],
        "doctor": ["set/truth.json", "--weights", "W"],
        "convert": ["W", "out.weights"],
        "summary": ["W"],
        "train": ["--data", "set/truth.json", "--weights", "W", "--out", "out"],
    }

    def answer(weights: str) -> str:
        if command == "load":
            with pytest.raises((ValueError, FileNotFoundError)) as caught:
                yolo.load(weights)
            return str(caught.value)
        assert main([command, *(weights if word == "W" else word for word in words[command])]) == 1
        return capsys.readouterr().err.splitlines()[-1]

    resume = "python -m yolo train --resume 'my run'"
    assert resume in answer("my run/last.pt")
    if command != "summary":  # of a folder it lists the cfgs
        assert resume in answer("my run")
    shutil.copy(constant, "my run/best.safetensors")
    assert "give my run/best.safetensors, the weights of that run" in answer("my run/last.pt")


def test_other_files_are_refused(toy: Path) -> None:
    """With what they are, and a remedy."""
    write("toy.cfg")
    Path("yolov8n.pt").write_bytes(b"PK")
    with pytest.raises(ValueError, match="yolov8n.pt: not weights that this program reads"):
        yolo.load("yolov8n.pt")
    with pytest.raises(ValueError, match=r"toy.cfg: a cfg, .* holds no weights"):
        yolo.load("toy.cfg", "toy.cfg")
    with pytest.raises(FileNotFoundError, match=r"yolov3.weights: no such file; the published one is given as yolov3"):
        yolo.load("yolov3.weights")
    with pytest.raises(FileNotFoundError, match=r"nothing: no such file; the published weights are yolov3, "):
        yolo.load("nothing")


def test_a_published_file_of_any_name(
    toy: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """By its content, before the only cfg of the folder. A file that has the name of a model is that file."""
    official = OfficialFile("toy.weights", ("https://pjreddie.com/toy.weights",), toy.stat().st_size)
    monkeypatch.setitem(weights_of.__globals__["WEIGHTS"], "toy", official)
    monkeypatch.setattr("yolo.models.placing.WEIGHTS", {"toy": official})
    monkeypatch.setattr("yolo.models.weights_of.belonging", lambda file: weights_of.__globals__["Published"](
        Path("toy.cfg"), NAMES))  # fmt: skip
    Path("folder").mkdir()
    toy.rename("folder/renamed.weights")
    write("folder/other.cfg", text=TOY.replace("width=160", "width=192"))
    model = load_yolo("folder/renamed.weights", device="cpu")
    assert (model.names, model.size, model.letterbox) == (NAMES, Size(160, 160), True)
    assert "folder/renamed.weights: with toy.cfg" in caplog.text
    Path("folder/renamed.weights").rename("toy")
    write("toy.names")
    assert weights_of("toy").file == Path("toy")


@needs_onnx
def test_an_onnx_file_detects_as_its_original(raw_onnx: Path, converted: tuple[Path, str]) -> None:
    """Detections to 1e-4 at a size that is not square, of a whole detector and of raw predictions, also exact."""
    original = str(raw_onnx.with_name("a.safetensors"))
    images = [np.random.default_rng(k).integers(0, 256, (50 + k, 70, 3), dtype=np.uint8) for k in range(3)]
    for file, exact in ((converted[0], False), (raw_onnx, False), (raw_onnx, True)):
        torch_one, model = (yolo.load(name, device="cpu", exact=exact) for name in (original, file))
        assert (model.names, model.size, model.letterbox) == (SIX, Size(64, 96), True)
        for some in (images, images[:1]):
            found, expected = (one.detect(some, Filter(confidence=0.3)) for one in (model, torch_one))
            assert sum(map(len, expected)) > 0
            for one, other in zip(found, expected, strict=True):
                assert gap(one, other) < 1e-4
        row = expected[0][0]
        assert {each.name for each in model.detect(images[0], confidence=0.3, classes=row.name)} == {row.name}
        other_names = yolo.load(file, names=NAMES[::-1])
        assert other_names.names == NAMES[::-1]
        assert other_names.device == torch.device("cpu")


@needs_onnx
def test_convert_says_what_was_compared(converted: tuple[Path, str]) -> None:
    """With PyTorch, and what the file takes: images of the size that was asked for."""
    assert "onnxruntime against PyTorch on 3 images: " in converted[1]
    assert "images: uint8 [B, 64, 96, 3]" in converted[1]


@needs_onnx
def test_what_an_onnx_file_cannot_do(raw_onnx: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Another input, batch, device or arithmetic, another cfg, and all that needs weights: a sentence each."""
    write_data()
    shutil.copy(raw_onnx, "a.onnx")
    onnx = importlib.import_module("onnx")
    fixed = onnx.load("a.onnx")
    fixed.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(fixed, "one.onnx")
    detect = ["detect", "set/images/p0.png", "--weights", "a.onnx"]
    refusals = {
        "--size 64": "takes images of 96x64 only; for 64x64, export it again: convert SOURCE TARGET.onnx --size 64x64",
        "--device cuda": "an .onnx file runs on the CPU here; got the device 'cuda'",
        "--precision bf16": "onnxruntime computes in fp32 only; bf16 needs OpenVINO: --engine openvino",
    }
    for words, message in refusals.items():
        assert main([*detect, *words.split()]) == 1
        assert f"a.onnx: {message}" in one_line(capsys)
    assert main([*detect, "--size", "96x64", "--device", "cpu", "--precision", "fp32"]) == 0
    capsys.readouterr()
    assert main([*detect, "--cfg", "toy.cfg"]) == 1
    assert "a.onnx holds its own cfg" in one_line(capsys)
    model, one = yolo.load("a.onnx"), yolo.load("one.onnx")
    with pytest.raises(
        ValueError, match=r"a.onnx: takes images of the shape \['B', 3, 64, 96\] only, got \[1, 3, 64, 64"
    ):
        model.replace(size=Size(64, 64)).detect(np.zeros((9, 9, 3), np.uint8))
    assert len(one.detect([np.zeros((9, 9, 3), np.uint8)])) == 1
    with pytest.raises(ValueError, match=r"one.onnx: takes images of the shape \[1, 3, 64, 96\] only, got \[2, "):
        one.detect([np.zeros((9, 9, 3), np.uint8)] * 2)
    for refused in (lambda: model.save("b.safetensors"), lambda: model.losses(torch.zeros(1, 3, 64, 96), [])):
        with pytest.raises(ValueError, match=r"an .onnx file only detects; (training|saving) needs the weights"):
            refused()
    needing: dict[str, Sequence[str]] = {
        "train": ["--data", "set/truth.json", "--weights", "a.onnx", "--out", "out"],
        "explain": ["p1.png", "--data", "set/truth.json", "--weights", "a.onnx"],
        "convert": ["a.onnx", "b.weights"],
    }
    for command, arguments in needing.items():
        capsys.readouterr()
        assert main([command, *arguments]) == 1
        expected = f"a.onnx: an .onnx file only detects; {command} needs the weights: give the .safetensors or .weights"
        assert expected in capsys.readouterr().err


@needs_onnx
def test_files_of_version_0_2(raw_onnx: Path) -> None:
    """They have raw predictions and fewer metadata."""
    onnx = importlib.import_module("onnx")
    model = onnx.load(str(raw_onnx))
    kept = {one.key: one.value for one in model.metadata_props}
    kept = {key: kept[key] for key in ("format", "cfg", "names", "size", "letterbox")}
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, kept)
    onnx.save(model, "old.onnx")
    image = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    found, expected = (yolo.load(file).detect(image, Filter(confidence=0.01)) for file in ("old.onnx", raw_onnx))
    assert len(expected) > 0
    assert found.boxes.equal(expected.boxes)


@needs_onnx
def test_onnx_files_of_others(raw_onnx: Path) -> None:
    """A file without our metadata, one for other programs, a damaged one and a missing one are named."""
    onnx = importlib.import_module("onnx")
    model = onnx.load(str(raw_onnx))
    next(one for one in model.metadata_props if one.key == "output").value = "yolov5"
    onnx.save(model, "rows.onnx")
    with pytest.raises(
        ValueError, match=r"rows.onnx: its output is 'yolov5', for other programs; .* --onnx-output det"
    ):
        yolo.load("rows.onnx")
    del model.metadata_props[:]
    onnx.save(model, "theirs.onnx")
    with pytest.raises(ValueError, match=r"theirs.onnx: an ONNX file without this program's metadata"):
        yolo.load("theirs.onnx")
    Path("half.onnx").write_bytes(raw_onnx.read_bytes()[:5000])
    with pytest.raises(ValueError, match=r"half.onnx: not a whole ONNX file"):
        yolo.load("half.onnx")
    with pytest.raises(FileNotFoundError, match=r"none.onnx: no such file"):
        yolo.load("none.onnx")


def test_onnxruntime_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """If it is not installed, the message has the command that installs it."""
    Path("a.onnx").write_bytes(b"")
    cv2.imwrite("a.png", np.zeros((50, 70, 3), np.uint8))
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ImportError, match=r"an .onnx file needs the package onnxruntime .*pip install 'exact-yolov3"):
        yolo.load("a.onnx")
