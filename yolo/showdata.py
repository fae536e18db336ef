"""`python -m yolo show-data`: what a data set holds, and what the network will see of it."""

from __future__ import annotations

from yolo.cfg import read_cfg
from yolo.coco_json import summary
from yolo.data.contact import contact_sheet, spread
from yolo.data.counts import anchor_table, class_table, network_sizes, quantiles, totals
from yolo.data.datasets import Pictures, open_data, splits
from yolo.options import ShowData, parse_size
from yolo.pictures import write_picture
from yolo.plan import make_plan


def run(options: ShowData) -> None:
    """Prints the counts and writes a sheet for each split. Faults are listed; what they are about is left out."""
    plan = make_plan(read_cfg(options.cfg), parse_size(options.size) if options.size else None)
    data = {split: _open(options, split) for split in splits(options.path, options.split, options.data_format)}
    indices = {split: pictures.index for split, pictures in data.items()}
    _print("", totals(indices))
    for names in dict.fromkeys(tuple(index.names) for index in indices.values()):
        _print("", class_table({split: index for split, index in indices.items() if tuple(index.names) == names}))
    size = f"{plan.size[1]} x {plan.size[0]}"
    for split, index in indices.items():
        _print(f"{split}: pixels of boxes in the network input, {size}", quantiles(network_sizes(index, plan.size)))
        _print(f"{split}: boxes by the anchor of {options.cfg.name} that is most like them", anchor_table(index, plan))
        if index.notes:
            _print(f"{split}: notes", index.notes)
        if index.faults:
            _print(f"{split}: {len(index.faults)} faults, left out", summary(index.faults, "fault", 50).splitlines())
    print()
    name = options.path.resolve().stem
    for split, pictures in data.items():
        file = options.out / f"{name}-{split}.png"
        title = f"{name} {split}: {len(pictures):,} pictures, at {size}"
        write_picture(file, contact_sheet(pictures, spread(len(pictures), options.pictures), plan.size, title))
        print(file)


def _open(options: ShowData, split: str) -> Pictures:
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
    )


def _print(title: str, lines: list[str]) -> None:
    print("\n".join(["", *([title] if title else []), *lines]))
