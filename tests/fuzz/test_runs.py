"""Damaged files of runs and studies: options, metrics, the record of the data, study.yaml, small text files."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from tests.fuzz.test_data import YAML_WORDS
from tests.support.fuzz import damaged, damaged_json, survives
from yolo.ablation.grid import read_grid
from yolo.ablation.statistics import histories
from yolo.ablation.study import finished, read_status, read_study
from yolo.ablation.variants import flat_options
from yolo.commands.result_folder import ResultFolder
from yolo.data import decoded
from yolo.options.presets import from_keywords, read_options
from yolo.options.train import Train
from yolo.options.yaml_file import read_yaml, yaml_text
from yolo.training.record import ImageLine, Part, Record, changes, read_record, text_of
from yolo.training.run_folder import Run, read_metrics

STUDY = {
    "question": {"boxes": "which loss?"}, "preset": "blog", "seeds": 2, "words": ["--epochs", "3"],
    "base": {"epochs": 3, "schedule": {"peak_lr": 0.001}},
    "variants": {"mse": {"loss": {"bbox_loss": "mse"}}, "iou": {"loss": {"bbox_loss": "iou"}}},
    "figures": {"boxes": ["mse", "iou"]}, "metrics": ["AP50"], "beside": ["AR100"], "goal": {"AP50": 0.5},
    "pilot": {"option": "schedule.peak_lr", "values": [0.1, 0.2], "epochs_share": 0.5, "metric": "AP50"},
    "chosen": {"mse": 0.1},
}  # fmt: skip


def yaml_or_json(draw: Random, seeds: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    """Return the first seed with damages, or the second, which is json, with other values."""
    return damaged_json(draw, seeds[1:], words) if draw.random() < 0.5 else damaged(draw, seeds[:1], words)


def test_options(tmp_path: Path) -> None:
    """Options of a run, also as a file for --options."""
    own = {"epochs": 3, "schedule": {"peak_lr": 1e-3}, "augment": {"mosaic": 0.5}, "model": "yolo", "size": "416"}
    file = tmp_path / "options.yaml"

    def read(file: Path) -> None:
        read_options(file)
        from_keywords({"options": file}, "train")

    seeds = [yaml_text(Train()).encode(), json.dumps(own).encode()]
    survives(read, seeds, file, words=YAML_WORDS, damage=yaml_or_json,
             inputs=15)  # fmt: skip
    seeds = [b"epochs: 3\nschedule:\n  peak_lr: 1e-3\n", json.dumps(own).encode()]
    survives(lambda file: read_yaml(file, Train()), seeds, file, inputs=300, words=YAML_WORDS, damage=yaml_or_json)


def test_studies(tmp_path: Path) -> None:
    """A study's own file."""
    seed = json.dumps(STUDY).encode()

    def read(file: Path) -> None:
        study = read_study(file)
        study.runs()

    survives(read, [seed, seed], tmp_path / "study.yaml", inputs=200, words=YAML_WORDS, damage=yaml_or_json)


def test_grids(tmp_path: Path) -> None:
    """A grid of a study."""
    grid = {"grid": {"loss.bbox_loss": ["mse", "iou"], "seed": [1, 2]}, "base": {"epochs": 3}}
    text = b"variants:\n  mse: {loss: {bbox_loss: mse}}\n  iou:\nfigures: {a: [mse, iou]}\n"
    seeds = [text, json.dumps(grid).encode()]
    survives(lambda file: read_grid(file, tmp_path, 3, ()), seeds, tmp_path / "grid.yaml", inputs=200,
             words=YAML_WORDS, damage=yaml_or_json)  # fmt: skip


def test_metrics(tmp_path: Path) -> None:
    """The lines of a run, read for a resume, for curves and by a study."""
    (tmp_path / "options.yaml").write_text(yaml_text(replace(Train(), epochs=2)))
    (tmp_path / "best.safetensors").write_bytes(b"x")
    (tmp_path / "last.pt").write_bytes(b"x")
    row = {"epoch": 0, "step": 3, "train/loss": 2.5, "AP50": 0.5, "AP": None, "lr": 1e-3}
    lines = [json.dumps(row).encode() + b"\n", json.dumps({**row, "epoch": 1}).encode() + b"\n"]

    def damage(draw: Random, seeds: object, words: object) -> bytes:
        return draw.choice((b"", lines[0])) + damaged_json(draw, lines) + draw.choice((b"\n", b"\n" + lines[1]))

    def read(file: Path) -> None:
        finished(tmp_path)
        rows = read_metrics(tmp_path)
        histories({0: rows})
        assert all(value is None or isinstance(value, (int, float)) for row in rows for value in row.values())
        Run.open(tmp_path, 1, 3)

    survives(read, [b"".join(lines)], tmp_path / "metrics.jsonl", damage=damage, inputs=300)


def test_records(tmp_path: Path) -> None:
    """What a run keeps of its data."""
    part = Part({"path": "set", "split": None}, ["bolt", "nut"], ["bolt", "nut"], [ImageLine("a.jpg", "0f", 6, 7)] * 2)
    whole = Record(part, part, [{"epoch": 1, "step": 2, "changes": ["x"]}])

    def read(file: Path) -> None:
        record = read_record(file)
        assert record is not None
        text_of(record)
        assert isinstance(record.train.conditions.get("path", ""), str)
        for one in (record.train, record.val):
            changes(one, part) if one else None
        assert not [change for entry in record.accepted for change in entry["changes"] if change == 1]

    survives(read, [text_of(whole).encode()], tmp_path / "data.json", damage=damaged_json, inputs=500)


def test_small_files_of_a_study(tmp_path: Path) -> None:
    """The exit status of a run, and the options of a run for the report."""
    survives(lambda file: read_status(tmp_path), [b"0\n", b"-15\n"], tmp_path / "exit_status", inputs=500)
    run = {"epochs": 3, "loss": {"assign": "prior"}}
    survives(lambda file: flat_options([tmp_path]), [b"epochs: 3\nloss:\n  assign: prior\n", json.dumps(run).encode()],
             tmp_path / "options.yaml", words=YAML_WORDS, damage=yaml_or_json, inputs=150)  # fmt: skip


def test_marks(tmp_path: Path) -> None:
    """The mark of detect in the folder of its results. No file outside of it is ever removed."""
    other = tmp_path / "other.txt"
    folder = tmp_path / "out"
    folder.mkdir()

    def read(file: Path) -> None:
        other.write_text("mine")
        with ResultFolder(folder):
            pass
        assert other.read_text() == "mine"

    words = [b'["../other.txt", 0]\n', json.dumps([str(other), 0]).encode() + b"\n", b'["a/../../other.txt", 0]\n']
    survives(read, [b'["a.jpg", 0]\n["b/c.txt", 17]\n'], folder / ".detect", words=words, inputs=300)


def test_remembered_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The memory of checked images: a damaged file is as good as none."""
    image = tmp_path / "a.png"
    image.write_bytes(b"no image")
    seed = json.dumps([decoded.VERSION, {str(image): [8, [1, 2], 3, 4, 5, "no"]}]).encode()

    def read(file: Path) -> None:
        content = file.read_bytes()
        file.write_bytes(b"%d\n" % zlib.crc32(content) + content)  # damaged before it was written
        for stamp, found in decoded._remembered(file).values():
            assert all(type(number) is int for number in (*stamp, *found[:4]))
            assert isinstance(found.fault, str)
        if not decoded._remembered(file):
            raise ValueError(f"{file}: ignored")

    survives(read, [seed], tmp_path / "memory.json", damage=damaged_json, inputs=400)
