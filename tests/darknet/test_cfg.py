"""The cfg reader: darknet's grammar, typed values, messages as users see them, and writing the text again."""

from __future__ import annotations

import dataclasses
import logging
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, reject
from hypothesis import strategies as st

from tests.support.many import examples
from tests.support.paths import ROOT
from yolo.darknet.cfg import Cfg, CfgError, parse_cfg, read_cfg
from yolo.darknet.keys import Section
from yolo.darknet.net import Net
from yolo.darknet.sections import (
    OUT_OF_SCOPE,
    SECTIONS,
    Convolutional,
    Maxpool,
    Region,
    Route,
    ScaleChannels,
    Upsample,
    Yolo,
)

SHARED = ROOT / ".." / "shared" / "data" / "darknet"
CFGS = sorted([*ROOT.glob("config/*.cfg"), *ROOT.glob("tests/golden/nets/*/*.cfg"), *SHARED.glob("*.cfg")])

NET = "[net]\nwidth=64\nheight=32\nchannels=3\n"  # four lines: what follows starts in line 5
HEAD = "[yolo]\nanchors=1,2, 3,4\nnum=2\n"


def parse(body: str) -> Cfg:
    """Parse a cfg of NET and the lines of `body`, the first of which is line 5."""
    return parse_cfg(NET + body, "a.cfg")


def message(text: str) -> str:
    """Return the message for a text that is refused."""
    with pytest.raises(CfgError) as error:
        parse_cfg(text, "a.cfg")
    return str(error.value)


def conv(keys: str) -> Convolutional:
    """Return a `[convolutional]` with these lines."""
    layer = parse(f"[convolutional]\n{keys}").layers[0]
    assert isinstance(layer, Convolutional)
    return layer


# lines


def test_blanks_are_removed_everywhere() -> None:
    """Within section names, keys, words and numbers, too, as in darknet."""
    text = "[ n e t ]\n\twi dth = 6 4\n he\tight=3 2\nchannels =\t3\n[con v]\nactivat ion = le aky\nstri de=\t2\n"
    assert parse_cfg(text) == parse_cfg(f"{NET}[conv]\nactivation=leaky\nstride=2\n")
    assert parse("[route]\nlayers = - 1 , 6 1\n").layers[0] == Route(layers=(-1, 61))


def test_line_ends_and_byte_order_mark() -> None:
    """CRLF, no line end at the end of the file, and a byte-order mark do no harm."""
    text = NET + "[conv]\nactivation=leaky"
    assert parse_cfg(text.replace("\n", "\r\n")) == parse_cfg(text)
    assert parse_cfg("\ufeff" + text) == parse_cfg(text)
    assert "\r" not in parse_cfg(text.replace("\n", "\r\n")).to_text()


def test_comments() -> None:
    """Lines that begin with # or ; after any blanks are ignored, but counted."""
    cfg = parse_cfg("# first\n ; second\n\n" + NET + "\t#=[conv]\n[conv]\n;stride=2\n  # pad=1\n", "a.cfg")
    assert cfg == parse("[conv]\n")
    assert cfg.layers[0].source.line == 9
    assert cfg.notes == ()


def test_latin_1(tmp_path: Path) -> None:
    """Comments in another encoding than UTF-8 do no harm, with and without a byte-order mark."""
    for mark in (b"", b"\xef\xbb\xbf"):
        file = tmp_path / "a.cfg"
        file.write_bytes(mark + "# größer\n".encode("latin-1") + NET.encode() + b"[conv]\n")
        assert read_cfg(file) == parse("[conv]\n")
        file.write_bytes(mark + "# größer\n".encode() + NET.encode() + b"[conv]\n")
        assert read_cfg(file) == parse("[conv]\n")


def test_the_first_of_equal_keys_counts() -> None:
    """darknet searches from the front. What is ignored is noted."""
    cfg = parse("[conv]\nfilters=4\nstride=2\nfilters=8\nfilters=abc\n")
    assert cfg.layers[0] == Convolutional(filters=4, stride=2)
    assert cfg.notes == (
        "a.cfg:8: [convolutional] (layer 0) filters=8 is ignored: the first filters, line 6, counts",
        "a.cfg:9: [convolutional] (layer 0) filters=abc is ignored: the first filters, line 6, counts",
    )


