"""A missing or broken OpenCV is an error of two lines with a remedy, not a traceback."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT

BROKEN = {
    "no library": (
        'raise ImportError("libGL.so.1: cannot open shared object file: No such file or directory")',
        "libGL.so.1",
    ),
    "no module": ("raise ModuleNotFoundError(\"No module named 'cv2'\")", "No module named 'cv2'"),
    "remains of two wheels": ("", "module 'cv2' has no attribute 'imdecode'"),
}
"""Contents of a module `cv2`, and what the message says of it."""


def run(folder: Path, *words: str, wheels: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run Python where `cv2`, and what pip says of it, come from `folder`."""
    for wheel in wheels:
        info = folder / f"{wheel.replace('-', '_')}-5.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {wheel}\nVersion: 5.0\n")
    environment = os.environ | {"PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, cwd=folder, env=environment)


@pytest.mark.parametrize("kind", BROKEN)
def test_the_message_names_the_remedy(kind: str, tmp_path: Path) -> None:
    """Whatever is wrong with the module, the message says it in two lines, and the second one repairs it."""
    source, expected = BROKEN[kind]
    (tmp_path / "cv2.py").write_text(source)
    wheels = ("opencv-python", "opencv-contrib-python-headless")
    done = run(tmp_path, "-c", "import yolo.images.opencv", wheels=wheels)
    first, second = done.stderr.splitlines()[-2:]
    assert first.startswith(f"ImportError: OpenCV cannot be imported: {expected}")
    assert re.search(r"pip uninstall -y .*\bopencv-python\b.* && pip install opencv-python-headless", second)
    assert "opencv-contrib-python-headless" in second
    assert ("apt-get install libgl1" in second) == (kind == "no library")


def test_the_command_line_prints_it_without_a_traceback(tmp_path: Path) -> None:
    """A verb that needs OpenCV prints the two lines."""
    (tmp_path / "cv2.py").write_text(BROKEN["no module"][0])
    done = run(tmp_path, "-m", "yolo", "detect", "image.jpg")
    first, second = done.stderr.splitlines()
    assert done.returncode == 1
    assert first.startswith("error: OpenCV cannot be imported: ")
    assert "pip install opencv-python-headless" in second


def test_what_needs_no_pixels_works_without_it(tmp_path: Path) -> None:
    """`import yolo`, `--help` and reading options do not import OpenCV."""
    (tmp_path / "cv2.py").write_text(BROKEN["no library"][0])
    done = run(
        tmp_path, "-c", "import yolo, yolo.commands.command_line as cli; cli.parse(['show-data', 'data/shapes'])"
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_nothing_else_imports_opencv() -> None:
    """A second import would fail without the remedy."""
    sources = {path.relative_to(ROOT): path.read_text() for path in (ROOT / "yolo").rglob("*.py")}
    importers = [
        str(path) for path, text in sources.items() if re.search(r"^\s*(import|from) cv2\b", text, re.MULTILINE)
    ]
    assert importers == ["yolo/images/opencv.py"]
