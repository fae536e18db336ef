"""What is said about a cfg before its training: every key is decided, what is set is named, nonsense is refused."""

from __future__ import annotations

import re

import pytest

from tests.support.paths import ROOT
from yolo.darknet.cfg import Cfg, CfgError, parse_cfg
from yolo.darknet.keys import Layer
from yolo.darknet.net import Net
from yolo.darknet.sections import KINDS, Region, Yolo
from yolo.recipe.said import SAID, check, remarks

DONE = {
    Net: """width height channels batch subdivisions learning_rate momentum decay policy steps scales step scale gamma
        power burn_in max_batches learning_rate_min sgdr_cycle sgdr_mult saturation exposure hue flip
        mixup mosaic mosaic_bound letter_box resize_step ema_alpha""",
    Layer: "dont_update stopbackward train_only_bn learning_rate probability",
    Yolo: """max jitter resize random focal_loss ignore_thresh truth_thresh iou_loss iou_normalizer obj_normalizer
        cls_normalizer iou_thresh iou_thresh_kind max_delta label_smooth_eps objectness_smooth counters_per_class
        show_details""",
}
"""Keys that only training reads, apart from the first three, and that it does."""

WITHOUT_EFFECT = {
    Net: """B1 B2 eps augment_speed contrastive_jit_flip contrastive_color use_cuda_graph optimized_memory
        workspace_size_limit_MB max_chart_loss show_receptive_field""",
    Layer: "stream wait_stream angle",
    Yolo: "track_history_size sim_thresh dets_for_track dets_for_show track_ciou_norm",
}
"""Keys of speed, memory and display, and of what is refused or said as a whole (Adam, tracking, rotated kernels)."""


def cfg_with(net: str = "", head: str = "", layer: str = "") -> Cfg:
    """Return a cfg of one convolution and one head that can be trained; what is given comes first, so it counts."""
    return parse_cfg(
        f"[net]\n{net}\nwidth=64\nheight=64\nchannels=3\nbatch=4\nmax_batches=5000\n"
        f"[convolutional]\n{layer}\nfilters=14\nsize=32\nstride=32\n"
        f"[yolo]\n{head}\nclasses=2\nnum=2\nanchors=8,8,16,16\n",
        "my.cfg",
    )


@pytest.mark.parametrize("kind", [Net, *(kind for kind in KINDS if kind is not Region)])
def test_every_key_of_training_is_decided(kind: type[Net | Layer]) -> None:
    """A key that only training reads is done, said, or without effect; a new key has to be decided here."""
    keys = {f.name for f in kind.fields() if "training" in f.metadata}
    decided = [key for base, table in SAID.items() if issubclass(kind, base) for key in table]
    decided += [
        key
        for table in (DONE, WITHOUT_EFFECT)
        for base, words in table.items()
        if issubclass(kind, base)
        for key in words.split()
    ]
    assert keys <= set(decided)
    assert len(decided) == len(set(decided))


@pytest.mark.parametrize(("kind", "key"), [(kind, key) for kind, table in SAID.items() for key in table])
def test_a_key_that_is_not_done_is_said(kind: type, key: str) -> None:
    """One sentence with file, line, section and value for each key of the table, and only if it is not the default."""
    where = {Net: "net", Yolo: "head", Layer: "layer"}[kind]
    if key.startswith("dropblock"):  # the key of a section that the little cfg has not
        cfg = parse_cfg(cfg_with().to_text() + f"[dropout]\n{key}=3\n", "my.cfg")
        place = rf"my.cfg:\d+: \[dropout\] \(layer 2\) {key}=3: "
    else:
        cfg = cfg_with(**{where: f"{key}=3"})
        section = {Net: r"\[net\]", Yolo: r"\[yolo\] \(layer 1\)", Layer: r"\[convolutional\] \(layer 0\)"}[kind]
        place = rf"my.cfg:{ {'net': 2, 'layer': 9, 'head': 14}[where] }: {section} {key}=3: "
    (said,) = remarks(cfg)
    assert re.match(place, said)
    assert SAID[kind][key] in said
    check(cfg)


def test_order_of_the_file() -> None:
    """Keys are named in the order of their lines, whatever the order in the tables."""
    said = remarks(cfg_with(net="unsupervised=1\nblur=3\nangle=7\nadam=1"))
    assert [re.search(r"\[net\] (\w+)", line)[1] for line in said] == ["unsupervised", "blur", "angle", "adam"]  # type: ignore[index]


def test_nothing_is_said_of_a_plain_cfg() -> None:
    """Neither of keys that are done, nor of keys at their default, nor of keys without effect."""
    net = "angle=0\nadam=0\nmosaic=1\npolicy=steps\nsteps=9\nscales=.1\nB1=.8\nclip=0\nema_alpha=.998\nburn_in=7"
    head = "jitter=.3\nrandom=1\niou_loss=ciou\ncls_normalizer=.5\ncounters_per_class=3,4"
    cfg = cfg_with(net, head, "stopbackward=1\nclip=0")
    assert remarks(cfg) == []
    check(cfg)


@pytest.mark.parametrize(
    ("cfg", "key", "words"),
    [
        (cfg_with("batch=10\nsubdivisions=4"), "batch=10", "4 mini-batches of 2, so an update has 8 images"),
        (cfg_with("ema_alpha=.9\nmax_batches=2000"), "ema_alpha=0.9", "with max_batches=2000 that is never"),
        (cfg_with("mosaic=1\nletter_box=1"), "mosaic=1", "each of the four images is letterboxed"),
        (cfg_with(head="cls_normalizer=.5"), "cls_normalizer=0.5", "no effect without counters_per_class"),
    ],
)
def test_keys_without_effect_together(cfg: Cfg, key: str, words: str) -> None:
    """Two keys of which one changes what the other means."""
    (said,) = remarks(cfg)
    assert f"] {key}: " in said.replace(" (layer 1)", "")
    assert words in said


