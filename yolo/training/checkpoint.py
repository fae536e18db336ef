"""`last.pt`: everything that a resumed run needs, written completely or not at all, read without unpickling objects.

It holds tensors, numbers, strings, lists and dictionaries only, so that `torch.load(weights_only=True)` reads it.
`Trainer.state_dict` decides what is in it. This file writes and reads it, and has the state of the random numbers.
"""

from __future__ import annotations

import errno
import random
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from yolo.files.atomic import replacing
from yolo.process.distributed import world_size

FORMAT = 1
"""The format of the file. A file of another format has other contents and is refused."""


def rounding(device: torch.device) -> str:
    """Return what the last digits of sums depend on, besides the options: PyTorch, processor or GPU, threads."""
    if device.type == "cuda":
        where = torch.cuda.get_device_name(device)
    else:
        where = f"{torch.backends.cpu.get_cpu_capability()}, threads {torch.get_num_threads()}"
    return f"torch {torch.__version__}, {where}, processes {world_size()}"


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write `state` to a temporary file, then rename it.

    Raises OSError if it cannot be written, for example because the disk is full. The previous file then stays.
    """
    with replacing(path) as temporary:
        try:
            torch.save({"format": FORMAT, **state}, temporary)
        except RuntimeError as problem:  # PyTorch's writer does not report which error occurred
            free = shutil.disk_usage(path.parent).free / 1e6
            what = f"not written, the previous one stays; {free:,.0f} MB are free"
            raise OSError(errno.EIO, what, str(path)) from problem


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Return what `save_checkpoint` wrote, on the CPU.

    Raises ValueError for a damaged file or one of another kind, FileNotFoundError if there is no file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file, so there is no run to resume; give a folder of runs/")
    try:
        with zipfile.ZipFile(path) as archive:
            _check_members(archive, path.stat().st_size)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (FileNotFoundError, PermissionError):
        raise
    except Exception as problem:  # of the zip file, of the pickle in it, and of the tensors that this describes
        why = next(iter(str(problem).splitlines()), "") or type(problem).__name__
        raise ValueError(f"{path}: not a complete checkpoint ({why[:200]}); was the copy cut short?") from None
    found = state.get("format") if isinstance(state, dict) else type(state).__name__
    if type(found) is not int or found != FORMAT:
        raise ValueError(f"{path}: a checkpoint of format {str(found)[:60]}; this program reads format {FORMAT}")
    return state


def _check_members(archive: zipfile.ZipFile, size: int) -> None:
    """Raise BadZipFile for what PyTorch does not write: members that are compressed, encrypted, damaged or too large.

    A few bytes could claim gigabytes otherwise. `torch.load` does not check the checksums.
    """
    members = archive.infolist()
    for member in members:
        if (
            member.compress_type != zipfile.ZIP_STORED
            or member.flag_bits & 1
            or member.file_size != member.compress_size
        ):
            raise zipfile.BadZipFile(f"{member.filename[:60]!r} is compressed or encrypted, which PyTorch never writes")
    if (claimed := sum(member.file_size for member in members)) > size:
        raise zipfile.BadZipFile(f"its members claim {claimed:,} bytes, the file has {size:,}")
    if (broken := archive.testzip()) is not None:
        raise zipfile.BadZipFile(f"{broken[:60]!r} is damaged")


def random_state() -> dict[str, Any]:
    """Return the state of the random numbers of PyTorch (every device), NumPy and Python, as tensors and numbers."""
    numpy = np.random.get_state(legacy=False)
    words = torch.from_numpy(numpy["state"]["key"].astype(np.int64))
    version, own, own_gauss = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [words, int(numpy["state"]["pos"]), int(numpy["has_gauss"]), float(numpy["gauss"])],
        "python": [version, list(own), own_gauss],
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Continue with the random numbers of `random_state()`.

    With another number of GPUs theirs are left as they are: nothing in training draws from them.
    """
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
    words, position, has_gauss, gauss = state["numpy"]
    np.random.set_state(("MT19937", words.numpy().astype(np.uint32), position, has_gauss, gauss))
    version, own, own_gauss = state["python"]
    random.setstate((version, tuple(own), own_gauss))
