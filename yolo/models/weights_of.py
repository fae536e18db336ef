"""What "weights" mean, the same in every command and in `yolo.load`: a path or a name -> file, cfg, class names.

| what is given                      | the file                 | cfg                   | class names              |
|------------------------------------|--------------------------|-----------------------|--------------------------|
| folder of a run                    | its best.safetensors     | in the file           | in the file              |
| .safetensors or .onnx, by us       | itself                   | in the file           | in the file              |
| .weights, or another darknet file  | itself                   | beside it, or given   | beside it, or assumed    |
| name of a published model          | downloaded once          | ours                  | COCO's or VOC's          |

Beside a file means: of the same name (less what darknet adds while training, `_final`, `_last`, `_1000`), else the
folder's only one. A published file under any other name is recognised by its content. An existing path is never taken
for a name. No torch.
"""

from __future__ import annotations

import logging
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from yolo.darknet.cfg import Cfg, read_cfg
from yolo.darknet.sections import HeadSection
from yolo.download.weights import WEIGHTS, Published, belonging, located, published
from yolo.models.placing import recognised
from yolo.names import did_you_mean, read_names
from yolo.options.shipped import shipped

log = logging.getLogger("yolo")

Use = Literal["detect", "summary", "train", "convert", "explain"]
"""What the weights are wanted for."""

OWN = (".safetensors", ".onnx")
"""Endings of this program's files, which hold their cfg and names."""

BEST, LAST = "best.safetensors", "last.pt"

ADDED = re.compile(r"(_(best|last|final|\d+)|\.conv)$")
"""What is added to the name of a cfg for the weights of its network."""


class Weights(NamedTuple):
    """What a path or name means.

    `file` holds the weights, None: initial ones. `cfg` is that of the network, None: the file holds it. `names` are the
    class names, as a list or a `.names` file, None: those in the file, or assumed ones.
    """

    file: Path | None
    cfg: Cfg | None
    names: Sequence[str] | str | Path | None


def weights_of(
    given: str | Path,
    cfg: str | Path | None = None,
    names: Sequence[str] | str | Path | None = None,
    *,
    use: Use = "detect",
) -> Weights:
    """Return what weights mean; a `cfg` and `names` that are given come first. Files that were found are logged.

    A published file is downloaded if necessary; `summary` does without, and gets no file.

    Raises:
        FileNotFoundError: no such file, or a folder without weights.
        ValueError: a file that holds no weights for this use, with the one to take; a darknet file whose network is
            not known, because no cfg or several ones are beside it.
    """
    model = published(given)
    if model and model.cfg is None and use == "detect":
        raise ValueError(f"{given}: the first layers of a network, which detect nothing; train from it with --weights")
    if model and use == "summary":
        return Weights(None, read_cfg(_needed(cfg or model.cfg, Path(given), use)), model.names)
    file = file_of(given, use)
    if file.suffix.lower() in OWN:
        return Weights(file, read_cfg(cfg) if cfg else None, names)
    taken: list[Path] = []
    if model is None and cfg is None:
        cfg, model = _network_of(file, use)
        taken += [Path(cfg)]
    network = read_cfg(_needed(cfg or (model and model.cfg), file, use))
    if names is None and model:
        names = model.names
    elif names is None and (found := _names_beside(file, network)):
        names = found
        taken += [found]
    if taken:
        log.warning("%s: with %s", file, " and ".join(map(str, taken)))
    return Weights(file, network, names)


def file_of(given: str | Path, use: Use) -> Path:
    """Return the weights file that a path or the name of a published model means. Raises as `weights_of`."""
    path = located(Path(given))
    if path.is_dir():
        if not (path / BEST).is_file():
            hint = f"; {_resume(path)}" if (path / LAST).is_file() else ""
            raise FileNotFoundError(f"{path}: no {BEST} in it, so it is not the folder of a run with weights{hint}")
        return path / BEST
    ending = path.suffix.lower()
    if ending in (".pt", ".pth", ".ckpt"):
        raise ValueError(_instead(path))
    if not path.is_file():
        word = path.name.removesuffix(".weights")
        hint = f"the published one is given as {word}" if word in WEIGHTS else did_you_mean(str(path), WEIGHTS)
        hint = hint or ("" if path.suffix else f"the published weights are {', '.join(WEIGHTS)}")
        raise FileNotFoundError(f"{path}: no such file{hint and f'; {hint}'}")
    if ending == ".cfg":
        raise ValueError(f"{path}: a cfg, which describes a network and holds no weights; give it with --cfg")
    return usable(path, use)