def test_a_key_without_equals_sign() -> None:
    """It counts as absent, even if the same key has a value later."""
    cfg = parse("[conv]\nfilters\nfilters=8\n")
    assert cfg.layers[0] == Convolutional(filters=1)
    assert cfg.notes == (
        "a.cfg:6: filters has no value (no '='), the default is used",
        "a.cfg:7: [convolutional] (layer 0) filters=8 is ignored: the first filters, line 6, counts",
    )


def test_a_key_without_a_value() -> None:
    """`key=` is ignored as a whole: a later one counts."""
    cfg = parse("[conv]\nfilters=\nfilters = 8\n")
    assert cfg.layers[0] == Convolutional(filters=8)
    assert cfg.notes == ("a.cfg:6: filters= has no value, the line is ignored",)


@pytest.mark.parametrize("name", ["net", "network"])
def test_synonyms_of_net(name: str) -> None:
    """`[network]` is `[net]`."""
    cfg = parse_cfg(NET.replace("net", name))
    assert cfg.net == Net(width=64, height=32, channels=3)
    assert cfg.layers == ()


@pytest.mark.parametrize(("short", "long"), [("conv", "convolutional"), ("max", "maxpool"), ("avg", "avgpool")])
def test_synonyms_of_sections(short: str, long: str) -> None:
    """darknet's short spellings; the long one is written."""
    assert parse(f"[{short}]\n") == parse(f"[{long}]\n")
    assert parse(f"[{short}]\n").to_text() == f"{NET}\n[{long}]\n"


# values


@pytest.mark.parametrize(("text", "value"), [("64", 64), ("64.0", 64), ("64.", 64), ("+64", 64), ("064", 64)])
def test_integers(text: str, value: int) -> None:
    """Integers may have a point without decimals; darknet's atoi reads them so."""
    assert conv(f"filters={text}").filters == value


@pytest.mark.parametrize("text", ["64#", "64#32", "64 # filters, 2,3"])
def test_a_comment_after_a_number(text: str) -> None:
    """darknet's atoi stops at the '#', so there are such cfgs; lists end there, too."""
    assert conv(f"filters={text}").filters == 64
    assert conv(f"clip={text}").clip == 64
    yolo = parse(f"[yolo]\nanchors=1,2,3,{text}\nnum=2\nmask=0,1#,2\n").layers[0]
    assert isinstance(yolo, Yolo)
    assert (yolo.anchors, yolo.mask) == ((1.0, 2.0, 3.0, 64.0), (0, 1))


@pytest.mark.parametrize("text", ["1e3", "abc", "2.5", "0x10", "1_000", "٣", "３", "1,2", "--1", "1-", "#", "nan"])
def test_other_than_integers(text: str) -> None:
    """darknet would read 1, 0, 2, 0, ... without an error."""
    assert message(f"{NET}[conv]\nfilters={text}").startswith(
        f"a.cfg:6: [convolutional] (layer 0) filters={text}: expected an integer of at least 1"
    )


@pytest.mark.parametrize(
    ("text", "value"),
    [(".1", 0.1), ("1.", 1), ("1e-3", 0.001), ("-2.5E+2", -250), ("+.5", 0.5), ("7", 7), ("0.1#", 0.1)],
)
def test_decimal_numbers(text: str, value: float) -> None:
    """All notations of C with a decimal point."""
    assert conv(f"clip={text}").clip == value


@pytest.mark.parametrize("text", ["0,5", "1e", "e5", ".", "nan", "inf", "1e39", "-1e39", "1_0.5", "٣.5", "9" * 400])
def test_other_than_decimal_numbers(text: str) -> None:
    """A decimal comma, other text, and what exceeds float32."""
    shown = text if len(text) < 60 else "9" * 60 + "..."
    assert message(f"{NET}[upsample]\nscale={text}") == (
        f"a.cfg:6: [upsample] (layer 0) scale={shown}: expected a decimal number, written like 0.5 or 1e-3"
    )


