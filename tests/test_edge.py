"""The edge of the program: whatever happens, one line and a status, whatever standard output and error are."""

from __future__ import annotations

import errno
import io
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tqdm import tqdm

import yolo.commands.summary
from tests.support.paths import ROOT
from yolo.__main__ import main, program
from yolo.commands.command_line import VERBS, parse
from yolo.files.user_cache import cache_folder
from yolo.process.failures import LESS
from yolo.process.streams import Stream

Does = Callable[[Callable[[], object]], None]


@pytest.fixture
def does(monkeypatch: pytest.MonkeyPatch) -> Does:
    """Return a function that replaces what `summary` does."""

    def replace(what: Callable[[], object]) -> None:
        monkeypatch.setattr(yolo.commands.summary, "run", lambda _: what())

    return replace


def raising(problem: BaseException) -> Callable[[], object]:
    """Return a function that raises."""

    def fail() -> object:
        raise problem

    return fail


@pytest.mark.parametrize(
    "problem", [KeyError("a\nb"), AssertionError(), RecursionError("deep"), TypeError("\x1b[2J"), RuntimeError("shape")]
)
def test_the_unforeseen(problem: Exception, does: Does, capsys: pytest.CaptureFixture[str]) -> None:
    """One line with the kind, the place and whom to tell; with --traceback, anywhere, where it came from."""
    does(raising(problem))
    assert main(["summary"]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: unforeseen {type(problem).__name__} in ")
    assert "report it" in error
    assert "--traceback" in error
    assert error.count("\n") == 1
    assert "\x1b" not in error
    for words in (["--traceback", "summary"], ["summary", "--traceback"]):
        assert main(words) == 1
        assert capsys.readouterr().err.startswith("Traceback (most recent call last)")


def test_a_traceback_of_an_ordinary_error(capsys: pytest.CaptureFixture[str]) -> None:
    """On request only, before the message; of options too."""
    for words in (["summary", "nothing.cfg"], ["check", "--run", "nowhere"], ["train", "--preset", "nothing"]):
        assert main(words) == 1
        assert "Traceback" not in capsys.readouterr().err
        assert main([*words, "--traceback"]) == 1
        error = capsys.readouterr().err
        assert error.startswith("Traceback")
        assert error.splitlines()[-1].startswith("error: ")


def test_statuses(does: Does, capsys: pytest.CaptureFixture[str]) -> None:
    """130 after Ctrl-C; an error's own; that of the verb."""
    for what, status, text in (
        (raising(KeyboardInterrupt()), 130, "interrupted\n"),
        (raising(type("Diverged", (ValueError,), {"status": 3})("nan")), 3, "error: nan\n"),
        (lambda: 7, 7, ""),
    ):
        does(what)
        assert main(["summary"]) == status
        assert capsys.readouterr().err == text


@pytest.mark.parametrize(
    "problem",
    [
        MemoryError(),
        np._core._exceptions._ArrayMemoryError((1 << 40,), np.dtype(np.uint8)),  # type: ignore[attr-defined]
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: you"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.\nGPU 0 has"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"),
        OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)),
        type("error", (Exception,), {})("OpenCV(5.0.0) (-4:Insufficient memory) Failed to allocate 9 bytes in OutOf"),
    ],
)
def test_out_of_memory(problem: Exception, does: Does, capsys: pytest.CaptureFixture[str]) -> None:
    """One line that says what to reduce."""
    does(raising(problem))
    assert main(["summary"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: out of memory (")
    assert error.endswith("what takes less: a smaller --size\n")
    assert error.count("\n") == 1


def test_what_takes_less_exists(capsys: pytest.CaptureFixture[str]) -> None:
    """Every verb that takes memory is there, with options that it has."""
    assert set(VERBS) - set(LESS) == {"anchors", "completion", "plot-lr"}
    for verb, words in LESS.items():
        with pytest.raises(SystemExit):
            parse(["train" if verb == "ablate" else verb, "--help"])
        shown = capsys.readouterr().out
        named = [word for word in words.replace(",", "").split() if word.startswith("--") and word != "--"]
        assert [word for word in named if word not in shown] == ["--jobs"] * (verb == "ablate")


def test_a_second_message_cannot_be_forged(does: Does, capsys: pytest.CaptureFixture[str]) -> None:
    """A file name may have a line feed; its second line is indented."""
    does(raising(ValueError("a\nerror: b.jpg: no such file\n  class 1: x")))
    assert main(["summary"]) == 1
    assert capsys.readouterr().err == "error: a\n  error: b.jpg: no such file\n  class 1: x\n"


@pytest.mark.parametrize("word", ["", "--weights=", "a\0b"])
def test_words_that_are_nothing(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    """An empty word, as of a variable of the shell that is not set, is not the current folder."""
    assert main(["detect", "a.jpg", word]) == 1
    assert f"the word {word!r} of the command line" in capsys.readouterr().err


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_any_encoding(encoding: str, does: Does, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an encoding lacks, a file name that is not text, and an escape are codes; on both streams and in the log."""
    out, error = (io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2))
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", error)
    monkeypatch.setattr(logging.getLogger("yolo"), "propagate", False)  # a report of pytest could not hold the text
    text = "Ä ─ 猫 \udcff \x1b[31m"

    def work() -> None:
        log = logging.StreamHandler()
        logging.getLogger("yolo").addHandler(log)
        logging.getLogger("yolo").warning(text)
        logging.getLogger("yolo").removeHandler(log)
        print(text)
        raise ValueError(text)

    does(work)
    assert main(["summary"]) == 1
    for stream, count in ((out, 1), (error, 2)):
        stream.flush()
        assert isinstance(stream.buffer, io.BytesIO)
        shown = stream.buffer.getvalue().decode(encoding)
        assert shown.count("\\udcff \\x1b[31m\n") == count
        assert ("猫" in shown) == (encoding == "utf-8")
        assert ("Ä" in shown) == (encoding != "ascii")


def test_streams_that_are_closed(does: Does, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are None in Python; the work is done, and nothing is printed."""
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)

    def work() -> None:
        print("a")
        sys.stdout.flush()
        tqdm.write("b", file=sys.stdout)
        print("c", file=sys.stderr)

    does(work)
    assert main(["summary"]) == 0
    assert main(["summary", "--traceback", "", "x"]) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="NOT TESTED: there is no /dev/full")
def test_full_disk(does: Does, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """On standard output an error that names it, and no second one at the end of Python; on standard error nothing."""
    does(lambda: print("a"))
    with open("/dev/full", "w") as full, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", full)
        assert main(["summary"]) == 1
    assert capsys.readouterr().err == "error: [Errno 28] No space left on device: 'standard output'\n"
    does(lambda: print("a", file=sys.stderr))
    with open("/dev/full", "w") as full, monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", full)
        assert main(["summary"]) == 0


def test_broken_pipe_of_the_work(does: Does, capsys: pytest.CaptureFixture[str]) -> None:
    """Another pipe than standard output, as that of a process of ours, is an error like any other."""
    does(raising(BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))))
    assert main(["summary"]) == 1
    assert capsys.readouterr().err == "error: [Errno 32] Broken pipe\n"


def test_a_bar_works() -> None:
    """tqdm moves the cursor; its text does not."""
    written = io.StringIO()
    stream = Stream(written)
    with tqdm(total=1, desc="\x1b[2Ja\rb", file=stream, ascii=True, ncols=60) as outer:
        for _ in tqdm(range(1), file=stream, leave=False, ascii=True, ncols=60):
            outer.update()
    shown = written.getvalue()
    assert "\x1b[A" in shown
    assert "\x1b[2J" not in shown
    assert "\\x1b[2Ja\\rb" in shown
    assert shown.startswith("\r")


def test_a_deleted_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is named as the reason."""
    here, gone = Path.cwd(), tmp_path / "gone"
    gone.mkdir()
    os.chdir(gone)
    gone.rmdir()
    try:
        assert main(["summary", "toy.cfg"]) == 1
    finally:
        os.chdir(here)
    assert capsys.readouterr().err == "error: the current folder does not exist any more; change to another one\n"


def test_no_home(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A user who is a number has no home folder: what needs the cache says what to set."""
    monkeypatch.delenv("EXACT_YOLOV3_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", raising(RuntimeError("Could not determine home directory.")))
    with pytest.raises(OSError, match="EXACT_YOLOV3_CACHE"):
        cache_folder()
    assert main(["get", "weights", "yolov3-tiny"]) == 1
    assert capsys.readouterr().err == (
        "error: this user has no home folder for the cache: set EXACT_YOLOV3_CACHE to a folder\n"
    )


def test_the_end_of_a_process(does: Does, monkeypatch: pytest.MonkeyPatch) -> None:
    """`program` ends with the status of `main`, after which Ctrl-C ends it without a traceback."""
    before = signal.getsignal(signal.SIGINT)
    during = []
    does(lambda: during.append(signal.getsignal(signal.SIGINT)))
    monkeypatch.setattr(sys, "argv", ["yolo", "toy.cfg"])
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(SystemExit) as ended:
            program("summary")
        after = signal.getsignal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
    assert ended.value.code == 0
    assert during == [signal.default_int_handler]
    assert after == signal.SIG_DFL


def process(folder: Path, files: dict[str, str], *words: str) -> tuple[int, str]:
    """Run Python where modules of others are these files; return status and standard error."""
    for name, source in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(source)
    environment = os.environ | {"PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, cwd=folder, env=environment)
    return done.returncode, done.stderr


@pytest.mark.skipif(os.name == "nt", reason="NOT TESTED: signals are others there")
@pytest.mark.parametrize(
    ("module", "words"),
    [
        ("tyro", [str(ROOT / "train.py"), "--help"]),
        ("torch", [str(ROOT / "detect.py"), "a.jpg"]),
    ],
)
def test_ctrl_c_during_the_imports(module: str, words: list[str], tmp_path: Path) -> None:
    """The process ends at once, whatever the package makes of it."""
    source = (
        "import os, signal\ntry:\n    os.kill(os.getpid(), signal.SIGINT)\n    for k in range(1000): pass\n"
        "except BaseException as problem:\n    raise ImportError('broken') from problem\n"
    )
    assert process(tmp_path, {f"{module}.py": source}, *words) == (130, "interrupted\n")


@pytest.mark.parametrize(
    "source",
    [
        "raise OSError('libcudart.so.12: cannot open shared object file')",
        "raise ImportError('libcudart.so.12: cannot open shared object file')",
        "raise RuntimeError('operator torchvision::nms does not exist')",
    ],
)
def test_a_broken_package(
    source: str, does: Does, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever it raises while it is imported by a file of ours, one line names it."""
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "__init__.py").write_text("import broken.inside")
    (tmp_path / "broken" / "inside.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    ours = compile("import broken", str(ROOT / "yolo" / "ours.py"), "exec")
    does(lambda: exec(ours))
    assert main(["summary"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: broken cannot be imported (")
    assert "install it again" in error
    assert error.count("\n") == 1
