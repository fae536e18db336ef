"""The examples of logging, with recorders in place of the packages that they log to."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import yolo
from tests.support.paths import ROOT
from tests.support.train_problems import shapes, tiny_cfg

Calls = list[tuple[str, Any]]


@pytest.fixture
def options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return the words of a run of two epochs, evaluated after the second one."""
    monkeypatch.chdir(tmp_path)
    tiny = {"cfg": tiny_cfg(tmp_path), "epochs": 2, "batch_size": 4, "workers": 0, "device": "cpu", "quiet": True}
    return {"data": str(shapes(tmp_path)), **tiny}


def example(name: str) -> Callable[..., yolo.Trained]:
    """Return `main` of an example."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: Callable[..., yolo.Trained] = module.main
    return found


def numbers(row: dict[str, Any]) -> dict[str, Any]:
    """Return the numbers of an epoch that are defined."""
    return {name: value for name, value in row.items() if value is not None}


def test_wandb(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Both epochs are logged on the steps of the run, then its best epoch and its weights, before the run is closed."""
    calls: Calls = []

    @contextmanager
    def init(**words: Any) -> Any:
        calls.append(("init", words))
        yield SimpleNamespace(
            id="x1",
            log=lambda values, step: calls.append(("log", (values, step))),
            summary=SimpleNamespace(update=lambda values: calls.append(("summary", values))),
            log_artifact=lambda artifact: calls.append(("artifact", artifact.files)),
        )
        calls.append(("closed", None))

    def artifact(name: str, type: str) -> SimpleNamespace:
        files = [name, type]
        return SimpleNamespace(files=files, add_file=files.append)

    fake = ModuleType("wandb")
    fake.__dict__.update(init=init, Artifact=artifact)
    monkeypatch.setitem(sys.modules, "wandb", fake)
    run = example("wandb_logging")(**options)
    assert [row["step"] for row in run.history] == [3, 6]
    assert calls == [
        ("init", {"project": "exact-yolov3", "config": options}),
        *(("log", (numbers(row), row["step"])) for row in run.history),
        ("summary", {f"best/{name}": value for name, value in run.best.items()}),
        ("artifact", ["run-x1-weights", "model", str(run.folder / "best.safetensors")]),
        ("closed", None),
    ]
    assert (run.folder / "best.safetensors").is_file()


def test_mlflow(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """The options, both epochs on the steps of the run, then options.yaml and the weights, before the run is closed."""
    calls: Calls = []

    @contextmanager
    def start_run() -> Any:
        calls.append(("start", None))
        yield
        calls.append(("closed", None))

    fake = ModuleType("mlflow")
    fake.__dict__.update(
        set_experiment=lambda name: calls.append(("experiment", name)),
        start_run=start_run,
        log_params=lambda values: calls.append(("params", values)),
        log_metrics=lambda values, step: calls.append(("metrics", (values, step))),
        log_artifact=lambda path: calls.append(("artifact", path)),
    )
    monkeypatch.setitem(sys.modules, "mlflow", fake)
    run = example("mlflow_logging")(**options)
    assert calls == [
        ("experiment", "exact-yolov3"),
        ("start", None),
        ("params", options),
        *(("metrics", (numbers(row), row["step"])) for row in run.history),
        *(("artifact", str(run.folder / name)) for name in ("options.yaml", "best.safetensors")),
        ("closed", None),
    ]
    assert all(isinstance(value, (int, float)) for row in run.history for value in numbers(row).values())