# messages: the whole text, as users see it


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("[conv]\nstride=0", "6: [convolutional] (layer 0) stride=0: expected an integer of at least 1"),
        (
            "[conv]\nfilters=99999999999",
            "6: [convolutional] (layer 0) filters=99999999999: expected an integer of at most 2147483647",
        ),
        (
            "[conv]\nstride_x=2147483648",
            "6: [convolutional] (layer 0) stride_x=2147483648: expected an integer of at most 2147483647",
        ),
        (
            "[conv]\nstride_x=-2147483648",
            "6: [convolutional] (layer 0) stride_x=-2147483648: expected an integer of at least -2147483647",
        ),
        ("[conv]\nstride_x=x", "6: [convolutional] (layer 0) stride_x=x: expected an integer"),
        (
            "[conv]\n[conv]\nactivation=leeky",
            "7: [convolutional] (layer 1) activation=leeky: expected one of linear, leaky, relu, logistic, mish, "
            "swish, hard_mish, elu, selu, gelu, tanh, relie, ramp, loggy, hardtan, lhtan, plse, stair, relu6, "
            "revleaky, silu; did you mean leaky?",
        ),
        (
            "[conv]\nstride=2 px; half",
            "6: [convolutional] (layer 0) stride=2px;half: expected an integer of at least 1; a comment needs a "
            "line of its own",
        ),
        ("[conv]\nxnor=1", "6: [convolutional] (layer 0) xnor=1: not supported: bit networks (xnor) are out of scope"),
        (
            "[conv]\nfilters=8\u200b",
            "6: [convolutional] (layer 0) filters=8\\u200b: expected an integer of at least 1",
        ),
        (
            HEAD.replace("1,2", "-1,2"),
            "6: [yolo] (layer 0) anchors=-1,2,3,4: expected a decimal number of at least 0, written like 0.5 or 1e-3",
        ),
        (
            "[upsample]\nstride=-2",
            "6: [upsample] (layer 0) stride=-2: expected an integer of at least 1",
        ),
        ("[route]\n", "5: [route] (layer 0) layers=(absent): expected the layers to route, such as layers=-1,61"),
        ("[route]\nlayers", "6: [route] (layer 0) layers=(absent): expected the layers to route, such as layers=-1,61"),
        ("[route]\nlayers=-1,", "6: [route] (layer 0) layers=-1,: expected an integer"),
        (
            "[route]\nlayers=-1\ngroup_id=2\ngroups=2",
            "7: [route] (layer 0) group_id=2: expected 0 to 1, as groups=2",
        ),
        ("[shortcut]\n", "5: [shortcut] (layer 0) from=(absent): expected the layer to add, such as from=-3"),
        (
            "[conv]\nshare_index=1",
            "6: [convolutional] (layer 0) share_index=1: not supported: weights that layers share",
        ),
        (
            "[yolo]\nanchors=1,2\nnms_kind=greedynmss",
            "7: [yolo] (layer 0) nms_kind=greedynmss: expected one of default, greedynms, diounms; did you mean "
            "greedynms?",
        ),
        (
            "[scale_channels]\n",
            "5: [scale_channels] (layer 0) from=(absent): expected the layer to multiply with, such as from=-4",
        ),
        ("[sam]\n", "5: [sam] (layer 0) from=(absent): expected the layer to multiply with, such as from=-4"),
        (
            "[yolo]\nmask=6,7,8\nanchors=1,2\nnum=9",
            "6: [yolo] (layer 0) mask=6: there is no such anchor: the section has num=9 and 1 pairs of anchors, "
            "counted from 0",
        ),
        ("[yolo]\nnum=2\nanchors=1,2", "6: [yolo] (layer 0) num=2: anchors= lists only 1 pairs"),
        (
            "[yolo]\nnum=2",
            "5: [yolo] (layer 0) anchors=(absent): expected pairs of width and height, in pixels of the input",
        ),
        (
            "[region]\nnum=2",
            "5: [region] (layer 0) anchors=(absent): expected 2 pairs of positive width and height",
        ),
        ("[yolo]\nanchors=1,2,3", "6: [yolo] (layer 0) anchors=3 numbers: expected pairs of width and height"),
        (
            "[yolo]\nanchors=" + "1,2," * 20 + "0,2\nnum=21",
            "6: [yolo] (layer 0) anchors=1,2,1,2,1,2,1,2,1,2,1,2,1,2,1,2,1,2,1,2,1,2,1,2,1,2,1,2,1,2,...: width and "
            "height of anchor 20 must be positive",
        ),
        (
            "[yolo]\nanchors=1,2\nnms_kind=cornersnms",
            "7: [yolo] (layer 0) nms_kind=cornersnms: expected one of default, greedynms, diounms",
        ),
        ("[region]\ncoords=5", "6: [region] (layer 0) coords=5: expected 4"),
        (
            "[region]\nanchors=1,2\nnum=2\nsoftmax=1",
            "6: [region] (layer 0) anchors=1,2: expected 2 pairs of positive width and height",
        ),
        (
            "[region]\nanchors=1,2",
            "5: [region] (layer 0) softmax=0: versions of darknet disagree on it: only softmax=1 is unambiguous",
        ),
        (
            "[conv]\n[Yolo]",
            "6: [Yolo] (layer 1) is not a section of darknet's detectors; did you mean [yolo]? Accepted, in this "
            "spelling: [convolutional] [maxpool] [avgpool] [upsample] [route] [shortcut] [scale_channels] [sam] "
            "[reorg] [reorg3d] [dropout] [yolo] [region]",
        ),
        ("[net]\nwidth=3", "5: [net] (layer 0): a second [net]; a cfg describes one network"),
        ("[Gaussian_yolo]", "5: [Gaussian_yolo] (layer 0) is out of scope: boxes with uncertainties"),
    ],
)
def test_messages(body: str, expected: str) -> None:
    """File, line, section, layer, key, the value, what was expected."""
    assert message(NET + body) == f"a.cfg:{expected}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "1: no section at all; the first section of a cfg is [net]"),
        ("# only a comment\n", "1: no section at all; the first section of a cfg is [net]"),
        ("\nwidth=3\n[net]\n", "2: width=3 is before the first section; start with [net]"),
        ("\x89PNG\r\n\x1a\n", "1: \\x89PNG is before the first section; start with [net]"),
        ("\n[conv]\n[net]\n", "2: [conv]; the first section of a cfg is [net]"),
        ("[Net]\nwidth=3\n", "1: [Net]; the first section of a cfg is [net]"),
        ("[net]#x\n", "1: [net]#x; the first section of a cfg is [net]"),
        ("[net]\nwidth=64\n", "1: [net] height=(absent): expected the input size: width, height and channels"),
        ("[net]\nwidth=0\n", "2: [net] width=0: expected an integer of at least 1"),
        (
            NET + "inputs=5\n",
            "5: [net] inputs=5: not supported: the input is an image: set width, height and channels",
        ),
        (NET + "contrastive=1\n", "5: [net] contrastive=1: not supported: contrastive learning is out of scope"),
    ],
)
def test_messages_about_net(text: str, expected: str) -> None:
    """The same for the first section, and for files that are not cfgs."""
    assert message(text) == f"a.cfg:{expected}"


