"""The report of an ablation study: what it contains, what is left out, what is computed only once."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Mapping
from html import escape, unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.support.ink import ink
from tests.support.study_problems import lines, moved, weights, write_made_up, write_run
from yolo.ablation.detections import CACHE, Albums, Detected, detected, judged, paired_bootstrap, sheet
from yolo.ablation.provenance import git_commit, provenance
from yolo.ablation.statistics import Comparison, Histories, compare, histories
from yolo.ablation.study import Study, read_study, write_study
from yolo.ablation.study_plots import COLOURS, STYLES, grouped, limits, plot_curves, style
from yolo.ablation.study_report import write_report
from yolo.ablation.tables import differences, findings
from yolo.ablation.variants import common_and_own, flat_options
from yolo.boxes import Detections
from yolo.commands.evaluate import run as evaluate
from yolo.data.datasets import ImageDataset, open_data
from yolo.data.shapes.scenes import make_shapes
from yolo.document import (
    bullets,
    code,
    heading,
    illustration,
    paragraph,
    table,
    warning,
    write_html,
    write_markdown,
)
from yolo.evaluation.detect_all import detect_all
from yolo.images.files import read_image, write_image
from yolo.metrics.coco import CocoMetrics
from yolo.metrics.collect import found_in
from yolo.metrics.records import Found
from yolo.models.detector import Detector
from yolo.options.commands import Evaluate
from yolo.options.detection import Filter, ModelFiles
from yolo.options.train import Train
from yolo.options.yaml_file import write_yaml


class Page(HTMLParser):
    """The visible text, the tags that remain open, and everything that a browser would fetch."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.words, self.open, self.fetched, self.images = "", list[str](), list[str](), 0
        self.about: list[str | None] = []
        self._hidden = False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "img"):
            self.open.append(tag)
        self._hidden = tag == "style"
        self.images += tag == "img"
        self.about += [value for name, value in attrs if name == "alt"]
        self.fetched += [
            v for k, v in attrs if k in ("src", "href") and v and not v.startswith("data:image/png;base64,")
        ]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        self._hidden = False

    def handle_data(self, data: str) -> None:
        self.words += "" if self._hidden else data


LEFT_OUT = {"AP75", "AR100", "probe/gradient", "train/obj", "train/cls", "val/box", "val/obj", "val/cls",
            "train/positives"}  # fmt: skip
