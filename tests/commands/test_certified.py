"""The end of `convert` to ONNX: 8 bits and a certificate, without a network to export."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("onnx", reason="onnx is not installed: NO FILE WAS CERTIFIED")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: NO FILE WAS CERTIFIED")

import onnx

from tests.deploy.test_certificate import write_set
from tests.support.tiny_onnx import write_tiny
from yolo.__main__ import main
from yolo.commands.certified import finish, images_of
from yolo.models.exported import load_exported
from yolo.options.convert import Certify


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give every test a working directory of its own."""
    monkeypatch.chdir(tmp_path)


def test_int8_and_its_certificate() -> None:
    """A set that is not divided serves for both; the page is printed and the certificate is beside the file."""
    source, target = write_tiny(Path("a.onnx"), convolutions=3), write_tiny(Path("b.onnx"), convolutions=3)
    write_set(Path("set"))
    options, detector = Certify(int8=True, data=Path("set/truth.json"), limit=6), load_exported(source)
    images = images_of(options, detector)
    assert images.calibration is not None
    assert (len(images.calibration), len(images.compared)) == (10, 6)
    printed = finish(source, target, options, detector, images)
    assert " bytes in 8 bits, calibrated on 10 images of set/truth.json" in printed
    assert "certificate of b.onnx, onnxruntime" in printed
    assert "written to b.certificate.json" in printed
    content = json.loads(Path("b.certificate.json").read_text())
    assert (content["file"]["precision"], content["data"]["images"]) == ("int8", 6)


def test_train_calibrates_and_val_is_measured() -> None:
    """Where the data have both splits; `--split` chooses another one to measure on."""
    for name in ("train", "val", "test"):
        write_set(Path("set/images") / name)
        (Path("set/images") / name / "truth.json").rename(Path("set") / f"instances_{name}.json")
    Path("set/annotations").mkdir()
    for file in Path("set").glob("*.json"):
        file.rename(Path("set/annotations") / file.name)
    detector = load_exported(write_tiny(Path("a.onnx")))
    for split, expected in ((None, "val"), ("test", "test")):
        images = images_of(Certify(int8=True, data=Path("set"), split=split), detector)
        assert images.calibration is not None
        assert images.calibration.part is not None
        assert images.compared.part is not None
        assert (images.calibration.part.split, images.compared.part.split) == ("train", expected)
    assert images_of(Certify(certify=True, data=Path("set")), detector).calibration is None


def test_a_failure_leaves_an_older_file() -> None:
    """What is there stays if no file in 8 bits could be made."""
    source, target = write_tiny(Path("b.onnx")), Path("older.onnx")
    target.write_bytes(b"older")
    model = onnx.load("b.onnx")
    model.metadata_props.add(key="precision", value="int8")
    onnx.save(model, "b.onnx")
    write_set(Path("set"))
    options, detector = Certify(int8=True, data=Path("set/truth.json")), load_exported(source)
    with pytest.raises(ValueError, match="is int8 already"):
        finish(source, target, options, detector, images_of(options, detector))
    assert target.read_bytes() == b"older"


def test_a_certificate_is_not_replaced(capsys: pytest.CaptureFixture[str]) -> None:
    """Unless --force is given, and it is said before any work."""
    Path("a.certificate.json").write_text("{}")
    assert main(["convert", "none.weights", "a.onnx", "--certify", "--data", "set"]) == 1
    assert "a.certificate.json exists; --force replaces it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--int8"], "--int8 needs images: --data PATH"),
        (["--certify"], "--certify needs images: --data PATH"),
        (["--data", "set", "--engine", "openvino"], "--data, --engine without effect: only for --certify and --int8"),
    ],
)
def test_options_that_need_each_other(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The message says what is missing, before any work."""
    assert main(["convert", "a.weights", "b.onnx", *words]) != 0
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("problem", [SystemExit(143), KeyboardInterrupt(), ValueError("no"), OSError(28, "No space")])
@pytest.mark.parametrize("place", ["yolo.deploy.certificate.certify", "yolo.deploy.certificate.Certificate.write"])
def test_a_file_without_its_certificate_is_not_left(
    problem: BaseException, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever ends the measuring: no file, or the older one, and no part of any."""
    source = write_tiny(Path("a.onnx"))
    write_set(Path("set"))
    older = Path("older.onnx")
    older.write_bytes(b"older")
    options, detector = Certify(certify=True, data=Path("set/truth.json"), limit=2), load_exported(source)
    images = images_of(options, detector)
    before = sorted(Path().rglob("*"))

    def fail(*_: object, **__: object) -> None:
        raise problem

    monkeypatch.setattr(place, fail)
    for target in (Path("new/b.onnx"), older):
        with pytest.raises(type(problem)):
            finish(source, target, options, detector, images)
    assert sorted(Path().rglob("*")) == before
    assert older.read_bytes() == b"older"
