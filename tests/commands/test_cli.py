"""`python -m yolo` as a user types it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import yolo
from tests.support.paths import ROOT
from yolo.__main__ import main
from yolo.commands.command_line import VERBS
from yolo.darknet.cfg import read_cfg
from yolo.darknet.network import Darknet
from yolo.darknet.safetensors_file import load_safetensors
from yolo.darknet.weights import save_weights
from yolo.size import Size


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """Return a file of random weights for toy.cfg."""
    torch.manual_seed(0)
    save_weights(Darknet(read_cfg("toy.cfg")), tmp_path / "toy.weights")
    return tmp_path / "toy.weights"


def test_help_lists_the_verbs() -> None:
    """`python -m yolo --help`, as a process of its own, has every verb with the first words of its help."""
    environment = {**os.environ, "COLUMNS": "200"}
    command = [sys.executable, "-m", "yolo", "--help"]
    found = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)
    assert found.returncode == 0
    text = " ".join(found.stdout.split())
    for verb, (options, _) in VERBS.items():
        assert f"• {verb} {' '.join(str(options.__doc__).split()[:6])}" in text
    assert "train Train a detector on a data set" in text


def test_summary_of_one_cfg(capsys: pytest.CaptureFixture[str]) -> None:
    """The output has every layer, the totals of darknet's own tables, and the heads."""
    assert main(["summary", "yolov3.cfg"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "yolov3.cfg at 416x416"
    assert lines[2].split() == ["0", "conv", "3x3", "leaky", "image", "416", "x", "416", "x", "32", "992"]
    assert lines[2 + 86].split() == ["86", "route", "85,61", "26", "x", "26", "x", "768"]
    assert lines[-4] == "62,001,757 parameters (248,007,048 bytes as .weights), 65.864 GFLOP"
    assert lines[-3] == "head 0: 13 cells of 32 pixels, 80 classes, anchors 116x90  156x198  373x326 pixels"


def test_summary_of_a_folder_and_another_size(capsys: pytest.CaptureFixture[str]) -> None:
    """Each cfg is one line; `--size` is width x height."""
    assert main(["summary", str(ROOT / "config"), "--size", "640x384"]) == 0
    lines = capsys.readouterr().out.splitlines()
    cfgs = {line.split()[0]: line for line in lines}
    assert list(cfgs) == sorted(file.name for file in (ROOT / "config").glob("*.cfg"))
    assert cfgs["yolov3-tiny.cfg"].split()[1:4] == ["640x384", "24", "layers"]
    assert cfgs["yolov3-tiny.cfg"].endswith("heads 20x12,40x24")


def test_summary_says_whether_weights_fit(weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The output has the table of what was loaded, or the error is one line with exit status 1."""
    assert main(["summary", "toy.cfg", "--weights", str(weights)]) == 0
    assert "layers 0 to 36          929,939 floats  loaded" in capsys.readouterr().out
    assert main(["summary", "yolov3-tiny.cfg", "--weights", str(weights)]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {weights}: 3,719,776 bytes, but the network needs 35,434,956")
    assert error.count("\n") == 1


def test_summary_of_every_kind_of_weights(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A .weights file with its cfg beside it, a safetensors file, a run, a published name."""
    monkeypatch.chdir(tmp_path)
    Path("run").mkdir()
    for copy in ("net.weights", "lone/net.weights", "other/net.weights"):
        Path(copy).parent.mkdir(exist_ok=True)
        Path(copy).write_bytes(weights.read_bytes())
    for copy in ("net.cfg", "other/toy.cfg", "second.cfg"):
        Path(copy).write_bytes((ROOT / "config" / "toy.cfg").read_bytes())
    assert main(["convert", "net.weights", "run/best.safetensors", "--cfg", "net.cfg"]) == 0
    capsys.readouterr()
    for path, fit in (
        ("net.weights", "layers 0 to 36          929,939 floats  loaded"),
        ("other/net.weights", "layers 0 to 36          929,939 floats  loaded"),
        ("run", "best.safetensors: complete, input 160x160, images "),
        ("run/best.safetensors", "class 0, class 1, class 2, class 3, class 4, class 5"),
    ):
        assert main(["summary", path]) == 0
        printed = capsys.readouterr().out
        assert "929,939 parameters" in printed
        assert fit in printed
    assert main(["summary", "yolov4-tiny"]) == 0
    assert "6,062,814 parameters" in capsys.readouterr().out
    assert main(["summary", "lone/net.weights"]) == 1
    assert "no net.cfg beside it; give the cfg first: summary CFG --weights" in capsys.readouterr().err


def test_a_bad_cfg_among_good_ones(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The others are printed, and the exit status is 1."""
    (tmp_path / "a.cfg").write_text((ROOT / "config" / "toy.cfg").read_text().replace("leaky", "leeky", 1))
    (tmp_path / "b.cfg").write_text((ROOT / "config" / "toy.cfg").read_text())
    assert main(["summary", str(tmp_path)]) == 1
    captured = capsys.readouterr()
    assert "a.cfg: not built: " in captured.out
    assert "activation=leeky" in captured.out
    assert "929939 floats" in captured.out
    assert captured.err == "error: 1 of 2 cfgs cannot be built\n"


def test_convert_there_and_back(weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """.weights to safetensors and back gives the same file, with names in the metadata; a backbone is cut off."""
    names = tmp_path / "six.names"
    names.write_text("a\nb\nc\nd\ne\nf\n")
    converted = tmp_path / "toy.safetensors"
    assert main(["convert", str(weights), str(converted), "--cfg", "toy.cfg", "--names", str(names)]) == 0
    assert load_safetensors(converted)[1] == list("abcdef")
    assert main(["convert", str(converted), str(tmp_path / "back.weights")]) == 0
    assert (tmp_path / "back.weights").read_bytes() == weights.read_bytes()
    assert main(["convert", str(converted), str(tmp_path / "toy.conv.17"), "--cutoff", "17"]) == 0
    capsys.readouterr()
    assert main(["summary", "toy.cfg", "--weights", str(tmp_path / "toy.conv.17")]) == 0
    assert "re-initialised: not in the file" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["summary", "nothing.cfg"], "nothing.cfg: no such file"),
        (["summary", "toy.cfg", "--size", "0x5"], "size '0x5': expected pixels"),
        (["summary", "toy.cfg", "yolov3.cfg", "--weights", "a.weights"], "--weights goes with one cfg, got 2"),
        (["convert", "a.weights", "b.safetensors"], "a.weights: no such file"),
        (["convert", "a.weights", "b.safetensors", "--cfg", "toy.cfg"], "a.weights: no such file"),
        (["convert", "a.safetensors", "b.weights"], "a.safetensors: no such file"),
        (["convert", "a.weights", "b.onnx", "--cfg", "toy.cfg", "--cutoff", "3"], "a .onnx file holds a whole network"),
        (
            ["convert", "a.weights", "b.safetensors", "--cfg", "toy.cfg", "--size", "96"],
            "--size: only for an .onnx target",
        ),
        (["get", "weights"], "get weights: name at least one file"),
        (["get", "weights", "yolov3-tini"], "yolov3-tiny"),
        (["trian", "--epochs", "2"], "completion; did you mean train?"),
        (["--data", "x"], "got '--data', expected a verb first: detect, eval, explain,"),
    ],
)
def test_errors_are_one_line(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The line on stderr has what is wrong and what to do, without a traceback; the exit status is 1."""
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("words", [["completion", "bash"], ["summary", "toy.cfg"]])
def test_output_that_nobody_reads(words: list[str]) -> None:
    """A reader that ends, as `head` does, is not an error to print."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "yolo", *words]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


def test_parse_size() -> None:
    """`N` means a square, and `WIDTHxHEIGHT` becomes (height, width)."""
    assert Size.parse("416") == (416, 416)
    assert Size.parse("640x384") == (384, 640)
    for text in ("", "x", "4x", "axb", "-3", "1.5", "²"):
        with pytest.raises(ValueError, match="expected pixels"):
            Size.parse(text)


def test_versions(capsys: pytest.CaptureFixture[str]) -> None:
    """The version of the package, of what its numbers depend on, and the device; after a verb too."""
    for words in (["--version"], ["train", "--version"], ["detect", "--version"]):
        assert main(words) == 0
        first, second = capsys.readouterr().out.splitlines()
        assert first == f"exact-yolov3 {yolo.__version__}"
        assert f"torch {torch.__version__}, device c" in second


@pytest.mark.skipif(shutil.which("bash") is None, reason="NOT TESTED: there is no bash")
def test_bash_completes(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Verbs, options of a verb (those of YOLO in `train`), choices; every candidate is a word."""
    assert main(["completion", "bash"]) == 0
    script = tmp_path / "completion.bash"
    script.write_text(capsys.readouterr().out)
    lines = {
        "exact-yolov3 s": "show-data summary",
        "exact-yolov3 train --peak": "--peak-lr",
        "exact-yolov3 train --transf": "--transform",
        "exact-yolov3 train --assign p": "prediction prior",
        "exact-yolov3 eval --res": "--results --resamples",
    }
    commands = [f"source {script}", "complete -p exact-yolov3"]
    for line in lines:
        commands += [
            f"COMP_WORDS=({line})",
            f"COMP_CWORD={line.count(' ')}",
            "$(complete -p exact-yolov3 | cut -d' ' -f3)",
        ]
        commands += ['echo "${COMPREPLY[*]}"']
    done = subprocess.run(["bash", "-c", "\n".join(commands)], capture_output=True, text=True, cwd=tmp_path)
    assert done.stderr == ""
    assert done.stdout.splitlines()[1:] == list(lines.values())