"""Metrics that the study of these tests does not have."""


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the made-up study with its report under the umask 027; no test changes it."""
    ink(True)
    before = os.umask(0o027)
    try:
        folder = write_made_up(tmp_path_factory.mktemp("made_up"), epochs=6, every=2, images=4)
        for file in folder.rglob("metrics.jsonl"):  # each metric takes its time to draw: one or two of each group
            rows = [json.loads(line) for line in file.read_text().splitlines()]
            rows = [{name: value for name, value in row.items() if name not in LEFT_OUT} for row in rows]
            file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        write_report(folder)
    finally:
        os.umask(before)
    return folder


@pytest.mark.skipif(os.name == "nt", reason="modes are others there")
def test_files_have_the_mode_of_the_umask(study: Path) -> None:
    """The page, the plots, the text beside them."""
    modes = {str(file): oct(file.stat().st_mode & 0o777) for file in study.rglob("*") if file.is_file()}
    assert {Path(name).suffix for name in modes} >= {".html", ".md", ".png", ".yaml", ".npz"}
    assert {name: mode for name, mode in modes.items() if mode != "0o640"} == {}


def test_the_page_is_whole_and_fetches_nothing(study: Path) -> None:
    """Every tag is closed, every image is in the file, there is no script and no address."""
    text = (study / "report.html").read_text()
    page = Page(text)
    assert (page.open, page.fetched) == ([], [])
    assert page.images == len(list(study.glob("*.png"))) == 2 * (5 + 1)
    assert "<script" not in text
    assert "http" not in re.sub('base64,[^"]*', "", text)


def test_what_the_page_contains(study: Path) -> None:
    """The page has questions, sentences with rows, values, intervals of both kinds, options, commit and machine."""
    words = Page((study / "report.html").read_text()).words
    for expected in (
        "15 of 15 runs are finished",
        "Does 1 - IoU beat the squares, and does GIoU beat 1 - IoU?",
        "2. Only <two> & $",
        "95 % over images",
        "After Holm's correction",
        "Without curves, because they never change or have no value: train/labels (40), memory_mb (700), APs, "
        "eval_seconds (2.5).",
        "loss.bbox_loss",
        "schedule.peak_lr: 0.006",
        "git commit",
        "PyTorch",
    ):
        assert expected in words, expected
    sentence = re.search(
        r"1-iou is better than mse \(AP50 \+(0\.\d+), 95 % interval 0\.\d+ to 0\.\d+, 5 seeds\)\. "
        r"Over images: \+0\.\d+ to \+0\.\d+\. \[D1\.1\]",
        words,
    )
    assert sentence
    finals = {
        name: [lines(level, s, 6, 2)[-1]["AP50"] for s in range(5)] for name, level in (("mse", 0.35), ("1-iou", 0.5))
    }
    assert float(sentence[1]) == pytest.approx(np.mean(finals["1-iou"]) - np.mean(finals["mse"]), abs=5e-4)
    assert f"{np.mean(finals['mse']):.3f} ± {np.std(finals['mse'], ddof=1):.3f}" in words


def test_the_command_in_it_writes_it_again(tmp_path: Path) -> None:
    """The command works as it is printed, also for a folder with a blank and a quote in its name."""
    folder = tmp_path / "it's a study"
    write_study(Study(folder=folder, seeds=1, variants={"a": {}, "b": {}}))
    write_report(folder)
    code = re.findall(r"```\n(python -c .*)\n```", (folder / "report.md").read_text())
    (folder / "report.md").unlink()
    _python, _c, program = shlex.split(code[0])  # as a shell takes it apart
    exec(program, {})
    assert (folder / "report.md").is_file()


def test_markdown_shows_the_images_beside_it(study: Path) -> None:
    """Each reference is a file of the folder; every table has as many cells in each line as in its header."""
    text = (study / "report.md").read_text()
    shown = re.findall(r"!\[[^\n]*\]\((.*?)\)", text)
    assert sorted(shown) == sorted(path.name for path in study.glob("*.png"))
    for rows in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in rows.splitlines()}) == 1


def test_plots_are_images(study: Path) -> None:
    """None of the images is empty."""
    for path in study.glob("*.png"):
        assert read_image(path).std() > 5


def test_what_is_missing_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A run that stopped in the middle, one that never began, one that ends with null, a variant without any, and
    images that are gone: the report has the numbers of the rest and names what it lacks."""
    study = Study(folder=tmp_path / "study", seeds=6, variants={"a": {}, "b": {}, "c": {}})
    write_study(study)
    gone = tmp_path / "gone"
    for run in study.runs():
        rows = few(lines({"a": 0.3, "b": 0.4, "c": 0.5}[run.variant], run.seed, 3))
        rows = rows[:2] if run.name == "a/seed-1" else rows
        rows[-1] |= {"AP50": None, "AP": None} if run.name == "a/seed-3" else {}
        if run.name != "b/seed-5" and run.variant != "c":
            write_run(run.folder, rows, b"no weights", Train(data=str(gone), epochs=3, seed=run.seed))
    write_report(study.folder)
    words = Page((study.folder / "report.html").read_text()).words
    assert "10 of 18 runs are finished" in words
    waiting = ["c/seed-0", "a/seed-1", "c/seed-1", "c/seed-2", "c/seed-3", "c/seed-4", "b/seed-5", "c/seed-5"]
    assert f"Not finished, and left out of every number here: {', '.join(waiting)}." in words
    assert "a and b are not distinguishable with 3 seeds, at least 5 are needed (AP50 -0." in words
    assert "(4 of 5)" in words
    assert "0 of 6" in words
    assert "b and c" not in words
    assert "No intervals over images and no detections to look at: " in words
    assert f"{gone}: no such file or folder" in words
    assert "no such file or folder" in caplog.text


