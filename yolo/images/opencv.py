"""OpenCV, imported in one place: `from yolo.images.opencv import cv2`.

The wheels opencv-python and opencv-python-headless hold the same module. The first needs a window system's libraries,
which containers and servers lack. With both installed, the one installed last has overwritten files of the other, and
removing one breaks the other. So the message names what is installed, and a command that leaves a single one.
"""

from __future__ import annotations

from importlib.metadata import distributions

WHEELS = ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless")
"""The packages that install the module `cv2`."""

HEADLESS = "opencv-python-headless"


def remedy() -> str:
    """Return which wheels are installed, and the command after which `cv2` works without a window system."""
    there = {name for name in (wheel.name for wheel in distributions()) if name in WHEELS}
    remove = f"pip uninstall -y {' '.join(sorted(there))} && " if there else ""
    return f"installed: {', '.join(sorted(there)) or 'no OpenCV'}; remedy: {remove}pip install {HEADLESS}"


try:
    import cv2

    cv2.imdecode  # noqa: B018  an empty folder `cv2` is left where one of two wheels was removed
except (ImportError, AttributeError) as problem:
    found = str(problem).splitlines()[0]
    libraries = " (or: apt-get install libgl1 libglib2.0-0)" if ".so" in found else ""
    raise ImportError(f"OpenCV cannot be imported: {found}; {remedy()}{libraries}", name="cv2") from problem

__all__ = ["cv2"]
