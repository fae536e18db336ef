"""The report of an ablation study: report.html, which needs no network, and report.md with the same images beside it.

What is written follows from the folder of the study alone, except for the lines on commit, machine and day. Runs that
are not finished are left out and named.
"""

from __future__ import annotations

import json
import logging
import math
import re
import shlex
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

from yolo.ablation.detections import METRICS, Albums, Detected, detected, paired_bootstrap, sheet
from yolo.ablation.document import Block, Code, Heading, Illustration, Table, Text, write_html, write_markdown
from yolo.ablation.provenance import provenance
from yolo.ablation.statistics import SEEDS, Histories, compare, histories, shown_metrics
from yolo.ablation.study import Study, StudyRun, finished, read_study
from yolo.ablation.study_plots import grouped, limits, plot_curves
from yolo.ablation.tables import OverImages, Pairs, differences, findings, values
from yolo.ablation.variants import common_and_own, flat_options
from yolo.images.files import write_image
from yolo.training.run_folder import read_metrics

log = logging.getLogger("yolo")


class Evidence(NamedTuple):
    """What a study has: by variant the `histories` of its finished runs and their `folders` by seed; runs `waiting`."""

    study: Study
    histories: dict[str, Histories]
    folders: dict[str, dict[int, Path]]
    waiting: list[StudyRun]

    def having(self, names: Sequence[str]) -> dict[str, Histories]:
        """Those of these variants that have a finished run."""
        return {name: self.histories[name] for name in names if self.folders[name]}


def write_report(study: Path) -> None:
    """Writes report.html, report.md and the PNGs that it shows into the folder of the study.

    Detects with the best weights of each run where that was not done before (`detections.npz` of the run). ValueError
    or OSError for a damaged study.yaml or metrics.jsonl; images that are not there are said in the report.
    """
    evidence = _evidence(read_study(study))
    figures = evidence.study.figures or {"All variants": tuple(evidence.study.variants)}
    blocks = _head(study, evidence)
    draw = _Drawer(study, evidence)
    for number, (title, names) in enumerate(figures.items(), start=1):
        blocks += [Heading(2, f"{number}. {title}")]
        blocks += [Text(evidence.study.question[title])] if title in evidence.study.question else []
        blocks += _figure(number, names, evidence, draw)
    blocks += _options(evidence)
    blocks += [Heading(2, "Program and machine of this report"), Table(("what", "value"), [*provenance().items()])]
    blocks += _again(evidence.study)
    write_markdown(study / "report.md", blocks)
    write_html(study / "report.html", blocks)


def _again(study: Study) -> list[Block]:
    """What writes the report again."""
    lines = ("from pathlib import Path", "from yolo.ablation.study_report import write_report")
    code = "; ".join((*lines, f"write_report(Path({json.dumps(str(study.folder), ensure_ascii=False)}))"))
    return [
        Text("The command of the study writes this report whenever it ends. This writes it again and runs nothing:"),
        Code(f"python -c {shlex.quote(code)}"),
    ]


def _evidence(study: Study) -> Evidence:
    folders: dict[str, dict[int, Path]] = {name: {} for name in study.variants}
    waiting = []
    for run in study.runs():
        if finished(run.folder):
            folders[run.variant][run.seed] = run.folder
        else:
            waiting.append(run)
    read = {name: histories({seed: read_metrics(f) for seed, f in runs.items()}) for name, runs in folders.items()}
    return Evidence(study, read, folders, waiting)


def _head(study: Path, evidence: Evidence) -> list[Block]:
    """Title, what is there, what is missing, how to read it."""
    asked, waiting = len(evidence.study.runs()), evidence.waiting
    blocks: list[Block] = [
        Heading(1, f"Ablation study: {study.resolve().name}"),
        Text(
            f"{len(evidence.study.variants)} variants, {evidence.study.seeds} seeds each: {asked - len(waiting)} of "
            f"{asked} runs are finished. Within one seed all variants start from the same weights and see the same "
            f"images in the same order, so they are compared seed by seed."
        ),
    ]
    if waiting:
        names = ", ".join(run.name for run in waiting)
        blocks.append(Text(f"Not finished, and left out of every number here: {names}.", warning=True))
    return [
        *blocks,
        Text(
            "Values are mean ± standard deviation over seeds; final is after the last epoch, best is the highest of "
            f"all epochs. One variant is called better only if at least {SEEDS} seeds are paired and the 95 % interval "
            "of Student's t over the seeds leaves zero out: this says what another seed would do on the same images. "
            "The interval over images beside it is a bootstrap of the evaluation images, the same resamples for "
            "both variants, with the best weights of each run: it says what other images of the same kind would do "
            "with these weights."
        ),
    ]