def test_the_last_head_decides_and_equal_remarks_are_one() -> None:
    """A head that is not the last one has jitter, random, ... in vain; a key of several layers is named once."""
    text = cfg_with(head="random=0\njitter=.1", layer="clip=2").to_text()
    (layer, head), last = text.split("[convolutional]")[1].split("[yolo]"), "[yolo]\nrandom=1\njitter=.1"
    cfg = parse_cfg(f"{text}[route]\nlayers=-3\n[convolutional]{layer}{last}{head.replace('jitter=0.1', '')}", "my.cfg")
    clip, random = remarks(cfg)
    assert "clip=2: " in clip
    assert clip.endswith(" (so in 1 more [convolutional] sections)")
    assert "(layer 1) random=0: darknet takes it from the last head, so 1 counts" in random


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"net": "max_batches=0"}, r"my.cfg:2: \[net\] max_batches=0: expected the number of updates"),
        ({"net": "batch=1"}, r"my.cfg:2: \[net\] batch=1: expected at least 2 images"),
        ({"net": "subdivisions=8"}, r"subdivisions=8: expected at most batch=4"),
        ({"net": "saturation=0"}, r"saturation=0: expected a factor above 0"),
        ({"net": "learning_rate=0"}, r"my.cfg:2: \[net\] learning_rate=0: expected a rate above 0"),
        ({"net": "momentum=1"}, r"momentum=1: expected a share"),
        ({"net": "decay=-.1"}, r"decay=-0.1: expected a number from 0"),
        ({"net": "ema_alpha=1"}, r"ema_alpha=1: expected a share"),
        ({"net": "policy=steps"}, r"steps=: expected the updates at which the rate changes"),
        ({"net": "policy=steps\nsteps=5,6\nscales=.1"}, r"my.cfg:4: \[net\] scales=0.1: expected 2 factors"),
        ({"net": "policy=step\nstep=0"}, r"my.cfg:3: \[net\] step=0: expected at least 1 with policy=step"),
        ({"net": "policy=sgdr\nsgdr_cycle=-1"}, r"sgdr_cycle=-1: expected a number of updates"),
        ({"net": "policy=sgdr\nsgdr_mult=0"}, r"sgdr_mult=0: expected at least 1"),
        ({"net": "policy=sigmoi"}, r"my.cfg:2: \[net\] policy=sigmoi: expected one of .*; did you mean sigmoid\?"),
        ({"net": "learning_rate=fast"}, r"my.cfg:2: \[net\] learning_rate=fast: expected a decimal number"),
        ({"layer": "dont_update=x"}, r"my.cfg:9: \[convolutional\] \(layer 0\) dont_update=x: expected an integer"),
        ({"net": "resize_step=48", "head": "random=1"}, r"resize_step=48: expected a multiple of 32, the stride"),
        ({"head": "iou_loss=cious"}, r"my.cfg:14: \[yolo\] \(layer 1\) iou_loss=cious: .*; did you mean ciou\?"),
        ({"head": "iou_thresh_kind=mse"}, r"iou_thresh_kind=mse: expected one of iou, giou, diou, ciou"),
        (
            {"head": "counters_per_class=5,6,7"},
            r"counters_per_class=5,6,7: expected a number for each of the 2 classes",
        ),
        ({"head": "resize=0"}, r"resize=0: expected a factor above 0"),
        ({"head": "random=-1"}, r"random=-1: expected a factor above 0"),
    ],
)
def test_what_has_no_meaning_is_refused(keys: dict[str, str], message: str) -> None:
    """Each with file, line, section, value and what was expected."""
    with pytest.raises(CfgError, match=message):
        check(cfg_with(**keys))


def test_what_is_unreadable_without_effect_is_not_refused() -> None:
    """A letter in `angle` changes no detector, and a resize_step is not read at a fixed size."""
    check(cfg_with("angle=7x\nresize_step=48"))


def test_heads_are_needed_and_those_of_yolov2_are_refused() -> None:
    """The message says what can be trained."""
    plain = "[net]\nwidth=64\nheight=64\nchannels=3\nbatch=4\nmax_batches=9\n[convolutional]\n"
    with pytest.raises(CfgError, match=r"x.cfg:1: \[net\] no \[yolo\] section"):
        check(parse_cfg(plain, "x.cfg"))
    region = "filters=7\n[region]\nsoftmax=1\nclasses=2\nnum=1\nanchors=1,1\n"
    with pytest.raises(CfgError, match=r"x.cfg:9: \[region\] \(layer 1\) .* cannot be trained.*yolov3-tiny.cfg"):
        check(parse_cfg(plain + region, "x.cfg"))


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        *((name, []) for name in ("yolov3", "yolov3-tiny", "yolov3-spp", "yolov3-openimages", "yolov4-tiny")),
        ("yolov4", ["random"]),
        ("yolov4x-mish", ["mosaic", "cls_normalizer"]),
    ],
)
def test_published_cfgs_can_be_trained(name: str, keys: list[str]) -> None:
    """Few remarks, none of them alarming."""
    cfg = parse_cfg((ROOT / "config" / f"{name}.cfg").read_text(), name)
    check(cfg)
    assert [re.sub(r".*\] (\(layer \d+\) )?(\w+)=.*", r"\2", said) for said in remarks(cfg)] == keys