def test_a_comment_after_a_word() -> None:
    """darknet would take the unknown activation `leaky#x` for ReLU."""
    got = message(f"{NET}[conv]\nactivation=leaky # x")
    assert got.startswith("a.cfg:6: [convolutional] (layer 0) activation=leaky#x: expected one of linear, leaky, relu")
    assert got.endswith("; a comment needs a line of its own")
    got = message(f"{NET}[route] # to the neck\nlayers=-1")
    assert got.startswith("a.cfg:5: [route]#totheneck (layer 0) is not a section of darknet's detectors; a comment")


@pytest.mark.parametrize("name", ["CONV", "Route", "yol", "dropuot", "[route]", "route]x", "", "unknown", "route="])
def test_other_sections(name: str) -> None:
    """Names are exact: case, closing bracket and all."""
    got = message(f"{NET}[conv]\n[{name}]")
    assert got.startswith(f"a.cfg:6: [{name}] (layer 1) is not a section of darknet's detectors")
    assert ("did you mean [" in got) == (name not in ("", "unknown"))


def test_a_section_without_its_bracket() -> None:
    """A line that begins with a bracket is a section name as a whole."""
    assert message(f"{NET}[route\nlayers=-1").startswith("a.cfg:5: [route (layer 0) is not a section of darknet's")