def usable(path: Path, use: Use) -> Path:
    """Return the path. Raises ValueError for an .onnx file and a use that needs more than its predictions."""
    if path.suffix.lower() == ".onnx" and use not in ("detect", "summary"):
        raise ValueError(
            f"{path}: an .onnx file only detects; {use} needs the weights: give the .safetensors or .weights that it "
            f"was made from"
        )
    return path


def _instead(path: Path) -> str:
    """Return what to do in place of giving a file of PyTorch, which is not read."""
    best = path.with_name(BEST)
    if best.is_file():
        return f"{path}: the state of a run, for --resume; give {best}, the weights of that run"
    if path.name == LAST and path.is_file():
        return f"{path}: the state of a run that has no best weights yet; {_resume(path.parent)}"
    return f"{path}: not weights that this program reads; give .weights, .safetensors or .onnx, or a run's folder"


def _resume(run: Path) -> str:
    return f"train to its first evaluation: python -m yolo train --resume {shlex.quote(str(run))}"


def _network_of(file: Path, use: Use) -> tuple[Path, Published | None]:
    """Return the cfg of a darknet file, and what is known if it is a published one. Raises ValueError for none."""
    there, same = _beside(file, ".cfg", file.stem)
    official = None if same else recognised(file)
    if official:
        model = belonging(official.file)
        if model.cfg and model.cfg.name in [path.name for path in shipped("*.cfg")]:
            return model.cfg, model
    if len(there) > 1:
        raise ValueError(f"{file}: which of {', '.join(path.name for path in there)} beside it? {_give(file, use)}")
    return _needed(there[0] if there else None, file, use), None


def _needed(cfg: str | Path | None, file: Path, use: Use) -> Path:
    """Return the cfg. Raises ValueError if there is none."""
    if cfg is None:
        own = ADDED.sub("", file.stem)
        raise ValueError(f"{file} does not say what network it belongs to: no {own}.cfg beside it; {_give(file, use)}")
    return Path(cfg)


def _give(file: Path, use: Use) -> str:
    return f"give the cfg first: summary CFG --weights {file}" if use == "summary" else "give --cfg FILE"


def _names_beside(file: Path, cfg: Cfg) -> Path | None:
    """Return the `.names` file beside the weights, or else beside their cfg: by name, or the only one that fits.

    Raises ValueError if several have one name for each class.
    """
    classes = {layer.classes for layer in cfg.layers if isinstance(layer, HeadSection)}
    for near in filter(Path.is_file, (file, Path(cfg.file))):
        there, same = _beside(near, ".names", Path(cfg.file).stem)
        fitting = there if same else [path for path in there if _count(path) in classes]
        if len(fitting) > 1:
            raise ValueError(
                f"{file}: which of {', '.join(path.name for path in fitting)} beside it? give --names FILE"
            )
        if fitting:
            return fitting[0]
    return None


def _count(names: Path) -> int:
    """Return the number of names in a file, 0 if it cannot be read."""
    try:
        return len(read_names(names))
    except ValueError:
        return 0


def _beside(file: Path, ending: str, other: str) -> tuple[list[Path], bool]:
    """Return the file of an ending beside a file, of its stem or the `other` one, and True; else all of them."""
    there = sorted(path for path in file.parent.iterdir() if path.suffix.lower() == ending and path.is_file())
    for stem in (file.stem, ADDED.sub("", file.stem), other):
        if same := [path for path in there if path.stem == stem]:
            return same[:1], True
    return there, False
