"""A user's transform in a training: its name, where it may come from, what a resume asks for."""

from __future__ import annotations

import os
import re
import shlex
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from torchvision.transforms import v2

import yolo
from tests.support.train_problems import Place, checkpoint, difference, interrupted, same_run, shapes, tiny_cfg, words
from yolo.__main__ import main
from yolo.options.presets import parse_train, read_options
from yolo.options.yaml_file import read_yaml
from yolo.training.transform import name_of, named

NAME = "my_augmentation:dark"

MODULE = """
from torchvision.transforms import v2

class Half:
    def __call__(self, image, target):
        return image // 2, target

dark = Half()
both = v2.Compose([dark, v2.RandomHorizontalFlip(p=0.5)])
shifted = lambda image, target: (image.roll(40, 2), target)
number = 3
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """The words of a run of two epochs."""
    folder = tmp_path_factory.mktemp("transform")
    return Place(words(shapes(folder), tiny_cfg(folder), "--epochs", "2"), folder / "none")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Work in a folder with the module, as `python train.py` finds it: the folder is not on Python's path."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    Path("my_augmentation.py").write_text(MODULE)
    yield
    sys.modules.pop("my_augmentation", None)


def train(place: Place, *more: str) -> int:
    """Return the exit status of a training."""
    return main(["train", *place.words, *more])


def test_a_run_with_a_transform(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """It changes what is trained on, with workers alike. The run keeps the name; resumed with it, it is the same."""
    assert train(place, "--out", "plain") == 0
    assert train(place, "--out", "whole", "--transform", NAME) == 0
    assert difference(checkpoint(Path("plain"))["network"], checkpoint(Path("whole"))["network"])
    interrupted(["train", *place.words, "--out", "run", "--transform", NAME, "--workers", "1"], 4, monkeypatch)
    assert f"# trained with --transform {NAME}; " in Path("run/options.yaml").read_text()
    assert main(["train", "--resume", "run", "--transform", NAME, "--workers", "0"]) == 0
    assert same_run(Path("whole"), Path("run")) == ""
    assert f"# trained with --transform {NAME}; " in Path("run/options.yaml").read_text()
    # Everything else reads the run as any other.
    here, there = (read_options(Path(run, "options.yaml")) for run in ("run", "whole"))
    assert replace(here, out=None, workers=0) == replace(there, out=None)
    assert yolo.evaluate("run", resamples=0).numbers["AP"] is not None


def test_a_resume_asks_for_the_transform(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without it, with another one, and with one for a run that had none: refused; the checkpoint is untouched."""
    for run, given in (("with", ["--transform", NAME]), ("without", [])):
        interrupted(["train", *place.words, "--out", run, *given], 2, monkeypatch)
    again = shlex.join(["--resume", "with", "--transform", NAME])
    assert f"resume with: python -m yolo train {again}\n" in capsys.readouterr().out
    before = Path("with/last.pt").read_bytes()
    asked = f"with: this run was trained with --transform {NAME}; give it again"
    for words_, message in (
        (["with"], f"{asked} (in Python transform=)"),
        (["with", "--transform", "my_augmentation:both"], f"{asked}, not my_augmentation:both"),
        (["without", "--transform", NAME], f"--transform {NAME}: without was trained without a transform; leave it"),
    ):
        assert main(["train", "--resume", *words_]) == 1
        assert message in capsys.readouterr().err
    assert Path("with/last.pt").read_bytes() == before
    with pytest.raises(ValueError, match="give it again, not tests.training.test_transform:test_a_resume_asks"):
        yolo.train(resume="with", transform=lambda image, target: (image, target))


def test_a_function_in_python(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """Any function, also one that is not in a module; its name is kept. It gets every sample that is trained on.

    What is printed at an interruption is not a command line, which could not name it.
    """
    seen = []

    def note(image: Any, target: Any) -> tuple[Any, Any]:
        seen.append(target["image_id"])
        return image, target

    tiny: dict[str, Any] = {
        "data": place.words[1],
        "cfg": place.words[3],
        "epochs": 1,
        "batch_size": 4,
        "workers": 0,
        "device": "cpu",
        "check": False,
    }
    run = yolo.train(**tiny, transform=note, quiet=True)
    # The sheet of the first batch, then twelve images.
    assert len(seen) == 4 + 12
    name = "tests.training.test_transform:test_a_function_in_python.<locals>.note"
    assert f"# trained with --transform {name}; " in (run.folder / "options.yaml").read_text()

    def stop(epoch: int, numbers: dict[str, Any]) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    run = yolo.train(**tiny | {"epochs": 2}, transform=note, on_epoch_end=stop)
    assert not run.finished
    assert f"resume with: yolo.train(resume='{run.folder}', transform=...)\n" in capsys.readouterr().out


def test_no_file_can_name_it(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """A file of options with the key is refused, whatever it names; the module is not imported."""
    for file, text in (("a.yaml", f"transform: {NAME}\n"), ("b.yaml", f"epochs: 3\ntransform: '{NAME}'\n")):
        Path(file).write_text(text)
        with pytest.raises(ValueError, match=rf"{file}:\d: unknown option 'transform'; no file can name code"):
            read_yaml(file, parse_train([]))
        assert main(["train", "--options", file]) == 1
        assert "give --transform MODULE:FUNCTION on the command line" in capsys.readouterr().err
    assert "my_augmentation" not in sys.modules


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("my_augmentation", "expected MODULE:FUNCTION, such as"),
        (":dark", "expected MODULE:FUNCTION, such as"),
        ("my_augmentatoin:dark", "importing my_augmentatoin failed: ModuleNotFoundError: No module named"),
        ("my_augmentation:drak", "did you mean dark?"),
        ("my_augmentation:zzz", "it has Half, dark, both, shifted"),
        ("my_augmentation:number", "a int, expected a function or a transform object"),
        ("my_augmentation:Half", "a type, expected a function or a transform object"),
        ("broken:dark", "importing broken failed: ZeroDivisionError: division by zero"),
    ],
)
def test_names_without_a_transform(name: str, message: str, place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """The error says what is there and what was expected; nothing is written."""
    Path("broken.py").write_text("1 / 0\n")
    assert train(place, "--transform", name, "--out", "run") == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: --transform {name}: ")
    assert message in error
    assert not Path("run").exists()


def test_names() -> None:
    """Of functions, and of objects without a name those of their classes, with settings where they tell them."""
    assert name_of(shapes) == "tests.support.train_problems:shapes"
    composed = "torchvision.transforms.v2._container:Compose Compose( RandomHorizontalFlip(p={}))"
    for p in (0.5, 0.25):
        assert name_of(v2.Compose([v2.RandomHorizontalFlip(p=p)])) == composed.format(p)
    assert name_of(partial(re.sub, "a")) == "functools:partial functools.partial(<function sub>, 'a')"
    found = named(NAME)
    assert found is not None
    assert found.name == NAME
    assert named(None) is None
    with pytest.raises(ValueError, match=re.escape("transform: got 3, expected a function")):
        named(3)  # type: ignore[arg-type]


def test_the_checks_see_it(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """`check` and the checks before a training fail for a transform that moves pixels and not boxes."""
    given = ["--transform", "my_augmentation:shifted"]
    assert train(place, *given, "--out", "run") == 1
    assert "the transform: in 7 of 8 samples the box of a marker is not around its pixels" in capsys.readouterr().err
    assert main(["check", *place.words, *given, "--seconds", "0", "--json", "check.json"]) == 1
    assert "the transform: in 7 of 8 samples the box of a marker" in capsys.readouterr().out
