"""`python -m yolo show-data`: what a data set holds, and what the network will see of it."""

from __future__ import annotations

from pathlib import Path

from yolo.darknet.cfg import read_cfg
from yolo.darknet.plan import make_plan
from yolo.data.datasets import ImageDataset, open_data, splits
from yolo.data.index import summary
from yolo.data.order import Draw
from yolo.data.sample import Sample
from yolo.data.sheet import contact_sheet, spread
from yolo.data.statistics import anchor_table, class_table, network_sizes, quantiles, totals
from yolo.data.transforms import Augmented
from yolo.images.files import write_image
from yolo.options.augment import Augment
from yolo.options.commands import ShowData
from yolo.size import Size


def run(options: ShowData) -> None:
    """Prints the counts and writes a sheet for each split. Faults are listed; what they are about is left out."""
    plan = make_plan(read_cfg(options.cfg), Size.parse(options.size) if options.size else None)
    data = {split: _open(options, split) for split in splits(options.path, options.split, options.data_format)}
    indices = {split: images.index for split, images in data.items()}
    _print("", totals(indices))
    for names in dict.fromkeys(tuple(index.names) for index in indices.values()):
        _print("", class_table({split: index for split, index in indices.items() if tuple(index.names) == names}))
    size = f"{plan.size.width} x {plan.size.height}"
    for split, index in indices.items():
        _print(f"{split}: pixels of boxes in the network input, {size}", quantiles(network_sizes(index, plan.size)))
        _print(f"{split}: boxes by the anchor of {options.cfg.name} that is most like them", anchor_table(index, plan))
        if index.notes:
            _print(f"{split}: notes", index.notes)
        if index.faults:
            _print(f"{split}: {len(index.faults)} faults, left out", summary(index.faults, "fault", 50).splitlines())
    print()
    name = options.path.resolve().stem
    for split, images in data.items():
        chosen = spread(len(images), options.images)
        title = f"{name} {split}: {len(images):,} images, at {size}"
        for ending, shown, note in (
            ("", images, ""),
            ("-augmented", _FirstEpoch(images, plan.size, options.seed), ", as the first epoch of training sees them"),
        ):
            file = options.out / f"{name}-{split}{ending}.png"
            write_image(file, contact_sheet(shown, chosen, plan.size, title + note))
            print(file)


class _FirstEpoch:
    """Images as training sees them first, by plain index."""

    def __init__(self, images: ImageDataset, size: Size, seed: int) -> None:
        self.augmented, self.size, self.names = Augmented(images, Augment(), seed=seed), size, images.names

    def __len__(self) -> int:
        return len(self.augmented)

    def path(self, k: int) -> Path:
        return self.augmented.path(k)

    def __getitem__(self, k: int) -> Sample:
        return self.augmented[Draw(0, k, self.size)]


def _open(options: ShowData, split: str) -> ImageDataset:
    return open_data(
        options.path,
        split=split,
        data_format=options.data_format,
        limit=options.limit,
        classes=options.classes,
        fraction=options.fraction,
        seed=options.seed,
        bad="skip",
        names=options.names,
        quiet=True,
    )


def _print(title: str, lines: list[str]) -> None:
    print("\n".join(["", *([title] if title else []), *lines]))
