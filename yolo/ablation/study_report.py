"""The report of an ablation study: report.html, which needs no network, and report.md with the same images beside it.

Everything in it follows from the folder of the study, except for the lines on commit, machine and day. Runs that are
not finished are left out and named.
"""

from __future__ import annotations

import json
import logging
import math
import re
import shlex
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

from yolo.ablation.detections import Albums, detected, paired_bootstrap, sheet
from yolo.ablation.provenance import provenance
from yolo.ablation.statistics import SEEDS, Histories, compare, histories, shown_metrics
from yolo.ablation.study import Study, StudyRun, finished, read_study
from yolo.ablation.study_plots import grouped, limits, plot_curves
from yolo.ablation.tables import OverImages, Pairs, differences, findings, values
from yolo.ablation.variants import common_and_own, flat_options
from yolo.document import code, heading, illustration, paragraph, table, warning, write_html, write_markdown
from yolo.images.files import write_image
from yolo.training.run_folder import read_metrics

log = logging.getLogger("yolo")


class Evidence(NamedTuple):
    """The runs of a study: `histories` and `folders` of finished ones by variant and seed; `waiting`, the others."""

    study: Study
    histories: dict[str, Histories]
    folders: dict[str, dict[int, Path]]
    waiting: list[StudyRun]

    def having(self, names: Sequence[str]) -> dict[str, Histories]:
        """Return the histories of those of these variants that have a finished run."""
        return {name: self.histories[name] for name in names if self.folders[name]}


def write_report(study: Path) -> None:
    """Write report.html, report.md and the PNGs that they show into the folder of the study.

    Detects with the best weights of each run, unless that was done before (`detections.npz` of the run). Where images
    or weights are missing, the report says so. Raises ValueError or OSError for a damaged study.yaml or metrics.jsonl.
    """
    evidence = _evidence(read_study(study))
    figures = evidence.study.figures or {"All variants": tuple(evidence.study.variants)}
    title = f"Ablation study: {study.resolve().name}"
    blocks = [heading(1, title), *_head(evidence)]
    draw = _Drawer(study, evidence)
    for number, (name, variants) in enumerate(figures.items(), start=1):
        blocks.append(heading(2, f"{number}. {name}"))
        if name in evidence.study.question:
            blocks.append(paragraph(evidence.study.question[name]))
        blocks += _figure(number, variants, evidence, draw)
    blocks += [*_options(evidence), heading(2, "Program and machine of this report")]
    blocks += [table(("what", "value"), [*provenance().items()]), *_again(evidence.study)]
    write_markdown(study / "report.md", blocks)
    write_html(study / "report.html", title, blocks)


def _evidence(study: Study) -> Evidence:
    """Return the runs of a study with the metrics of the finished ones."""
    folders: dict[str, dict[int, Path]] = {name: {} for name in study.variants}
    waiting = []
    for run in study.runs():
        if finished(run.folder):
            folders[run.variant][run.seed] = run.folder
        else:
            waiting.append(run)
    read = {name: histories({seed: read_metrics(f) for seed, f in runs.items()}) for name, runs in folders.items()}
    return Evidence(study, read, folders, waiting)


def _head(evidence: Evidence) -> list[str]:
    """Return what the study has, what is missing, and how to read it."""
    study, waiting = evidence.study, evidence.waiting
    total = len(study.runs())
    blocks = [
        paragraph(
            f"{len(study.variants)} variants, {study.seeds} seeds each: {total - len(waiting)} of {total} runs are "
            f"finished. Within one seed all variants start from the same weights and see the same images in the same "
            f"order, so they are compared seed by seed."
        )
    ]
    if waiting:
        names = ", ".join(run.name for run in waiting)
        blocks.append(warning(f"Not finished, and left out of every number here: {names}."))
    return [
        *blocks,
        paragraph(
            "Values are mean ± standard deviation over seeds; final is after the last epoch, best is the highest of "
            f"all epochs. One variant is called better only if at least {SEEDS} seeds are paired and the 95 % interval "
            "of Student's t over the seeds excludes zero: this says what another seed would do on the same images. "
            "The interval over images beside it is a bootstrap of the evaluation images, the same resamples for "
            "both variants, with the best weights of each run: it says what other images of the same kind would do "
            "with these weights."
        ),
    ]


def _figure(number: int, names: Sequence[str], evidence: Evidence, draw: _Drawer) -> list[str]:
    """Return findings, tables, curves and images of one figure of the study."""
    there = evidence.having(names)
    pairs, sheets = draw.images(number, [*there])
    comparisons = [found for metric in evidence.study.metrics for found in compare(there, metric)]
    labels = {found: f"D{number}.{row}" for row, found in enumerate(comparisons, start=1)}
    blocks = [heading(3, "Findings"), *findings(labels, pairs)] if comparisons else []
    blocks += [heading(3, "Values"), values(number, names, evidence.histories, evidence.study)]
    if comparisons:
        blocks += [heading(3, "Final differences, seed by seed"), differences(labels, pairs)]
    return blocks + draw.curves(number, there) + sheets


