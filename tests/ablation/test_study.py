"""What is compared, from files; the folder of a study; the options of every variant."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from yolo.ablation.grid import combinations, find_grid, merged, nested, read_grid
from yolo.ablation.study import Pilot, Study, finished, read_study, write_study
from yolo.ablation.variants import decided, differences, option_of, pilot_runs, variant_options, with_option
from yolo.options.ablate import PILOT_SEED, Ablate
from yolo.options.faster_rcnn import FasterRcnn
from yolo.options.presets import parse_train
from yolo.options.train import LossOptions, Train
from yolo.options.yaml_file import write_yaml

SHIPPED = {"box-loss": (5, 3), "objectness": (2, 0), "assignment": (6, 0), "blog": (4, 0), "full": (11, 3)}
"""Grid -> its variants, and the values of its pilot."""


def grid(folder: Path, text: str, words: str = "", seeds: int = 2) -> Study:
    """Return the study of a grid file with this text."""
    (folder / "grid.yaml").write_text(text)
    return read_grid(folder / "grid.yaml", folder / "study", seeds, tuple(words.split()))


def test_a_study_comes_back_as_it_was(tmp_path: Path) -> None:
    """A study is read as it was written, with a word that YAML could read as a number, with and without a pilot."""
    study = Study(
        folder=tmp_path,
        seeds=3,
        preset="blog",
        variants={"one": {"loss": {"obj_label": "1"}}, "iou": {}},
        base={"epochs": 4},
        words=("--limit", "10", "--data", "my images"),
        figures={"Objectness: both": ("one", "iou")},
        question={"Objectness: both": "Which?"},
        pilot=Pilot(option="schedule.peak_lr", values=(1e-4, "2e-4")),
        chosen={"one": 1e-4},
    )
    for written in (study, replace(study, pilot=None, chosen={}, figures={}, question={})):
        write_study(written)
        assert read_study(tmp_path) == read_study(tmp_path / "study.yaml") == written


def test_runs_of_a_study(tmp_path: Path) -> None:
    """Runs go seed by seed, so that an interrupted study has pairs to compare."""
    study = grid(tmp_path, "variants: {a: {epochs: 3}, b: }")
    assert [run.name for run in study.runs()] == ["a/seed-0", "b/seed-0", "a/seed-1", "b/seed-1"]
    assert study.runs()[3].folder == tmp_path / "study" / "b" / "seed-1"
    assert study.runs()[3].options == tmp_path / "study" / "b" / "options.yaml"
    assert study.figures == {"grid": ("a", "b")}


def test_every_combination() -> None:
    """A word is its own name; other values are named with their option. Nested options are merged."""
    found = combinations({"loss.bbox_loss": ["mse", "iou"], "loss.ignore_thresh": [None, 0.5]}, Path("x.yaml"))
    assert list(found) == ["mse-ignore_thresh=none", "mse-ignore_thresh=0.5", "iou-ignore_thresh=none",
                           "iou-ignore_thresh=0.5"]  # fmt: skip
    assert found["iou-ignore_thresh=0.5"] == {"loss": {"bbox_loss": "iou", "ignore_thresh": 0.5}}
    assert list(combinations({"loss.obj_label": ["1", "iou"]}, Path("x.yaml"))) == ["obj_label=1", "iou"]


def test_nested_options() -> None:
    """Dots are levels; the second of two mappings wins, level by level, and neither is changed."""
    one, other = {"loss": {"a": 1, "b": 2}, "c": 3}, {"loss": {"b": 4}}
    assert merged(one, other) == {"loss": {"a": 1, "b": 4}, "c": 3}
    assert (one, other) == ({"loss": {"a": 1, "b": 2}, "c": 3}, {"loss": {"b": 4}})
    assert nested("a.b.c", 1) == {"a": {"b": {"c": 1}}}


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_grids(name: str, tmp_path: Path) -> None:
    """Each variant has the option of its name, in the recipe of the blog post, and differs from all others."""
    study = read_grid(find_grid(name), tmp_path, 5, ("--cfg", "yolov3-tiny.cfg"))
    options = variant_options(study)
    pilots = pilot_runs(study, options)
    values = study.pilot.values * len(options) if study.pilot else ()
    assert (len(options), len(pilots)) == (SHIPPED[name][0], SHIPPED[name][0] * SHIPPED[name][1])
    assert set(study.question) == set(study.figures)
    assert {variant for figure in study.figures.values() for variant in figure} == set(options)
    for variant, train in options.items():
        assert isinstance(train, Train)
        word = variant.removesuffix("-ignore").removeprefix("objectness-")
        assert word in (train.loss.bbox_loss, train.loss.obj_label, train.loss.assign)
        assert (train.loss.ignore_thresh == 0.5) == variant.endswith("-ignore")
        assert (train.limit, train.shuffle, train.cfg) == (100, False, Path("yolov3-tiny.cfg"))
        first = options[next(iter(options))]
        assert isinstance(first, Train)
        assert replace(train, loss=LossOptions()) == replace(first, loss=LossOptions())
    for (run, train), value in zip(pilots, values, strict=True):
        assert run.seed == PILOT_SEED
        assert (train.epochs, train.schedule.peak_lr, train.early_metric) == (75, float(value), "AP50")


def test_the_three_figures(tmp_path: Path) -> None:
    """Each figure compares two variants that differ only in the option of its title."""
    study = read_grid(find_grid("blog"), tmp_path, 5, ())
    options = variant_options(study)
    found = [differences(options[a], options[b]) for a, b in study.figures.values()]
    assert found == [["loss.bbox_loss: mse, not iou"], ["loss.obj_label: 1, not iou"],
                     ["loss.assign: ratio, not prediction"]]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "expected lines of `key: value`, got NoneType"),
        ("variants: [", "grid.yaml:1: this is not YAML"),
        ('variants: "\\UFFFFFFFF"', "grid.yaml: this is not YAML text"),
        ("figures: {}", "expected either `variants` or `grid`"),
        ("variants: {a: }\ngrid: {epochs: [1]}", "expected either `variants` or `grid`"),
        ("variants: {a: }\nvariant: 3", "unknown key variant"),
        ("variants: {a: }\nseeds: 3", "seeds: set by the command line"),
        ("variants: [a, b]", "variants: expected lines of `name: value`"),
        ("variants: {a: mse}", "variant 'a': expected options of train"),
        ("variants: {}", "at least one variant"),
        ("variants: {a/b: }", "as in the name of a folder"),
        ("variants: {..: }", "as in the name of a folder"),
        ("variants: {CON: }", "as in the name of a folder"),
        ("variants: {a.: }", "as in the name of a folder"),
        (f"variants: {{{'a' * 300}: }}", "as in the name of a folder"),
        ("variants: {IoU: , iou: }", "'iou': another one has this name in other case"),
        ("grid: {loss.bbox_loss: mse}", "grid: expected lines as `loss.bbox_loss: [mse, iou]`"),
        ("grid: {loss.bbox_loss: [mse, mse]}", "two combinations are called mse"),
        ("variants: {a: , b: }\nfigures: {t: [a, c]}", "figure 't': expected two or more of a, b; got a, c"),
        ("variants: {a: , b: }\nfigures: {t: [a, b]}\nquestion: {u: why}", "question: u: expected some of t"),
        ("variants: {a: }\npilot: {option: epochs, values: [1]}", "pilot: expected two values or more"),
        ("variants: {a: }\npilot: {option: epochs}", "pilot: expected an option, its values as a list"),
        ("variants: {a: }\npilot: {option: epochs, values: [1, 2], share: 1}", "and of epochs_share, metric; got"),
    ],
)
def test_a_grid_that_says_nothing_sensible(text: str, says: str, tmp_path: Path) -> None:
    """The message names the file and what was expected."""
    with pytest.raises(ValueError, match=r"grid\.yaml") as problem:
        grid(tmp_path, text)
    assert says in str(problem.value)


@pytest.mark.parametrize(
    ("text", "words", "says"),
    [
        ("variants: {a: {loss: {bbox_los: mse}}}", "", "variant a: unknown option 'bbox_los'; did you mean bbox_loss"),
        ("variants: {a: {epochs: many}}", "", "variant a: epochs: got many, expected a whole number"),
        ("variants: {a: {loss: {bbox_loss: mse}}}", "--bbox-loss iou",
         "variant a: the options after -- undo what it is about (loss.bbox_loss: mse, not iou)"),
        ("variants: {a: }", "--seed 3", "--seed after --"),
        ("variants: {a: }", "--out=x", "--out=x after --"),
        ("variants: {a: }", "--transform m:f", "--transform after --"),
        ("variants: {a: }", "--early-stop 3", "variant a: early_stop=3"),
        ("variants: {a: }", "--device cuda:1", "variant a: device=cuda:1: expected cpu or cuda"),
        ("variants: {a: {epochs: 3}, b: {epochs: 4}, c: {epochs: 3}}", "", "variants a and c have the same options"),
        ("variants: {a: }\npilot: {option: schedule.peak_lr, values: [1, 2]}", "--peak-lr 3", "the pilot chooses it"),
        ("variants: {a: {epochs: 3}}\npilot: {option: epochs, values: [1, 2]}", "", "variant a: epochs is given, but"),
        ("variants: {a: }\npilot: {option: epoch, values: [1, 2]}", "", "pilot, epoch=1: unknown option 'epoch'"),
        ("variants: {a: }\npreset: none", "", "preset 'none': expected one of blog"),
    ],
)  # fmt: skip
def test_options_that_cannot_be(text: str, words: str, says: str, tmp_path: Path) -> None:
    """Wrong options are found before the first run. The message names the variant, and no temporary file."""
    study = grid(tmp_path, text, words)
    with pytest.raises(ValueError, match=r".") as problem:
        pilot_runs(study, variant_options(study))
    assert says in str(problem.value)
    assert "/tmp" not in str(problem.value)


def test_what_comes_last_counts(tmp_path: Path) -> None:
    """The recipe, the base, the variant, the words, and the choice of the pilot override each other in this order."""
    text = "preset: blog\nbase: {epochs: 7, batch_size: 2}\nvariants: {a: {batch_size: 3}, b: }\n"
    study = grid(tmp_path, text + "pilot: {option: schedule.peak_lr, values: [1e-3, 2e-3]}", "--limit 9 --epochs 8")
    options = variant_options(study)
    assert [(o.limit, o.epochs, o.batch_size, o.schedule.peak_lr) for o in options.values()] == [
        (9, 8, 3, 8e-4),
        (9, 8, 2, 8e-4),
    ]
    assert decided(study, options) == {}
    schedule = replace(options["a"].schedule, peak_lr=2e-3)
    assert decided(replace(study, chosen={"a": 2e-3}), options) == {"a": replace(options["a"], schedule=schedule)}
    assert decided(replace(study, pilot=None), options) == options
    assert [run.name for run, _ in pilot_runs(replace(study, chosen={"a": 2e-3}), options)] == [
        "b/pilot-1e-3",
        "b/pilot-2e-3",
    ]
    assert option_of(with_option(Train(), "loss.obj_label", 1), "loss.obj_label") == "1"


def test_which_runs_are_done(tmp_path: Path) -> None:
    """A run is finished if its metrics have a whole line for the last epoch, and its weights exist."""
    line: dict[str, Any] = {"step": 3, "AP": None}
    assert not finished(tmp_path / "nothing")
    write_yaml(tmp_path / "options.yaml", replace(Train(), epochs=2))
    (tmp_path / "best.safetensors").write_bytes(b"x")
    for text, done in (
        ("", False),
        (json.dumps({"epoch": 0, **line}) + "\n", False),
        (json.dumps({"epoch": 0, **line}) + "\n" + json.dumps({"epoch": 1, **line}), False),
        (json.dumps({"epoch": 1, **line}) + "\n", True),
    ):
        (tmp_path / "metrics.jsonl").write_text(text)
        assert finished(tmp_path) == done
    (tmp_path / "best.safetensors").unlink()
    assert not finished(tmp_path)
    (tmp_path / "best.safetensors").write_bytes(b"x")
    (tmp_path / "metrics.jsonl").write_text("{}\n")
    with pytest.raises(ValueError, match="its last line is not a line of metrics"):
        finished(tmp_path)


def test_no_study(tmp_path: Path) -> None:
    """A missing study.yaml, a damaged one and a missing grid are errors."""
    with pytest.raises(FileNotFoundError, match="is not a study"):
        read_study(tmp_path)
    (tmp_path / "study.yaml").write_text(yaml.safe_dump({"seeds": 3}))
    with pytest.raises(ValueError, match=r"study\.yaml: .*variants"):
        read_study(tmp_path)
    with pytest.raises(
        FileNotFoundError, match="expected a YAML file or one of assignment, blog, box-loss, detectors, full, obj"
    ):
        find_grid("loss")


@pytest.mark.parametrize("name", ["seeds", "jobs", "threads"])
def test_none_is_too_few(name: str) -> None:
    """Zero is refused, and a study does not reach the seed of the pilots."""
    few: dict[str, Any] = {name: 0}
    with pytest.raises(ValueError, match=f"{name}=0: expected at least 1"):
        Ablate(grid="blog", **few)
    with pytest.raises(ValueError, match="seeds=1000001: expected at least 1, at most 1,000,000"):
        Ablate(grid="blog", seeds=PILOT_SEED + 1)


def test_a_variant_that_its_cfg_trains_has_no_preset(tmp_path: Path) -> None:
    """The values of the study's preset would contradict those of the cfg; a preset of its own it has."""
    own = "{recipe: cfg, cfg: yolov3-tiny.cfg"
    options = variant_options(grid(tmp_path, f"variants: {{ours: , by-cfg: {own}}}, both: {own}, preset: blog}}}}\n"))
    plain = Train(recipe="cfg", cfg=Path("yolov3-tiny.cfg"))
    assert options["by-cfg"] == plain
    assert options["both"] != plain
    assert options["ours"] == parse_train([])


def test_variants_of_different_models(tmp_path: Path) -> None:
    """A variant has the preset, and with it the model, that it names; what it changes comes after that."""
    text = "base: {epochs: 7}\nvariants: {one: {preset: small-data, batch_size: 3}, two: {preset: faster-rcnn-small}}\n"
    study = grid(tmp_path, text, "--size 128")
    one, two = variant_options(study).values()
    assert (one.model, one.epochs, one.batch_size, one.size) == ("yolo", 7, 3, "128")
    assert (two.model, two.epochs, two.batch_size, two.size) == ("faster-rcnn", 7, 4, "128")
    assert isinstance(two, FasterRcnn)
    assert two.network == "lite0"
    with pytest.raises(ValueError, match="variant two: unknown option 'cfg'"):
        variant_options(grid(tmp_path, "base: {cfg: toy.cfg}\n" + text.partition("\n")[2]))
