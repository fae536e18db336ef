"""A checkpoint with missing or wrong parts: one line with the file, the part, what to do, and nothing is modified."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.train_problems import shapes, tiny_cfg, words
from yolo.__main__ import main
from yolo.commands import train as command
from yolo.training.assemble import assemble
from yolo.training.checkpoint import load_checkpoint, save_checkpoint
from yolo.training.engine import Trainer
from yolo.training.fitting import check_parts, loading

State = dict[str, Any]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was stopped after its first step, with an average, an examined batch and Adam's moments."""
    folder = tmp_path_factory.mktemp("fitting")
    given = words(shapes(folder), tiny_cfg(folder), "--ema", "0.9", "--glance", "1", "--epochs", "2")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "_all_agree", lambda trainer, _interrupt: trainer.step == 1)
        assert main(["train", *given, "--out", str(folder / "run")]) == 130
    return folder / "run"


@pytest.fixture(scope="module")
def trainer(run: Path) -> Trainer:
    """The trainer that resumes it."""
    found: list[Trainer] = []

    def kept(*given: Any) -> Trainer:
        found.append(assemble(*given))
        return found[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "assemble", kept)
        patch.setattr(Trainer, "fit", lambda *_: False)
        assert main(["train", "--resume", str(run)]) == 130
    return found[0]


def at(state: State, place: str) -> tuple[Any, Any]:
    """The dictionary or list that holds a place, and its key there."""
    *before, last = [int(word) if word.isdecimal() else word for word in place.split("/")]
    holder: Any = state
    for word in before:
        holder = holder[word]
    return holder, last


def without(place: str) -> Callable[[State], None]:
    """Remove what is at a place."""

    def change(state: State) -> None:
        holder, key = at(state, place)
        del holder[key]

    return change


def with_(place: str, value: Any) -> Callable[[State], None]:
    """Replace what is at a place, by what a function makes of it."""

    def change(state: State) -> None:
        holder, key = at(state, place)
        holder[key] = value(holder[key]) if callable(value) else value

    return change


WRONG = [
    (without("trainer"), "trainer is missing"),
    (with_("trainer", [1]), "trainer: list '[1]', expected a dictionary"),
    (without("options"), "options is missing"),
    (with_("options", 3), "options: int '3', expected str"),
    (with_("origin", [0]), "origin: list '[0]', expected a list of 2"),
    (with_("transform", 3), "transform: int '3', expected text or None"),
    (with_("rounding", 3), "rounding: int '3', expected text or None"),
    (without("trainer/network"), "trainer.network is missing"),
    (without("trainer/loader"), "trainer.loader is missing"),
    (with_("trainer/loader", None), "trainer.loader: nothing, expected a dictionary"),
    (with_("trainer/loader/epoch", "0"), "trainer.loader.epoch: str '0', expected int"),
    (with_("trainer/loader/position", -1), "-1 steps, epochs or batches"),
    (with_("trainer/step", 1.5), "trainer.step: float '1.5', expected int"),
    (with_("trainer/step", True), "trainer.step: bool 'True', expected int"),
    (without("trainer/ema"), "trainer.ema is missing"),
    (with_("trainer/ema", None), "trainer.ema: nothing, expected a dictionary"),
    (without("trainer/ema/updates"), "trainer.ema.updates is missing"),
    (without("trainer/random/torch"), "trainer.random.torch is missing"),
    (with_("trainer/random/torch", lambda t: t[1:]), "trainer.random.torch: uint8 [5055], expected uint8 [5056]"),
    (with_("trainer/random/torch", torch.zeros_like), "RuntimeError: "),
    (with_("trainer/random/numpy/0", lambda t: t.float()), "numpy[0]: float32 [624], expected int64 [624]"),
    (with_("trainer/random/python/1", lambda own: own[:-1]), "trainer.random.python[1]: list "),
    (with_("trainer/random/python/1/3", -5), "OverflowError: "),
    (with_("trainer/best", "good"), "trainer.best: str 'good', expected float"),
    (with_("trainer/images", None), "trainer.images: nothing, expected int"),
    (with_("trainer/gradient", [1.0]), "trainer.gradient: list '[1.0]', expected a list of 3"),
    (with_("trainer/sums", {"box": 3.0}), "trainer.sums.box: float '3.0', expected a tensor of 1 rows"),
    (without("trainer/sums/box"), "trainer.sums: of obj, cls, expected box, obj, cls"),
    (with_("trainer/watchers", {}), "trainer.watchers.glance: nothing, expected a dictionary"),
    (with_("trainer/watchers/glance/AP50/found.boxes", lambda t: t[:, :3]), "found.boxes: float64 ["),
    (without("trainer/optimizer/param_groups/1"), "trainer.optimizer.param_groups: list "),
    (without("trainer/optimizer/param_groups/0/params/0"), "trainer.optimizer.param_groups"),
    (without("trainer/optimizer/state/0"), "trainer.optimizer.state.0: nothing, expected exp_avg, exp_avg_sq, step"),
    (without("trainer/optimizer/state/0/exp_avg"), "trainer.optimizer.state.0: "),
    (with_("trainer/optimizer/state/0/exp_avg", lambda t: t.double()), "state.0.exp_avg: float64 ["),
    (with_("trainer/optimizer/state/0/exp_avg", lambda t: t * torch.nan), "values are not numbers"),
    (with_("trainer/network/layers.0.conv.weight", lambda t: t[:, :2]), "float32 [8, 2, 3, 3], expected float32 [8, 3"),
    (with_("trainer/network/layers.0.conv.weight", lambda t: t.int()), "network.layers.0.conv.weight: int32 ["),
    (with_("trainer/network/layers.0.conv.weight", lambda t: t / 0 * 0), "values are not numbers"),
    (without("trainer/network/layers.0.bn.running_var"), "trainer.network.layers.0.bn.running_var is missing"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "message"), WRONG, ids=range(len(WRONG)))