@pytest.mark.parametrize("name", OUT_OF_SCOPE)
def test_out_of_scope(name: str) -> None:
    """Sections of other darknet networks say what they are; none of them is also accepted."""
    assert message(f"{NET}[conv]\n[{name}]\n") == f"a.cfg:6: [{name}] (layer 1) is out of scope: {OUT_OF_SCOPE[name]}"
    assert name not in SECTIONS


@pytest.mark.parametrize("kind", dict.fromkeys(SECTIONS.values()))
def test_refused_keys(kind: type[Section]) -> None:
    """A refused key may be in a cfg with its default; any other value is an error with a reason."""
    for f in kind.fields():
        if f.metadata["refuse"] is None:
            continue
        key = f.name.rstrip("_")
        if f.default != "":
            assert f"{key}=" not in message_or_nothing(f"{NET}[{kind.NAMES[0]}]\n{key}={f.default}\n")
        got = message(f"{NET}[{kind.NAMES[0]}]\n{key}=1234567\n")
        assert got == f"a.cfg:6: [{kind.NAMES[0]}] (layer 0) {key}=1234567: not supported: {f.metadata['refuse']}"


def message_or_nothing(text: str) -> str:
    """The message about `text`, empty if it is fine."""
    try:
        parse_cfg(text)
    except CfgError as error:
        return str(error)
    return ""


def test_unknown_keys_are_noted_once() -> None:
    """One note for each key of a kind of section, with its lines, the first eight of them."""
    cfg = parse("[conv]\nfliters=8\nbeta1=3\n[upsample]\nfliters=8\n" + "[conv]\nfliters=16\n" * 9)
    assert cfg.layers[0] == Convolutional()
    assert cfg.notes == (
        "a.cfg: [convolutional] fliters: unknown key without effect (line 6, 11, 13, 15, 17, 19, 21, 23, ...); "
        "did you mean filters?",
        "a.cfg: [convolutional] beta1: unknown key without effect (line 7)",
        "a.cfg: [upsample] fliters: unknown key without effect (line 9)",
    )
    assert parse_cfg(NET + "widht=3", "a.cfg").notes == (
        "a.cfg: [net] widht: unknown key without effect (line 5); did you mean width?",
    )


def test_keys_are_case_sensitive() -> None:
    """As in darknet. The note has the known key most like it."""
    cfg = parse("[conv]\nFilters=8\n")
    assert cfg.layers[0] == Convolutional(filters=1)
    assert cfg.notes == ("a.cfg: [convolutional] Filters: unknown key without effect (line 6); did you mean filters?",)


def test_defaults() -> None:
    """Those that surprise; AlexeyAB's darknet where the darknets differ."""
    body = "[conv]\n[maxpool]\nstride=3\n[upsample]\n[scale_channels]\nfrom=0\n[yolo]\nanchors=1,2\n"
    layers = parse(body + "[region]\nanchors=1,2\nsoftmax=1\n").layers
    for layer, expected in zip(layers, (Convolutional, Maxpool, Upsample, ScaleChannels, Yolo, Region), strict=True):
        assert isinstance(layer, expected)
    first, pool, up, scale, yolo, region = layers
    assert isinstance(first, Convolutional)
    assert (first.filters, first.size, first.strides, first.pixels_padded, first.activation) == (
        1,
        1,
        (1, 1),
        0,
        "logistic",
    )
    assert isinstance(pool, Maxpool)
    assert (pool.window, pool.strides, pool.pixels_padded) == (3, (3, 3), 2)
    assert isinstance(up, Upsample)
    assert (up.stride, up.scale) == (2, 1)
    assert isinstance(scale, ScaleChannels)
    assert (scale.activation, scale.scale_wh) == ("linear", 0)
    assert isinstance(yolo, Yolo)
    assert (yolo.classes, yolo.anchor_numbers, yolo.iou_normalizer, yolo.beta_nms, yolo.max) == (
        20,
        (0,),
        0.75,
        0.6,
        200,
    )
    assert isinstance(region, Region)
    assert (region.classes, region.coords, region.thresh) == (20, 4, 0.5)


