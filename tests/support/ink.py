"""Diagrams without ink: matplotlib's figures are built and written with the right size, but not rendered.

Half of what a small training or evaluation costs is text and ticks of diagrams that no test looks at. Tests of the
diagrams themselves have the mark `drawn`. In the same way the sheet that each evaluation of a training draws has one
image, not six: drawing it took longer than the training.
"""

from __future__ import annotations

from matplotlib.artist import Artist
from matplotlib.backend_bases import RendererBase
from matplotlib.figure import Figure

from yolo.training import validation

_WITH, _ON_A_SHEET = Figure.draw, validation.SHOWN


def _without(figure: Artist, renderer: RendererBase) -> None:
    """Render nothing: the page stays white."""


def inked() -> bool:
    """Return whether figures of this process are rendered."""
    return Figure.draw is _WITH


def ink(used: bool) -> None:
    """Render figures of this process from now on, or not."""
    Figure.draw = _WITH if used else _without  # type: ignore[assignment, method-assign]
    vars(validation)["SHOWN"] = _ON_A_SHEET if used else 1