def test_missing_and_wrong_parts(change: Callable[[State], None], message: str, run: Path, trainer: Trainer) -> None:
    """Each is named with its place. What fits stays accepted."""
    state = load_checkpoint(run / "last.pt")
    check_parts(state)
    trainer.load_state_dict(state["trainer"])
    change(state)
    end = r"--weights \S+best\.safetensors$"
    with pytest.raises(ValueError, match=rf"^\S+/last\.pt: .*{end}") as problem, loading(run / "last.pt"):  # noqa: PT012
        check_parts(state)
        trainer.load_state_dict(state["trainer"])
    assert message in str(problem.value)
    assert "\n" not in str(problem.value)


def contents(folder: Path) -> dict[str, bytes]:
    """All files of a run but TensorBoard's and the lock."""
    return {file.name: file.read_bytes() for file in folder.iterdir() if not file.name.startswith(("events", ".owner"))}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("trainer/loader"), "trainer.loader is missing"),
        (with_("options", "a: [b"), "while parsing"),
        (with_("trainer/network/layers.0.conv.weight", lambda t: t[:, :2]), "trainer.network.layers.0.conv.weight: "),
        (without("trainer/optimizer/state/0"), "trainer.optimizer.state.0: nothing"),
    ],
    ids=range(4),
)
def test_nothing_is_modified(
    change: Callable[[State], None], message: str, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`train --resume` says what is wrong, in one line, and the folder is as it was."""
    whole = (run / "last.pt").read_bytes()
    state = load_checkpoint(run / "last.pt")
    change(state)
    try:
        save_checkpoint(run / "last.pt", {name: value for name, value in state.items() if name != "format"})
        with (run / "metrics.jsonl").open("a") as file:  # a line that a resume would drop
            file.write('{"epoch": 0, "step": 3}\n')
        before = contents(run)
        capsys.readouterr()
        assert main(["train", "--resume", str(run)]) == 1
        error = capsys.readouterr().err
        assert error.count("\n") == 1, error
        assert f"{run}/last.pt" in error
        assert message in error
        assert contents(run) == before
    finally:
        (run / "last.pt").write_bytes(whole)
        (run / "metrics.jsonl").write_bytes(b"")


@pytest.mark.parametrize("kind", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_member_that_unpacks_to_gigabytes(kind: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch never compresses: such a file is refused before a byte of it is unpacked."""
    file = tmp_path / "last.pt"
    with zipfile.ZipFile(file, "w", kind) as archive:
        archive.writestr("archive/data/0", bytes(30_000_000))
    monkeypatch.setattr(zipfile.ZipFile, "testzip", None)
    with pytest.raises(ValueError, match=r"last\.pt: not a complete checkpoint \('archive/data/0' is compressed"):
        load_checkpoint(file)


@pytest.mark.parametrize("at_", ["flag", "method", "size"])
def test_members_that_pytorch_never_writes(at_: str, run: Path, tmp_path: Path) -> None:
    """Encrypted, of an unknown compression, or larger than the file."""
    data = bytearray((run / "last.pt").read_bytes())
    entry = data.index(b"PK\x01\x02")
    if at_ == "flag":
        data[entry + 8] |= 1
    elif at_ == "method":
        data[entry + 10] = 99
    else:
        data[entry + 20 : entry + 28] = b"\xf0\xff\xff\x7f" * 2
    (tmp_path / "last.pt").write_bytes(data)
    with pytest.raises(ValueError, match=r"last\.pt: not a complete checkpoint \(.*\); was the copy cut short"):
        load_checkpoint(tmp_path / "last.pt")