def test_derived_values() -> None:
    """`pad` is a flag that beats `padding`; the strides; a 1x1 kernel has no dilation."""
    assert conv("size=5\npad=1\npadding=7").pixels_padded == 2
    assert conv("size=5\npad=0\npadding=7").pixels_padded == 7
    assert conv("size=4\npad=9").pixels_padded == 2
    assert conv("stride=3\nstride_x=2").strides == (3, 2)
    assert conv("stride=3\nstride_y=2").strides == (2, 3)
    assert conv("stride=3\nstride_y=0\nstride_x=-1").strides == (3, 3)
    assert conv("size=3\ndilation=4").kernel_dilation == 4
    assert conv("size=1\ndilation=4").kernel_dilation == 1
    yolo = parse("[yolo]\nmask = 2,0\nanchors=1,2, 3,4, 5.5,6\nnum=3").layers[0]
    assert isinstance(yolo, Yolo)
    assert yolo.pairs == ((5.5, 6), (1, 2))


def test_keys_of_darknets_own_cfgs_are_accepted() -> None:
    """What darknet's detection cfgs contain beyond the shipped ones; two of the keys it does not know itself."""
    text = """
[net]
batch=64
subdivisions=8
width=512
height=512
channels=3
momentum=0.949
decay=0.0005
angle=0
saturation = 1.5
exposure = 1.5
hue=.1
learning_rate=0.00261
burn_in=1000
max_batches = 500500
policy=steps
steps=-1,100,400000,450000
scales=.1,10,.1,.1
mosaic=1
letter_box=1
ema_alpha=0.9998
optimized_memory=0
track=0
time_steps=1
augment_speed=2
#23:104x104 54:52x52 85:26x26 104:13x13 for 416
[convolutional]
stopbackward=800
batch_normalize=1
filters=32
size=5
groups=1
stride=1
pad=0
activation=swish
[avgpool]
[convolutional]
filters=32
size=1
stride=1
activation=logistic
[scale_channels]
from=-3
[dropout]
probability=.0
[shortcut]
activation=leaky
from=-2
[route]
layers = -1
groups=2
group_id=1
[reorg3d]
stride=2
[sam]
from=-1
[reorg]
stride=2
[maxpool]
size=13
stride=1
[upsample]
stride=2
[yolo]
mask = 0,1,2
anchors = 12, 16, 19, 36, 40, 28, 36, 75, 76, 55, 72, 146, 142, 110, 192, 243, 459, 401
classes=80
num=9
jitter=.3
ignore_thresh = .7
truth_thresh = 1
random=1
resize=1.5
scale_x_y = 1.05
iou_thresh=0.213
cls_normalizer=1.0
iou_normalizer=0.07
obj_normalizer=0.4
objectness_smooth=1
uc_normalizer=0.07
iou_loss=ciou
nms_kind=greedynms
beta_nms=0.6
beta1=0.6
new_coords=1
max_delta=5
[region]
anchors =  0.57273, 0.677385, 1.87446, 2.06253, 3.33843, 5.47434, 7.88282, 3.52778, 9.77052, 9.16828
bias_match=1
classes=80
coords=4
num=5
softmax=1
jitter=.3
rescore=1
object_scale=5
noobject_scale=1
class_scale=1
coord_scale=1
absolute=1
thresh = .6
random=1
"""
    assert [note.split(":")[1] for note in parse_cfg(text, "a.cfg").notes] == [" [yolo] uc_normalizer", " [yolo] beta1"]


# files


