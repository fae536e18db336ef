"""Python processes that begin with everything imported: forked from a process that has done nothing else.

They have what a test wants a process for: a process group, signals, an exit status, files, locks, torch.distributed.
What they do not do again is import PyTorch, which takes several seconds in every new interpreter.
"""

from __future__ import annotations

import os
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
import weakref
from contextlib import suppress
from multiprocessing import forkserver, get_context, set_start_method
from pathlib import Path
from types import ModuleType

import pytest
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from tests.support.ink import ink, inked
from tests.support.paths import environment

IMPORTED = ["tests.support.warm", "yolo.commands.train", "torch.utils.tensorboard", "matplotlib.figure", "typeguard"]
IMPORTED += ["torch._dynamo"]  # by processes that train together, each of which would take a second

_context = get_context("forkserver")
_context.set_forkserver_preload(IMPORTED)


def ready() -> None:
    """Start the process that all others are forked from, unless it is there."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment(OMP_NUM_THREADS="1").items():
            patch.setenv(name, value)
        forkserver.ensure_running()


class Warm:
    """`python WORDS` as a process group of its own; with `ranks`, as many of them, joined as torchrun joins them.

    The words begin with `-m MODULE`, `-c CODE` or a file. It has the methods of `subprocess.Popen` that tests need.
    """

    def __init__(self, *words: object, ranks: int = 1, cwd: Path | None = None) -> None:
        folder = Path(tempfile.mkdtemp())
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self.files = [folder / "stdout", folder / "stderr"]
        for file in self.files:
            file.touch()
        ready()
        more = [{}] if ranks == 1 else self._meeting(ranks)
        self.processes = [
            _context.Process(
                target=_begin,
                args=([*map(str, words)], cwd or Path.cwd(), environment(**one), self.files, inked()),
            )
            for one in more
        ]
        for process in self.processes:
            process.start()
        self.pids = [process.pid for process in self.processes if process.pid]

    def _meeting(self, ranks: int) -> list[dict[str, str]]:
        """Return the variables by which each process finds the others; the store is in this process, as torchrun's."""
        self.store = TCPStore("localhost", 0, is_master=True, wait_for_workers=False)
        address = {"MASTER_ADDR": "localhost", "MASTER_PORT": str(self.store.port)}
        address |= {"TORCHELASTIC_USE_AGENT_STORE": "True", "WORLD_SIZE": str(ranks)}
        return [{**address, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(ranks)]

    @property
    def pid(self) -> int:
        """The process id of the first one, which is that of its group."""
        return self.pids[0]

    @property
    def returncode(self) -> int | None:
        """The exit status, negative for a signal; None while one runs. Of several processes the first that is not 0."""
        codes = [process.exitcode for process in self.processes]
        return None if None in codes else next(filter(None, codes), 0)

    def poll(self) -> int | None:
        """Return the exit status, None while it runs."""
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Wait for the end and return stdout and stderr. Raises TimeoutExpired."""
        for process in self.processes:
            process.join(timeout)
            if process.exitcode is None:
                raise subprocess.TimeoutExpired(process.name, timeout or 0)
        out, errors = (file.read_text() for file in self.files)
        return out, errors

    def wait(self) -> int:
        """Wait for the end and return the exit status."""
        self.communicate()
        return self.returncode or 0

    def kill(self) -> None:
        """Kill each of them, and whatever they have started."""
        for pid in self.pids:
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)

    def __enter__(self) -> Warm:
        return self

    def __exit__(self, *_: object) -> None:
        self.communicate()


def run(*words: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run `python WORDS` to its end."""
    child = Warm(*words, cwd=cwd)
    out, errors = child.communicate()
    return subprocess.CompletedProcess([*map(str, words)], child.returncode or 0, out, errors)


def _begin(words: list[str], folder: Path, variables: dict[str, str], files: list[Path], drawn: bool) -> None:
    """Become the process: group, folder, environment, stdout and stderr, diagrams as here; then run the program."""
    ink(drawn)
    os.fsync = lambda fd: None  # the machine does not fail in between
    set_start_method(None, force=True)  # for workers of its own, as in a new interpreter
    os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(variables)
    for number, file in enumerate(files, 1):
        own = os.open(file, os.O_WRONLY | os.O_APPEND)
        os.dup2(own, number)
        os.close(own)
    sys.orig_argv = [sys.executable, *words]
    sys.path.insert(0, "" if words[0] in ("-m", "-c") else str(Path(words[0]).absolute().parent))
    if words[0] == "-m":
        sys.argv = words[1:]
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    elif words[0] == "-c":
        sys.argv = ["-c", *words[2:]]
        sys.modules["__main__"] = ModuleType("__main__")
        exec(words[1], sys.modules["__main__"].__dict__)
    else:
        sys.argv = words
        runpy.run_path(words[0], run_name="__main__")