def _figure(number: int, names: Sequence[str], evidence: Evidence, draw: _Drawer) -> list[Block]:
    """What is said about one figure of the study."""
    there = evidence.having(names)
    pairs, sheets = draw.images(number, [*there])
    comparisons = [found for metric in METRICS for found in compare(there, metric)]
    labels = {found: f"D{number}.{row}" for row, found in enumerate(comparisons, start=1)}
    blocks: list[Block] = []
    if comparisons:
        blocks += [Heading(3, "Findings"), *findings(labels, pairs)]
    blocks += [Heading(3, "Values"), values(number, names, evidence.histories, evidence.study.seeds)]
    if comparisons:
        blocks += [Heading(3, "Final differences, seed by seed"), differences(labels, pairs)]
    return blocks + draw.curves(number, there) + sheets


class _Drawer:
    """Draws what the figures of a study show; axes and detections are the same for all of them."""

    def __init__(self, folder: Path, evidence: Evidence) -> None:
        self.folder, self.evidence = folder, evidence
        there = list(evidence.having(list(evidence.study.variants)).values())
        self.limits = {metric: limits(there, metric) for metric in shown_metrics(there)[0]}
        self.places = {name: place for place, name in enumerate(evidence.study.variants)}
        self.epochs = max((max(runs.epochs) for runs in there), default=0)
        self._albums, self._detected = Albums(), dict[Path, Detected]()

    def curves(self, number: int, variants: Mapping[str, Histories]) -> list[Block]:
        """An image for each group of metrics, and which metrics have none."""
        blocks: list[Block] = []
        own, flat = shown_metrics(list(variants.values()))
        for group, metrics in grouped(own).items():
            name = f"figure-{number}-{re.sub('[^a-z]+', '-', group.lower())}.png"
            plot_curves(self.folder / name, variants, metrics, self.limits, self.places, self.epochs)
            about = f"{group} of {', '.join(variants)}: {', '.join(metrics)} over the epochs"
            blocks += [Heading(3, f"Curves: {group.lower()}"), Illustration(name, about)]
        if blocks:
            blocks.append(Text("Lines are means over the seeds, bands ± one standard deviation."))
        if flat:
            said = (name if math.isnan(value) else f"{name} ({value:g})" for name, value in flat.items())
            blocks.append(Text(f"Without curves, as they have one value throughout, or none: {', '.join(said)}."))
        return blocks

    def images(self, number: int, names: Sequence[str]) -> tuple[Pairs, list[Block]]:
        """The intervals over images of every pair of variants, and the sheet; or why they are not there."""
        if not names:
            return {}, []
        try:
            pairs = {(a, b): self._pair(a, b) for a, b in combinations(names, 2)}
            return pairs, self._sheet(number, names)
        except (OSError, ValueError) as problem:
            log.warning("figure %d without images: %s", number, problem)
            return {}, [Text(f"No intervals over images and no detections to look at: {problem}", warning=True)]

    def _sheet(self, number: int, names: Sequence[str]) -> list[Block]:
        """The first evaluation images under each variant, with the first seed that all of them have."""
        folders = self.evidence.folders
        shared = set.intersection(*(set(folders[name]) for name in names))
        seeds = {name: min(shared or folders[name]) for name in names}
        rows = {f"{name}, seed {seed}": self._of(folders[name][seed]) for name, seed in seeds.items()}
        name = f"figure-{number}-images.png"
        data = self._albums.of(folders[names[0]][seeds[names[0]]])
        write_image(self.folder / name, sheet(data, rows))
        about = f"The first images of the evaluation set, with their objects and what {', '.join(rows)} find"
        return [Heading(3, "The same images under each variant"), Illustration(name, about)]

    def _pair(self, first: str, second: str) -> Mapping[str, OverImages]:
        a, b = self.evidence.folders[first], self.evidence.folders[second]
        seeds = sorted(a.keys() & b.keys())
        return paired_bootstrap([self._of(a[seed]) for seed in seeds], [self._of(b[seed]) for seed in seeds])

    def _of(self, run: Path) -> Detected:
        if run not in self._detected:
            self._detected[run] = detected(run, self._albums)
        return self._detected[run]


def _options(evidence: Evidence) -> list[Block]:
    """The exact options of the runs: what they share, and what is each variant's own."""
    own = {name: flat_options(run.folder for run in evidence.study.runs() if run.variant == name)
           for name in evidence.study.variants}  # fmt: skip
    begun = {name: options for name, options in own.items() if options}
    if not begun:
        return []
    common, differing = common_and_own(begun)
    blocks: list[Block] = [
        Heading(2, "Options"),
        Text("As the runs wrote them into options.yaml; seed and folder are their own."),
    ]
    if differing:
        rows = [[name, *(options.get(key, "-") for key in differing)] for name, options in begun.items()]
        blocks += [Heading(3, "Of each variant"), Table(["variant", *differing], rows)]
    if (pilot := evidence.study.pilot) is not None and evidence.study.chosen:
        words = ", ".join(f"{name}: {value}" for name, value in evidence.study.chosen.items())
        blocks.append(
            Text(
                f"{pilot.option} was chosen for each variant by a pilot of {pilot.epochs_share:g} times the "
                f"epochs among {', '.join(map(str, pilot.values))}, for the best {pilot.metric}: {words}."
            )
        )
    lines = "\n".join(f"{key}: {value}" for key, value in common.items())
    return [*blocks, Heading(3, "Of all runs"), Code(lines)]
