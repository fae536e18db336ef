"""The table of all checks, and running them: for the command `check`, and the cheap ones before every training."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import NamedTuple

from yolo.preflight.data import data
from yolo.preflight.learning import learning
from yolo.preflight.line import Line, Verdict, as_text
from yolo.preflight.modes import modes
from yolo.preflight.resources import resources
from yolo.preflight.roundtrip import round_trip
from yolo.preflight.subject import Subject, undisturbed
from yolo.preflight.transform import transform
from yolo.process.distributed import from_rank_0, print_once, rank
from yolo.training.assemble import Parts


class Check(NamedTuple):
    """A check."""

    run: Callable[[Subject], Iterable[Line]]
    """Yields its lines as they are found. It neither changes the subject nor communicates with other processes."""
    cheap: bool = False
    """Whether it runs before every training: it takes well under a second, and what it calls a FAIL is certain."""
    needs: Collection[str] = ()
    """The checks without which its answer means nothing, or would only be the same fault once more."""


CHECKS = {
    "data": Check(data, cheap=True),
    "transform": Check(transform, cheap=True),
    "round trip": Check(round_trip, cheap=True, needs=("data", "transform")),
    "resources": Check(resources, needs=("data",)),
    "learning": Check(learning, needs=("round trip", "resources")),
    "modes": Check(modes, needs=("round trip", "resources")),
}
"""The checks by name, in their order."""

ALL: tuple[Verdict, ...] = ("PASS", "WARN", "FAIL", "SKIP")


def run_checks(subject: Subject, *, cheap: bool, shown: Collection[Verdict] = ALL) -> list[Line]:
    """Run the checks, or the cheap ones alone, and return their lines; those with a verdict in `shown` are printed.

    A check that raises an error becomes a FAIL. One that needs what failed becomes a SKIP, and so on.
    """
    lines: list[Line] = []
    missing: set[str] = set()
    with undisturbed():
        for name in [name for name, check in CHECKS.items() if check.cheap or not cheap]:
            causes = missing.intersection(CHECKS[name].needs)
            for line in _lines_of(name, subject, causes):
                lines.append(line)
                if causes or line.verdict == "FAIL":
                    missing.add(name)
                if line.verdict in shown:
                    print_once(as_text([line]))
    return lines


def _lines_of(name: str, subject: Subject, causes: Collection[str]) -> Iterator[Line]:
    """Yield the lines of a check; `causes` are those that it needs and that failed."""
    if causes:
        yield Line("SKIP", name, f"not checked, because of {' and '.join(sorted(causes))}")
        return
    try:
        yield from CHECKS[name].run(subject)
    except Exception as problem:  # whatever a model or a transform may raise
        kind = "" if isinstance(problem, (ValueError, OSError)) else f"{type(problem).__name__}: "
        yield Line("FAIL", name, f"{kind}{problem}", "correct this first: the training stops at it too")


def check_first(parts: Parts) -> None:
    """Run the cheap checks of a training that is about to begin, and print their warnings. A collective call.

    Raises ValueError, in every process, with what fails.
    """
    lines = run_checks(Subject(parts), cheap=True, shown=["WARN"]) if rank() == 0 else []
    if text := from_rank_0(as_text([line for line in lines if line.verdict == "FAIL"])):
        raise ValueError(f"this training cannot succeed; --no-check starts it anyway\n{text}")
