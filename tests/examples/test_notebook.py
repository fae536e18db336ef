"""The notebook in `examples/`: it runs from the first cell to the last, and its outputs are of such a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.paths import ROOT

FILE = ROOT / "examples" / "notebook.ipynb"
SMALL = {"EPOCHS = 30": "EPOCHS = 1", "LIMIT = None": "LIMIT = 16"}
"""What the test changes, so that it takes seconds."""


def code_cells(notebook: Any) -> list[Any]:
    """Return the cells that hold code."""
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def kinds(cell: Any) -> set[str]:
    """Return what a cell shows: "text", and the types of its images."""
    types = {kind for output in cell["outputs"] for kind in output.get("data", {}) if kind.startswith("image/")}
    return types | {"text"} if any(output["output_type"] == "stream" for output in cell["outputs"]) else types


def test_its_outputs_are_of_one_whole_run() -> None:
    """Every cell was executed, in order, without an error; the file is small."""
    cells = code_cells(json.loads(FILE.read_text()))
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert not [output for cell in cells for output in cell["outputs"] if output["output_type"] == "error"]
    assert FILE.stat().st_size < 300_000


def test_it_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With a training of two steps every cell runs and shows text and images as in the file."""
    for package in ("nbclient", "ipykernel", "onnx", "onnxruntime"):
        pytest.importorskip(package, reason=f"the extra `examples` is not installed: {package}")
    import nbformat
    from nbclient import NotebookClient

    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    notebook = nbformat.read(FILE, as_version=4)
    committed = [kinds(cell) for cell in code_cells(notebook)]
    first = code_cells(notebook)[0]
    for there, small in SMALL.items():
        assert there in first["source"]
        first["source"] = first["source"].replace(there, small)
    NotebookClient(notebook, timeout=300).execute()
    shown = [kinds(cell) for cell in code_cells(notebook)]
    assert shown == committed