class _Drawer:
    """Draws the images of a study; axes and detections are the same for all of its figures."""

    def __init__(self, folder: Path, evidence: Evidence) -> None:
        self.folder, self.evidence = folder, evidence
        there = list(evidence.having(list(evidence.study.variants)).values())
        self.limits = {metric: limits(there, metric) for metric in shown_metrics(there)[0]}
        self.places = {name: place for place, name in enumerate(evidence.study.variants)}
        self.epochs = max((max(runs.epochs) for runs in there), default=0)
        self._albums = Albums()
        self._of = cache(lambda run: detected(run, self._albums))  # read or computed once for all figures

    def curves(self, number: int, variants: Mapping[str, Histories]) -> list[str]:
        """Draw an image for each group of metrics; return the images, and which metrics have no curve."""
        blocks: list[str] = []
        own, flat = shown_metrics(list(variants.values()))
        for group, metrics in grouped(own).items():
            name = f"figure-{number}-{re.sub('[^a-z]+', '-', group.lower())}.png"
            plot_curves(self.folder / name, variants, metrics, self.limits, self.places, self.epochs)
            about = f"{group} of {', '.join(variants)}: {', '.join(metrics)} over the epochs"
            blocks += [heading(3, f"Curves: {group.lower()}"), illustration(name, about)]
        if blocks:
            blocks.append(paragraph("Lines are means over the seeds, bands ± one standard deviation."))
        if flat:
            listed = ", ".join(name if math.isnan(value) else f"{name} ({value:g})" for name, value in flat.items())
            blocks.append(paragraph(f"Without curves, because they never change or have no value: {listed}."))
        return blocks

    def images(self, number: int, names: Sequence[str]) -> tuple[Pairs, list[str]]:
        """Return the intervals over images of every pair of variants, and the sheet; or why there are none."""
        if not names:
            return {}, []
        try:
            pairs = {(a, b): self._pair(a, b) for a, b in combinations(names, 2)}
            return pairs, self._sheet(number, names)
        except (OSError, ValueError) as problem:
            log.warning("figure %d without images: %s", number, problem)
            return {}, [warning(f"No intervals over images and no detections to look at: {problem}")]

    def _sheet(self, number: int, names: Sequence[str]) -> list[str]:
        """Draw the first evaluation images under each variant, with the first seed that all variants have."""
        folders = self.evidence.folders
        shared = set.intersection(*(set(folders[name]) for name in names))
        seeds = {name: min(shared or folders[name]) for name in names}
        rows = {f"{name}, seed {seed}": self._of(folders[name][seed]) for name, seed in seeds.items()}
        data = self._albums.of(folders[names[0]][seeds[names[0]]])
        file = f"figure-{number}-images.png"
        write_image(self.folder / file, sheet(data, rows))
        about = f"The first images of the evaluation set, with their objects and what {', '.join(rows)} find"
        return [heading(3, "The same images under each variant"), illustration(file, about)]

    def _pair(self, first: str, second: str) -> Mapping[str, OverImages]:
        """Return the differences between two variants over images, with the seeds that both have."""
        a, b = self.evidence.folders[first], self.evidence.folders[second]
        seeds = sorted(a.keys() & b.keys())
        return paired_bootstrap([self._of(a[seed]) for seed in seeds], [self._of(b[seed]) for seed in seeds])


def _options(evidence: Evidence) -> list[str]:
    """Return the exact options of the runs: those that differ between variants, and those in common."""
    study, begun = evidence.study, {}
    for name in study.variants:
        if options := flat_options(run.folder for run in study.runs() if run.variant == name):
            begun[name] = options
    if not begun:
        return []
    common, differing = common_and_own(begun)
    blocks = [heading(2, "Options"), paragraph("As the runs wrote them into options.yaml, without seed and folder.")]
    if differing:
        rows = [[name, *(options.get(key, "-") for key in differing)] for name, options in begun.items()]
        blocks += [heading(3, "Of each variant"), table(["variant", *differing], rows)]
    if (pilot := study.pilot) is not None and study.chosen:
        chosen = ", ".join(f"{name}: {value}" for name, value in study.chosen.items())
        blocks.append(
            paragraph(
                f"{pilot.option} was chosen for each variant among {', '.join(map(str, pilot.values))}, for the best "
                f"{pilot.metric} of pilot runs with {pilot.epochs_share:g} times the epochs: {chosen}."
            )
        )
    return [*blocks, heading(3, "Of all runs"), code("\n".join(f"{key}: {value}" for key, value in common.items()))]


def _again(study: Study) -> list[str]:
    """Return the command that writes the report again."""
    lines = ("from pathlib import Path", "from yolo.ablation.study_report import write_report")
    text = "; ".join((*lines, f"write_report(Path({json.dumps(str(study.folder), ensure_ascii=False)}))"))
    return [
        paragraph("The command of the study writes this report whenever it ends. To write it again without any run:"),
        code(f"python -c {shlex.quote(text)}"),
    ]
