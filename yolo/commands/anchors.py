"""`python -m yolo anchors`: anchors made for a data set, measured on held-out images, and a cfg that has them."""

from __future__ import annotations

import numpy as np

from yolo.darknet.cfg import read_cfg
from yolo.darknet.plan import Plan, anchors, make_plan, with_anchors
from yolo.darknet.sections import HeadSection
from yolo.data.anchors import FEWEST, GAIN, darknet_text, fit, fitted_anchors
from yolo.data.datasets import open_data
from yolo.data.statistics import head_table, learned_sizes, nearest
from yolo.files.atomic import replacing
from yolo.options.anchors import Anchors
from yolo.size import Size

STARTS = 10  # of the k-means

FEW = 0.05  # share of the boxes below which a head learns little


def run(options: Anchors) -> None:
    """Write the cfg that has new anchors; print them, the present ones and what they gain on held-out images.

    Raises ValueError for a cfg without heads and for data without boxes, FileExistsError for a file that exists, unless
    `options.force` is set.
    """
    if options.out is not None and options.out.exists() and not options.force:
        raise FileExistsError(f"{options.out} exists; --force replaces it")
    plan = make_plan(read_cfg(options.cfg), Size.parse(options.size) if options.size else None)
    present = np.concatenate([np.empty((0, 2)), *anchors(plan)])
    count = options.clusters or len(present)
    with_anchors(plan, np.ones((count, 2)))  # a cfg that cannot have them is refused before the data is read
    train, val = _boxes(options, options.split, plan.size), _boxes(options, "val", plan.size)
    # What is measured is what the cfg will say: rounded, and divided over the heads.
    found = fitted_anchors(train, count, STARTS, options.seed, darknet=options.darknet)
    changed = make_plan(with_anchors(plan, found))
    heads = anchors(changed)
    new = np.concatenate(heads)
    if options.out is not None:  # before anything is printed, which may fail
        with replacing(options.out) as temporary:
            temporary.write_text(changed.cfg.to_text(), encoding="utf-8")
    print(f"{options.split}: boxes by the new anchor that is most like them, {plan.size}, {options.placement}")
    print("\n".join(head_table(train, changed)))
    print("", *dict.fromkeys(_listed(changed, k) for k in changed.cfg.heads), "", sep="\n")
    (before, recall), (after, could) = fit(val, present), fit(val, new)
    print(f"on {len(val):,} held-out boxes   mean best IoU   best possible recall at IoU 0.5")
    print(f"{f'{len(present)} present anchors':<25} {before:>13.3f} {recall:>16.1%}")
    print(f"{f'{count} new anchors':<25} {after:>13.3f} {could:>16.1%}")
    gain = f"a gain of {after - before:+.3f} in mean IoU is"
    print(f"{gain} worth new anchors" if after - before >= GAIN else f"keep them: {gain} less than {GAIN}")
    if (few := min(len(train), len(val))) < FEWEST * count:
        print(f"note: {few} boxes are too few to tell how well {count} anchors fit")
    # A box belongs to the head that has its best anchor.
    owner = np.repeat(np.arange(len(heads)), [len(head) for head in heads])[nearest(train, heads)[0]]
    for s, share in enumerate(np.bincount(owner, minlength=len(heads)) / len(train)):
        if share < FEW:
            print(f"warning: head {s} would get {share:.1%} of the boxes, less than {FEW:.0%}: too few to learn from")
    if options.out is not None:
        print(options.out)


def _listed(plan: Plan, k: int) -> str:
    """Return the line `anchors=` of head section `k` as darknet prints it; of a `[region]`, in cells."""
    section = plan.cfg.layers[k]
    assert isinstance(section, HeadSection)
    width = 0 if section.IN_CELLS else plan.size.width
    return f"anchors = {darknet_text(np.reshape(section.anchors, (-1, 2)), width)}"


def _boxes(options: Anchors, split: str, size: Size) -> np.ndarray:
    """Return the box sizes `[G, 2]` of a split in network pixels. Raises ValueError if there are none."""
    data = open_data(
        options.data,
        split=split,
        data_format=options.data_format,
        bad=options.bad,
        val=options.val,
        holdout=options.holdout,
    )
    sizes = learned_sizes(data.index, size, letterbox=options.placement == "letterbox")
    if not len(sizes):
        raise ValueError(f"{options.data}, split {split!r}: no boxes to make anchors for, or to measure them on")
    return sizes
