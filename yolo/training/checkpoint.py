"""`last.pt`: everything that a resumed run needs, written whole or not at all, read without unpickling anything.

Tensors, numbers, strings, lists and dictionaries only, so that `torch.load(weights_only=True)` reads it. What is in it
is what `Trainer.state_dict` says; here are the file and the random numbers.
"""

from __future__ import annotations

import errno
import os
import pickle
import random
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from yolo.atomic import replacing

FORMAT = 1
"""Of the file; a program that wrote another one kept other things in it."""


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Writes `state`, then gives it the name; OSError if there is no room, and the old file stays."""
    with replacing(path) as temporary:
        try:
            torch.save({"format": FORMAT, **state}, temporary)
        except RuntimeError as problem:  # PyTorch's writer does not say which error it met
            free = os.statvfs(path.parent).f_bavail * os.statvfs(path.parent).f_frsize if hasattr(os, "statvfs") else 0
            raise OSError(
                errno.EIO, f"{path}: not written, the checkpoint before it stays; {free / 1e6:,.0f} MB are free here"
            ) from problem


def load_checkpoint(path: Path) -> dict[str, Any]:
    """What `save_checkpoint` wrote, on the CPU. ValueError for other and damaged files, FileNotFoundError for none."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file, so there is no run to resume; give a folder of runs/")
    try:
        with zipfile.ZipFile(path) as archive:  # torch.load does not look at the checksums
            if (broken := archive.testzip()) is not None:
                raise RuntimeError(f"{broken} is damaged")
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (zipfile.BadZipFile, RuntimeError, pickle.UnpicklingError, EOFError) as problem:
        why = (str(problem) or type(problem).__name__).splitlines()[0]
        raise ValueError(f"{path}: not a whole checkpoint of this program ({why}); was the copy cut short?") from None
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        found = state.get("format") if isinstance(state, dict) else type(state).__name__
        raise ValueError(f"{path}: a checkpoint of format {found}; this program reads format {FORMAT}")
    return state


def random_state() -> dict[str, Any]:
    """Where the random numbers of PyTorch (every device), NumPy and Python stand, as tensors and numbers."""
    numpy = np.random.get_state(legacy=False)
    words, position = numpy["state"]["key"], numpy["state"]["pos"]
    version, own, own_gauss = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [
            torch.from_numpy(words.astype(np.int64)),
            int(position),
            int(numpy["has_gauss"]),
            float(numpy["gauss"]),
        ],
        "python": [version, list(own), own_gauss],
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Goes on there. Another number of GPUs keeps its own numbers: nothing in training draws from them."""
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
    words, position, has_gauss, gauss = state["numpy"]
    np.random.set_state(("MT19937", words.numpy().astype(np.uint32), position, has_gauss, gauss))
    version, own, own_gauss = state["python"]
    random.setstate((version, tuple(own), own_gauss))