def test_a_bare_name_finds_the_shipped_cfgs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From any folder; a file of that name in the folder comes first."""
    monkeypatch.chdir(tmp_path)
    shipped = sorted((ROOT / "config").glob("*.cfg"))
    for file in shipped:
        assert read_cfg(file.name) == read_cfg(f"config/{file.name}") == read_cfg(file)
        assert read_cfg(file.name).file == file.name
    (tmp_path / "yolov3.cfg").write_text(NET + "[conv]\n")
    assert read_cfg("yolov3.cfg") == parse("[conv]\n")


def test_a_missing_file_names_the_shipped_cfgs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a bare name is looked for among the shipped ones, not any path that ends like one."""
    monkeypatch.chdir(tmp_path)
    names = ", ".join(sorted(file.name for file in (ROOT / "config").glob("*.cfg")))
    for path in ("absent.cfg", "mine/config/yolov3.cfg", "../yolov3.cfg"):
        with pytest.raises(FileNotFoundError) as error:
            read_cfg(path)
        assert str(error.value) == f"{path}: no such file; give the path of a darknet .cfg or one of {names}"


def test_a_folder_is_refused(tmp_path: Path) -> None:
    """The message says that it is a folder."""
    with pytest.raises(ValueError, match="a folder; expected a darknet .cfg file"):
        read_cfg(tmp_path)


def test_notes_go_to_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """`read_cfg` logs what had no effect, and keeps it."""
    file = tmp_path / "a.cfg"
    file.write_text(NET + "[conv]\nfliters=8\nstride=\n")
    with caplog.at_level(logging.WARNING, logger="yolo"):
        cfg = read_cfg(file)
    assert caplog.messages == list(cfg.notes)
    assert len(cfg.notes) == 2


def test_any_bytes_are_read_or_refused(tmp_path: Path) -> None:
    """A file of any kind gives a cfg or a message with its name and a line."""
    file = tmp_path / "a.cfg"

    @examples(100)
    @given(st.sampled_from([b"", b"\xef\xbb\xbf", NET.encode(), NET.encode() + b"[conv]\n"]), st.binary())
    def attempt(start: bytes, rest: bytes) -> None:
        file.write_bytes(start + rest)
        try:
            read_cfg(file)
        except CfgError as error:
            refusal = str(error)
        else:
            return
        assert re.match(rf"{re.escape(str(file))}:[1-9][0-9]*: .", refusal)
        assert refusal.isprintable()

    attempt()


