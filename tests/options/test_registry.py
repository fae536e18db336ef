"""The registered models, and the errors for other names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from yolo.models.build import build_yolo
from yolo.options.presets import read_options
from yolo.options.registry import MODELS, find_model, register_model, resolve
from yolo.options.train import Train
from yolo.options.training import Training

KNOWN = "expected one of yolo, localizer, simple, largest, faster-rcnn"


@pytest.fixture(autouse=True)
def unchanged() -> Iterator[None]:
    """Remove the models that a test registers."""
    kept = dict(MODELS)
    yield
    MODELS.clear()
    MODELS.update(kept)


def test_yolo() -> None:
    """The options of YOLO are `Train`, and its builder is imported when it is resolved."""
    model = find_model("yolo")
    assert model.options is Train
    assert resolve(model.builder) is build_yolo
    assert all(callable(resolve(watcher)) for watcher in model.watchers)


def test_a_model_of_ones_own() -> None:
    """A registered model is found by its name. A function is resolved to itself. A name is registered only once."""
    register_model("other", len, Training, restore=print)
    model = find_model("other")
    assert (model.builder, model.options, model.restore, list(model.watchers)) == (len, Training, print, [])
    assert resolve(model.builder) is len
    for taken in ("other", "yolo"):
        with pytest.raises(ValueError, match=f"a model '{taken}' is registered already; choose another name"):
            register_model(taken, len, Training)
    assert find_model("yolo").options is Train


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("yolov3", "did you mean yolo?"),
        ("mean-box", "a model of your own has to be registered first"),
        ("", "a model of your own"),
        ("yolo.models.build:build_yolo", ""),
    ],
)
def test_an_unknown_model(name: str, message: str) -> None:
    """The error has all names and a hint. A name is never imported."""
    with pytest.raises(ValueError, match="expected one of") as error:
        find_model(name)
    assert str(error.value).startswith(f"model {name!r}: {KNOWN}; {message}")


def test_a_file_with_an_unknown_model(tmp_path: Path) -> None:
    """The error begins with the file."""
    file = tmp_path / "options.yaml"
    file.write_text('epochs: 3\nmodel: "yolo5"\n')
    with pytest.raises(ValueError, match=rf"options\.yaml: model 'yolo5': {KNOWN}; did you mean yolo\?"):
        read_options(file)
