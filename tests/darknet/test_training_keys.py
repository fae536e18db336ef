"""Typos: those in keys that only training reads are remarks, those that change what is detected are errors."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from yolo.darknet.cfg import CfgError, parse_cfg, read_cfg
from yolo.darknet.keys import Section
from yolo.darknet.net import Net
from yolo.darknet.plan import make_plan
from yolo.darknet.sections import KINDS

CASES = ROOT / ".." / "shared" / "cases" / "darknet"

NET = "[net]\nwidth=64\nheight=64\nchannels=3\n"
CONV = "[convolutional]\nfilters=18\nsize=3\nstride=2\npad=1\nactivation=linear\n"
HEAD = "[yolo]\nmask=0,1,2\nanchors=10,13, 16,30, 33,23\nclasses=1\nnum=3\n"

READ_FOR_DETECTION = {
    "net": {"width", "height", "channels", "letter_box"},
    "convolutional": {"stride", "stride_x", "stride_y", "antialiasing", "batch_normalize", "filters", "size", "pad",
                      "padding", "dilation", "groups", "activation"},
    "maxpool": {"stride", "stride_x", "stride_y", "antialiasing", "size", "padding", "out_channels"},
    "avgpool": set(),
    "upsample": {"stride", "scale"},
    "route": {"layers", "groups", "group_id"},
    "shortcut": {"from_", "activation", "weights_type", "weights_normalization"},
    "scale_channels": {"from_", "activation", "scale_wh"},
    "sam": {"from_", "activation"},
    "reorg": {"stride"},
    "reorg3d": {"stride"},
    "dropout": set(),
    "yolo": {"classes", "num", "anchors", "mask", "scale_x_y", "new_coords", "nms_kind", "beta_nms"},
    "region": {"classes", "num", "anchors", "coords", "softmax"},
}  # fmt: skip


@pytest.mark.parametrize("kind", [Net, *KINDS], ids=lambda kind: kind.NAMES[0])
def test_every_key_is_on_one_side(kind: type[Section]) -> None:
    """A key is refused, or read for detection, or read by training only: a new one must be put somewhere."""
    open_keys = {f.name for f in kind.fields() if f.metadata["refuse"] is None and "training" not in f.metadata}
    assert open_keys == READ_FOR_DETECTION[kind.NAMES[0]]


@pytest.mark.parametrize(
    ("text", "note"),
    [
        (NET + "angle=0y\n" + CONV + HEAD,
         "a.cfg:5: [net] angle=0y: expected a decimal number, written like 0.5 or 1e-3. Only training reads it, so the "
         "default is used"),
        (NET + "policy=stepps\nhue=,1\n" + CONV + HEAD,
         "a.cfg:5: [net] policy=stepps: expected one of random, poly, constant, step, exp, sigmoid, sig, steps, sgdr; "
         "did you mean steps?. Only training reads it, so the default is used"),
        (NET + "policy=steps\nsteps=16000d,18000\nscales=.1,.1\n" + CONV + HEAD,
         "a.cfg:6: [net] steps=16000d,18000: expected an integer. Only training reads it, so the default is used"),
        (NET + "policy=steps\nsteps=1,2\nscales=.1,.1,.1\n" + CONV + HEAD,
         "a.cfg:7: [net] scales=3 numbers: expected one for each of the 2 steps"),
        (NET + CONV + "stopbackward=x\n" + HEAD,
         "a.cfg:11: [convolutional] (layer 0) stopbackward=x: expected an integer. Only training reads it, so the "
         "default is used"),
        (NET + CONV + HEAD + "jitter=0,3\n",
         "a.cfg:16: [yolo] (layer 1) jitter=0,3: expected a decimal number, written like 0.5 or 1e-3. Only training "
         "reads it, so the default is used"),
        (NET + CONV + "[dropout]\nprobability=15\n" + HEAD,
         "a.cfg:12: [dropout] (layer 1) probability=15: expected a decimal number from 0 to 1, written like 0.5 or "
         "1e-3. Only training reads it, so the default is used"),
        (NET + CONV + "[dropout]\ndropblock=1\n" + HEAD,
         "a.cfg:12: [dropout] (layer 1) training drops single values here, not blocks"),
    ],
)  # fmt: skip
def test_a_typo_that_only_training_reads(
    text: str, note: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The network is built with the default, the remark is logged once, and the text that is written has no typo."""
    assert note in parse_cfg(text, "a.cfg").notes
    (tmp_path / "a.cfg").write_text(text)
    cfg = read_cfg(tmp_path / "a.cfg")
    make_plan(cfg)
    with caplog.at_level(logging.WARNING):
        assert caplog.text.count(note.removeprefix("a.cfg")) == 1
    again = parse_cfg(cfg.to_text())
    assert again == cfg
    assert not [one for one in again.notes if "Only training" in one]


@pytest.mark.parametrize("key", ["assisted_excitation=4000", "grad_centr=1"])
def test_keys_of_training_that_are_not_computed(key: str) -> None:
    """They do nothing in a detection."""
    assert make_plan(parse_cfg(NET + CONV + key + "\n" + HEAD)).floats == 18 * 27 + 18


@pytest.mark.parametrize(
    ("old", "new"),
    [("stride=2", "stride=2x"), ("pad=1", "pad=y"), ("mask=0,1,2", "mask=0,1,2,"), ("classes=1", "classes=one"),
     ("10,13", "10,1 3x"), ("10,13", "0,13"), ("num=3", "num=3\nnms_kind=grpeedynms"),
     ("num=3", "num=3\nscale_x_y=1,1"), ("channels=3", "channels=3\nletter_box=yes")],
)  # fmt: skip
def test_a_typo_that_changes_detections(old: str, new: str) -> None:
    """It stays an error."""
    text = NET + CONV + HEAD
    assert old in text
    with pytest.raises(CfgError, match=r"a\.cfg:\d+: "):
        parse_cfg(text.replace(old, new), "a.cfg")


def test_a_last_comma_after_the_anchors() -> None:
    """Darknet reads as many anchors as `num` says; elsewhere a comma too many would be a layer or an anchor 0."""
    text = NET + CONV + HEAD
    assert parse_cfg(text.replace("33,23", "33,23,")) == parse_cfg(text)
    with pytest.raises(CfgError, match="layers=-1,: expected an integer"):
        parse_cfg(NET + CONV + "[route]\nlayers=-1,\n")


@pytest.mark.skipif(not CASES.is_dir(), reason="../shared/cases/darknet is absent: cfgs with typos are not tried")
def test_public_typos() -> None:
    """What is refused of them is what changes detections or is not computed; the others are built."""
    refused = {}
    for file in sorted((CASES / "12-cfg-typos").glob("*.cfg")):
        try:
            make_plan(read_cfg(file))
        except CfgError as problem:
            refused[file.stem] = str(problem).partition(": ")[2]
    assert sorted(refused) == ["mask_without_width", "maxpool_depth", "nms_typo", "share_index"]
    assert refused["maxpool_depth"].endswith("maxpool_depth=1: not supported: pooling over channels")
    assert refused["nms_typo"].endswith("did you mean greedynms?")