def test_errors_name_the_file_as_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that an editor jumps there."""
    monkeypatch.chdir(tmp_path)
    Path("sub").mkdir()
    Path("sub/a.cfg").write_text(NET + "[conv]\nstride=0\n")
    with pytest.raises(CfgError, match=r"^sub/a\.cfg:6: "):
        read_cfg("sub/a.cfg")


# back to text


def check_round_trip(cfg: Cfg) -> None:
    """Parsing the text gives the same cfg, which has the same text; unknown keys are kept with their values."""
    text = cfg.to_text()
    again = parse_cfg(text)
    assert again == cfg
    assert again.to_text() == text
    for before, after in zip((cfg.net, *cfg.layers), (again.net, *again.layers), strict=True):
        assert after.source.unknown == tuple(pair for pair in before.source.unknown if pair[1])


@pytest.mark.parametrize("file", CFGS, ids=lambda file: file.stem)
def test_round_trip_of_files(file: Path) -> None:
    """Every cfg at hand."""
    check_round_trip(read_cfg(file))


def test_the_shared_cfgs_were_there() -> None:
    """Skip, visibly, if the cfgs of published models were not tried."""
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} is not here: the round trip of the published cfgs was not tried")


def test_text() -> None:
    """Long names, the keys in the order of the file, values in one spelling, no comments."""
    net = "[network]\nheight=32.0\nwidth = 64 # x\nchannels=3\nhue=.1\nmy key = 1 = 2\n\n"
    text = net + "# c\n[conv]\nstride_x\npad=1\nsize=03\n"
    assert parse_cfg(text).to_text() == (
        "[net]\nheight=32\nwidth=64\nchannels=3\nhue=0.1\nmykey=1=2\n\n[convolutional]\npad=1\nsize=3\n"
    )


def test_text_of_sections_made_in_code() -> None:
    """What differs from the defaults is written."""
    cfg = Cfg(Net(width=64, height=32, channels=3), (Convolutional(filters=8), Route(layers=(-1, 0)), Maxpool(size=2)))
    assert cfg.to_text() == f"{NET}\n[convolutional]\nfilters=8\n\n[route]\nlayers=-1,0\n\n[maxpool]\nsize=2\n"
    check_round_trip(cfg)


def test_a_key_without_value_can_be_set_in_code() -> None:
    """`padding` without a value counts as absent, its default (-1: size - 1) is not written; another value is."""
    cfg = parse("[maxpool]\npadding\nsize=3\n")
    check_round_trip(cfg)
    pool = cfg.layers[0]
    assert isinstance(pool, Maxpool)
    assert cfg.to_text() == f"{NET}\n[maxpool]\nsize=3\n"
    changed = Cfg(cfg.net, (Maxpool(size=3, padding=1, source=pool.source),))
    assert changed.to_text() == f"{NET}\n[maxpool]\nsize=3\npadding=1\n"


POOL = ["0", "1", "2", "-1", "17.0", "+3", "0.5", ".25", "1e-3", "7#x", "leaky", "steps", "greedynms", "1,2", "3,4,5,6"]
NEEDED = {"net": NET[6:], "route": "layers=-1,2", "shortcut": "from=-1", "sam": "from=1", "scale_channels": "from=-4"}
NEEDED |= {"yolo": "anchors=1,2\nnum=1\nmask=0", "region": "softmax=1\nanchors=1,2\nnum=1"}
LETTERS = st.characters(exclude_characters="\n\r\t =", exclude_categories=["Cs"])
WORDS = st.text(LETTERS, min_size=1, max_size=8).filter(lambda text: text[0] not in "[#;")


def accepted(f: dataclasses.Field[Any]) -> list[str]:
    """Return the values of POOL that a field accepts."""

    def takes(text: str) -> bool:
        try:
            f.metadata["parse"](text)
        except ValueError:
            return False
        return True

    return [] if f.metadata["refuse"] is not None else [text for text in POOL if takes(text)]


KINDS: list[type[Section]] = [Net, *dict.fromkeys(SECTIONS.values())]
VALUES = {kind.NAMES[0]: {f.name.rstrip("_"): accepted(f) for f in kind.fields()} for kind in KINDS}


@st.composite
def sections(draw: st.DrawFn, names: st.SearchStrategy[str]) -> str:
    """A section with the keys it needs, others it knows, others nobody knows, repeated and empty ones, and blanks."""
    name = draw(names)
    known = sorted(key for key, values in VALUES[name].items() if values)
    lines = NEEDED.get(name, "").splitlines()
    for _ in range(draw(st.integers(0, 5))):
        what = draw(st.sampled_from(["known", "known", "known", "unknown", "bare", "empty", "comment"]))
        key = draw(WORDS) if what == "unknown" else draw(st.sampled_from(known))
        value = draw(st.text(LETTERS, max_size=5)) if what == "unknown" else draw(st.sampled_from(VALUES[name][key]))
        line = {"bare": key, "empty": f"{key}=", "comment": f"#{key}={value}"}.get(what, f"{key}={value}")
        if what != "bare" or key not in NEEDED.get(name, ""):
            lines.append(line)
    if draw(st.booleans()):
        lines = draw(st.permutations(lines))
    blank = draw(st.sampled_from(["", " ", "\t"]))
    return "\n".join(blank.join((*line, "")) for line in [f"[{name}]", *lines]) + "\n"


LAYERS = sections(st.sampled_from(sorted(VALUES.keys() - {"net"})))


@examples(80)
@given(sections(st.just("net")), st.lists(LAYERS, max_size=4))
def test_round_trip_of_any_cfg(net: str, layers: list[str]) -> None:
    """Every cfg that can be read is written so that it parses to the same."""
    try:
        cfg = parse_cfg("".join([net, *layers]))
    except CfgError:  # values that go together in no cfg
        reject()
    check_round_trip(cfg)
