"""Weights that torchvision publishes, in the cache folder of torch hub, where torchvision looks for them too."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch

from yolo.download.fetch import DownloadError, fetch
from yolo.process.distributed import print_once


def hub_file(url: str) -> Path:
    """Return the file of this address in torch hub's folder, after downloading it if necessary, which is printed.

    Its name ends in the first digits of its SHA-256 (`resnet34-b627a593.pth`), which are checked on every call.

    Raises DownloadError, with the remedies, if the address does not give the file; OSError if it cannot be written.
    """
    name = url.rpartition("/")[2]
    digits = Path(name).stem.rpartition("-")[2]
    target = Path(torch.hub.get_dir()) / "checkpoints" / name

    def fault(path: Path) -> str | None:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        return None if found.startswith(digits) else f"SHA-256 {found}, expected {digits}..."

    if not target.exists():
        print_once(f"downloading {url} to {target}")
    try:
        return fetch([url], target, check=fault)
    except DownloadError as error:
        raise DownloadError(
            f"{error}\nRemedy: download {name} from {url} on another machine and put it into {target.parent}"
        ) from None