def few(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Only two metrics, so that there is little to draw."""
    return [{name: row[name] for name in ("epoch", "step", "AP", "AP50")} for row in rows]


def test_nothing_finished(tmp_path: Path) -> None:
    """The report of a study without finished runs says so, and has no images."""
    study = Study(folder=tmp_path, seeds=2, variants={"a": {}, "b": {}})
    write_study(study)
    write_report(tmp_path)
    words = Page((tmp_path / "report.html").read_text()).words
    assert "0 of 4 runs are finished" in words
    assert "1. All variants" in words
    assert not list(tmp_path.glob("*.png"))


def test_real_weights_are_detected_with_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """AP is that of `eval`; a second report does not detect again; newer weights and damaged detections are
    detected again."""
    data = make_shapes(tmp_path / "shapes", train=4, val=3)
    study = Study(folder=tmp_path / "study", seeds=2, variants={"a": {}, "b": {"loss": {"bbox_loss": "mse"}}})
    write_study(study)
    names = open_data(data, split="val").names
    for n, one in enumerate(study.runs()):
        options = Train(data=str(data), epochs=2, device="cpu", seed=one.seed, out=one.folder)
        write_run(one.folder, few(lines(0.2, n, 2)), weights(tmp_path, names, n), options)
    calls = []

    def counted(model: Detector, data: ImageDataset, batch_size: int, options: Filter) -> Found:
        calls.append(model)
        return detect_all(model, data, batch_size, options)

    monkeypatch.setattr("yolo.ablation.detections.detect_all", counted)
    write_report(study.folder)
    assert len(calls) == 4
    assert "a and b are not distinguishable with 2 seeds" in (study.folder / "report.html").read_text()
    folders = [one.folder for one in study.runs()]
    kept = [detected(folder, Albums()) for folder in folders]
    assert len(calls) == 4
    files = ModelFiles(weights=folders[3], device="cpu")
    evaluate(Evaluate(model=files, data=data, split="val", out=tmp_path / "eval", resamples=0))
    numbers = json.loads((tmp_path / "eval" / "metrics.json").read_text())
    assert len(kept[3].found.scores) == numbers["detections"] > 0
    np.testing.assert_array_equal(kept[3].value, [numbers["AP50"], numbers["AP"]])
    later = (folders[0] / CACHE).stat().st_mtime_ns + 1
    os.utime(folders[0] / "best.safetensors", ns=(later, later))
    (folders[1] / CACHE).write_bytes(b"PK no npz")
    again = [detected(folder, Albums()) for folder in folders]
    assert len(calls) == 6
    assert all(np.array_equal(a.resamples, b.resamples) for a, b in zip(kept, again, strict=True))


# findings and tables


def cells(text: str) -> list[list[str]]:
    """Return the cells of a table in Markdown by row, without its header."""
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()[2:]]


def made_up_comparisons(variants: int) -> dict[Comparison, str]:
    """Return all pairs of variants, each 0.01 better than the one before, except the last, which equals the first."""
    rng = np.random.default_rng(0)
    runs = {
        str(n): histories(
            {k: [{"epoch": 0, "AP50": 0.01 * (n % (variants - 1)) + rng.normal(0, 1e-4)}] for k in range(5)}
        )
        for n in range(variants)
    }
    return {found: f"D1.{row}" for row, found in enumerate(compare(runs, "AP50"), start=1)}


def test_findings_of_few_pairs() -> None:
    """Each pair has a sentence with its row, whose interval over images has the sign of the sentence."""
    labels = made_up_comparisons(3)
    pairs = {("0", "1"): {"AP50": (-0.02, (-0.03, -0.015))}}
    items, note = findings(labels, pairs)
    first, second, _third = items.splitlines()
    assert first.startswith("- 1 is better than 0 (AP50 +0.0")
    assert first.endswith(", 5 seeds). Over images: +0.015 to +0.030. \\[D1.1\\]")
    assert second.startswith("- 0 and 2 are not distinguishable with 5 seeds")
    assert note.endswith("these findings remain significant: D1.1, D1.3.**")
    rows = cells(differences(labels, pairs))
    expected = [["second is better", "significant"], ["", ""], ["first is better", "significant"]]
    assert [row[-2:] for row in rows] == expected
    assert [row[8:10] for row in rows] == [["-0.0200", "-0.0300 to -0.0150"], ["-", "-"], ["-", "-"]]


def test_findings_of_many_pairs() -> None:
    """Of 36 pairs the significant ones are spelled out, and the text says that there are more."""
    labels = made_up_comparisons(9)
    items, note, chance = findings(labels, {})
    assert len(items.splitlines()) == 35
    assert "35 of 36 comparisons. The table of differences has all" in note
    assert "36 pairs are compared" in chance
    assert len(cells(differences(labels, {}))) == 36


# the bootstrap over images


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> ImageDataset:
    """Return ten images of the embedded set."""
    return open_data(make_shapes(tmp_path_factory.mktemp("set") / "shapes", train=1, val=10), split="val")


def test_a_resample_is_the_same_images_for_both(images: ImageDataset) -> None:
    """Resamples equal a loop that copies images as often as they were drawn, and evaluates them as a set."""
    first, second = judged(images, moved(images, 0.05, 0)), judged(images, moved(images, 0.3, 1))
    rng = torch.Generator().manual_seed(0)
    for k in range(3):
        drawn = torch.randint(len(images), (len(images),), generator=rng).tolist()
        for one in (first, second):
            assert one.resamples[0, k] == pytest.approx(ap50_of(images, one, drawn), abs=1e-12)


def ap50_of(images: ImageDataset, one: Detected, drawn: list[int]) -> float:
    """Return AP50 of a set whose n-th image is image `drawn[n]`."""
    metrics = CocoMetrics(images.names)
    for n, k in enumerate(drawn):
        of_it = one.found.image == k
        box, score, label = one.found.boxes[of_it], one.found.scores[of_it], one.found.label[of_it]
        corners = torch.cat((box[:, :2], box[:, :2] + box[:, 2:]), dim=1)
        metrics.update([Detections(corners, score, label)], [{**images.target(k), "image_id": n}])
    return metrics.compute().ap(0.5)


def test_paired_over_images(images: ImageDataset) -> None:
    """Equal detections differ by exactly zero; for much better ones the interval excludes zero."""
    good, bad = ([judged(images, moved(images, noise, seed)) for seed in (0, 1)] for noise in (0.02, 0.6))
    same = paired_bootstrap(good, good)
    assert same == {"AP50": (0, (0, 0)), "AP": (0, (0, 0))}
    value, interval = paired_bootstrap(good, bad)["AP50"]
    assert value == pytest.approx(np.mean([g.value[0] - b.value[0] for g, b in zip(good, bad, strict=True)]))
    assert 0 < interval.low < value < interval.high
    mirrored = paired_bootstrap(bad, good)["AP50"][1]
    assert mirrored == pytest.approx((-interval.high, -interval.low), abs=1e-12)
    assert paired_bootstrap([], []) == {}


def test_other_images_are_refused(images: ImageDataset) -> None:
    """Runs that were evaluated on different images are refused."""
    one = judged(images, moved(images, 0.1, 0))
    with pytest.raises(ValueError, match="evaluated on different images"):
        paired_bootstrap([one], [one._replace(image_ids=one.image_ids + 1)])


def test_a_sheet_without_detections(images: ImageDataset) -> None:
    """A sheet can have no detections, and fewer images than it has room for."""
    few = ImageDataset(images.index.with_images(np.arange(2)))
    nothing = found_in([Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64))] * 2)
    drawn = sheet(few, {"none": judged(few, nothing), "all": judged(few, moved(few, 0.1, 0))})
    assert drawn.ndim == 3
    assert drawn.shape[1] < sheet(images, {"all": judged(images, moved(images, 0.1, 0))}).shape[1]


# curves


def test_lines_can_be_told_apart() -> None:
    """28 variants differ in colour or kind of line, neighbours in both."""
    kinds = [str(style(place)) for place in range(len(COLOURS) * len(STYLES))]
    assert len({*kinds}) == len(kinds) == 28
    assert all(style(k)["color"] != style(k + 1)["color"] for k in range(27))
    assert all(style(k)["linestyle"] != style(k + 1)["linestyle"] for k in range(27))


def test_groups_hold_every_metric_once() -> None:
    """Every metric is in one group, also an unknown one; the most important come first."""
    metrics = ["lr", "new", "train/box", "AP", "AP50", "val/x", "probe/a", "train/unmatched"]
    groups = grouped(metrics)
    assert sorted(name for names in groups.values() for name in names) == sorted(metrics)
    assert groups["Precision and recall"] == ["AP50", "AP"]
    assert groups["The run"] == ["lr", "new"]


def of(values: Mapping[int, list[float | None]]) -> Histories:
    """Return a variant with one metric `x`; its values by seed."""
    return histories({seed: [{"epoch": e, "x": v} for e, v in enumerate(row)] for seed, row in values.items()})


def test_axes_hold_all_bands() -> None:
    """The axis contains mean ± deviation of every variant; for many powers of ten it is logarithmic."""
    low, high, logarithmic = limits([of({0: [1.0, 2.0], 1: [3.0, 2.0]}), of({0: [None, 5.0]})], "x")
    assert (low, logarithmic) == (0, False)
    assert high > 5
    low, high, logarithmic = limits([of({0: [1000.0, 1.0]})], "x")
    assert (logarithmic, 0 < low < 1, high > 1000) == (True, True, True)
    assert limits([of({0: [-1.0, 1.0]})], "x")[0] < -1


@pytest.mark.drawn
def test_curves_of_odd_variants(tmp_path: Path) -> None:
    """One epoch, one seed, gaps, and many variants with long names can be drawn."""
    variants = {f"{'long_' * 6}{n}": of({0: [0.5, None, 0.25 * n], 1: [0.1]}) for n in range(9)}
    axes = {"x": limits(list(variants.values()), "x")}
    plot_curves(tmp_path / "x.png", variants, ["x"], axes, {name: n for n, name in enumerate(variants)}, 3)
    single = {"one": of({3: [0.5]}), "two": of({3: [0.7]})}
    plot_curves(tmp_path / "y.png", single, ["x"], {"x": limits(list(single.values()), "x")}, {"one": 0, "two": 1}, 1)
    assert all(read_image(tmp_path / name).std() > 5 for name in ("x.png", "y.png"))


# page, options, provenance


def test_every_word_is_escaped(tmp_path: Path) -> None:
    """Characters with a meaning in HTML or Markdown appear on the page as they were given."""
    name = "a<b>&\"'|*_`[x](y)#\\&lt;"
    write_image(tmp_path / "p.png", np.zeros((2, 2, 3), np.uint8))
    blocks = [heading(1, name), paragraph(name), warning(name), bullets([name])]
    blocks += [table([name], [[name]]), code(name), illustration("p.png", name)]
    write_html(tmp_path / "x.html", name, blocks)
    page = Page((tmp_path / "x.html").read_text())
    assert page.words.count(name) == 8  # the title, too
    assert page.open == []
    assert page.about == [name]
    write_markdown(tmp_path / "x.md", blocks)
    shown = (tmp_path / "x.md").read_text().replace("\n```\n" + name + "\n```\n", "")
    assert unescape(re.sub(r"\\(.)", r"\1", shown)).count(name) == 7
    assert not re.search(r"(?<!\\)[<`|]", re.sub(r"(?m)^\|.*\|$", "", shown))


@pytest.mark.parametrize("text", ["1. one", "- two", "+ three", "---", "-", "> four", "    five", "http://six"])
def test_a_paragraph_is_a_paragraph(text: str, tmp_path: Path) -> None:
    """Text that begins like a list, a rule, a quotation or code is still one paragraph."""
    write_html(tmp_path / "x.html", "", [paragraph(text), bullets([text])])
    page = (tmp_path / "x.html").read_text()
    assert f"<p>{escape(text.strip())}</p>" in page
    assert f"<li>{escape(text.strip())}</li>" in page


def test_both_pages_are_one(study: Path) -> None:
    """Every cell of every table in report.md appears in report.html, in the same order."""
    text = (study / "report.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("|") and "---" not in line]
    cells = [cell.strip() for row in rows for cell in re.split(r"(?<!\\)\|", row)[1:-1]]
    shown = re.findall(r"<t[hd].*?>(.*?)</t[hd]>", (study / "report.html").read_text())
    assert [re.sub(r"\\(.)", r"\1", cell) for cell in cells] == shown


def test_options_common_and_own(tmp_path: Path) -> None:
    """Nested options have their path, seed and folder are left out, and runs that differ give both values."""
    for name, epochs in (("x", 3), ("y", 4)):
        (tmp_path / name).mkdir()
        write_yaml(tmp_path / name / "options.yaml", Train(epochs=epochs, seed=epochs, out=tmp_path / name))
    one, both = flat_options([tmp_path / "x"]), flat_options([tmp_path / "x", tmp_path / "y", tmp_path / "nowhere"])
    assert (one["epochs"], both["epochs"], one["loss.assign"]) == ("3", "3 or 4", "ratio")
    assert not {"seed", "out", "resume"} & one.keys()
    common, own = common_and_own({"x": one, "y": flat_options([tmp_path / "y"])})
    assert own == ["epochs"]
    assert common["loss.bbox_loss"] == "iou"
    assert flat_options([tmp_path / "nowhere"]) == {}


def test_provenance_without_git(tmp_path: Path) -> None:
    """An installed package is not a working tree. Machine and program are named."""
    assert git_commit(tmp_path) == "not a git working tree"
    assert provenance().keys() >= {"written", "git commit", "processor", "GPU", "PyTorch"}


def test_a_damaged_study(tmp_path: Path) -> None:
    """The message names the damaged file."""
    write_study(Study(folder=tmp_path, seeds=1, variants={"a": {}}))
    assert read_study(tmp_path).seeds == 1
    (tmp_path / "study.yaml").write_text("seeds: [")
    with pytest.raises(ValueError, match=r"study\.yaml"):
        write_report(tmp_path)
