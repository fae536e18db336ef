"""The plan of a network: shapes in tables that can be checked by eye, and what is refused before it is built.

Shapes are `(c, h, w)`. The input is 3 x 12 x 20 (not square: a swapped height and width shows) unless said otherwise.
"""

from __future__ import annotations

from fractions import Fraction

import pytest

from yolo.darknet.cfg import CfgError, parse_cfg
from yolo.darknet.plan import IMAGE, Plan, make_plan
from yolo.size import Size

NET = "[net]\nwidth=20\nheight=12\nchannels=3\n"  # four lines: what follows starts in line 5


def plan(body: str, net: str = NET) -> Plan:
    """The plan of a cfg whose layers are `body`."""
    return make_plan(parse_cfg(net + body, "a.cfg"))


def shapes(body: str, net: str = NET) -> list[tuple[int, int, int]]:
    """The outputs of all layers."""
    return [layer.output for layer in plan(body, net).layers]


def size_of(w: int, h: int, c: int = 3) -> str:
    """A `[net]` with an input of w x h x c."""
    return f"[net]\nwidth={w}\nheight={h}\nchannels={c}\n"


def section(name: str, keys: str) -> str:
    """`conv`, `size=3 pad=1` as a section."""
    return f"[{name}]\n" + "\n".join(keys.split()) + "\n"


@pytest.mark.parametrize(
    ("keys", "h", "w"),
    [
        ("size=1", 12, 20),
        ("size=3", 10, 18),  # no pad flag, no padding: the border is lost
        ("size=3 pad=1", 12, 20),
        ("size=3 pad=1 stride=2", 6, 10),
        ("size=3 pad=1 stride=5", 3, 4),  # floor(11 / 5) + 1, floor(19 / 5) + 1
        ("size=5 pad=1", 12, 20),  # a flag: padding is size // 2
        ("size=5 pad=1 padding=7", 12, 20),  # and overrides padding
        ("size=5 pad=0 padding=1", 10, 18),
        ("size=5 padding=1 stride=2", 5, 9),
        ("size=2 pad=1", 13, 21),
        ("size=1 padding=2", 16, 24),
        ("size=1 stride=2", 6, 10),
        ("size=3 pad=1 stride_x=2", 12, 10),
        ("size=3 pad=1 stride_y=2", 6, 20),
        ("size=3 pad=1 stride=4 stride_y=1", 12, 5),
        ("size=3 pad=1 dilation=3", 12, 20),  # the formula does not know the dilation
        ("size=3 pad=1 dilation=3 stride=2", 6, 10),
        ("size=1 dilation=3", 12, 20),
        ("size=12", 1, 9),
        ("size=13 padding=1", 2, 10),
    ],
)
def test_convolution(keys: str, h: int, w: int) -> None:
    """floor((in + 2 padding - size) / stride) + 1."""
    assert shapes(section("conv", f"filters=7 {keys}")) == [(7, h, w)]


@pytest.mark.parametrize(
    ("keys", "floats", "flops"),
    [
        ("size=1", 6 + 6 * 8, 2 * 6 * 8 * 240),  # biases, weights; times 12 x 20 places
        ("size=3 pad=1", 6 + 6 * 8 * 9, 2 * 6 * 8 * 9 * 240),
        ("size=3 pad=1 stride=2", 6 + 6 * 8 * 9, 2 * 6 * 8 * 9 * 60),
        ("size=3 pad=1 batch_normalize=1", 4 * 6 + 6 * 8 * 9, 2 * 6 * 8 * 9 * 240),  # and scales, means, variances
        ("size=3 pad=1 groups=2", 6 + 6 * 4 * 9, 2 * 6 * 4 * 9 * 240),
    ],
)
def test_floats_and_operations(keys: str, floats: int, flops: int) -> None:
    """n·(c/groups)·size² weights and n or 4n others; two operations for each weight and place."""
    result = plan(section("conv", "filters=8") + section("conv", f"filters=6 {keys}") + "[maxpool]\n")
    assert [(layer.floats, layer.flops) for layer in result.layers[1:]] == [(floats, flops), (0, 0)]
    first = 8 + 8 * 3
    assert result.floats == first + floats
    assert result.flops == 2 * 8 * 3 * 240 + flops


@pytest.mark.parametrize(
    ("keys", "size", "result"),
    [
        # w and h of the input, w and h of the output: ceil(in / stride) with the default padding of size - 1
        ("size=2 stride=2", (20, 12), (10, 6)),
        ("size=2 stride=2", (21, 13), (11, 7)),
        ("size=2 stride=2", (1, 1), (1, 1)),
        ("stride=2", (21, 13), (11, 7)),  # size is the stride
        ("size=2 stride=1", (13, 7), (13, 7)),  # yolov3-tiny's layer 11
        ("size=3 stride=2", (20, 12), (10, 6)),
        ("size=3 stride=2", (21, 13), (11, 7)),
        ("size=5 stride=1", (13, 7), (13, 7)),  # spatial pyramid pooling
        ("size=13 stride=1", (13, 7), (13, 7)),
        ("size=13 stride=1", (3, 2), (3, 2)),
        ("", (13, 7), (13, 7)),
        ("size=3", (13, 7), (13, 7)),
        ("size=3 stride_x=2", (13, 7), (7, 7)),
        ("size=3 stride=3 stride_y=1", (13, 7), (5, 7)),
        # floor((in + padding - size) / stride) + 1
        ("size=2 stride=2 padding=0", (21, 13), (10, 6)),
        ("size=3 stride=1 padding=0", (13, 7), (11, 5)),
        ("size=3 stride=2 padding=1", (20, 12), (10, 6)),
        ("size=3 stride=1 padding=4", (13, 7), (15, 9)),
    ],
)
def test_maxpool(keys: str, size: tuple[int, int], result: tuple[int, int]) -> None:
    """`padding` counts both sides together."""
    assert shapes(section("maxpool", keys), size_of(*size)) == [(3, result[1], result[0])]


def test_upsample_and_avgpool() -> None:
    """Height and width times the stride, by default 2; one cell."""
    assert shapes("[upsample]\n[upsample]\nstride=3\n[avgpool]\n") == [(3, 24, 40), (3, 72, 120), (3, 1, 1)]


def test_route() -> None:
    """Relative and absolute sources, in the order given; a slice of each with groups."""
    body = "[conv]\nfilters=8\n[conv]\nfilters=4\n[route]\nlayers=-1,0\n[route]\nlayers=0\n"
    body += "[route]\nlayers=-2,1\ngroups=4\ngroup_id=3\n"
    result = plan(body)
    assert [layer.sources for layer in result.layers] == [(IMAGE,), (0,), (1, 0), (0,), (2, 1)]
    assert [layer.output[0] for layer in result.layers] == [8, 4, 12, 8, 3 + 1]
    assert [layer.inputs for layer in result.layers[2:]] == [
        ((4, 12, 20), (8, 12, 20)),
        ((8, 12, 20),),
        ((12, 12, 20), (4, 12, 20)),
    ]


def test_shortcut() -> None:
    """The output is shaped like the input, whatever channels the sources have; several sources."""
    result = plan(
        "[conv]\nfilters=8\n[conv]\nfilters=4\n[shortcut]\nfrom=-2\n[conv]\nfilters=16\n[shortcut]\nfrom=0,-2\n"
    )
    assert [layer.sources for layer in result.layers] == [(IMAGE,), (0,), (1, 0), (2,), (3, 0, 2)]
    assert [layer.output[0] for layer in result.layers] == [8, 4, 4, 16, 16]


def test_scale_channels() -> None:
    """The output is shaped like `from`; one factor per channel, or one per place with `scale_wh`."""
    body = "[conv]\nfilters=8\nstride=2\n[avgpool]\n[scale_channels]\nfrom=-2\n"
    result = plan(body + "[conv]\n[scale_channels]\nfrom=2\nscale_wh=1\n")
    assert [layer.output for layer in result.layers] == [(8, 6, 10), (8, 1, 1), (8, 6, 10), (1, 6, 10), (8, 6, 10)]
    assert [layer.sources for layer in result.layers] == [(IMAGE,), (0,), (1, 0), (2,), (3, 2)]
    assert result.layers[4].stride == (2, 2)


def test_sam() -> None:
    """Equal shapes."""
    result = plan("[conv]\nfilters=8\n[conv]\nfilters=8\n[sam]\nfrom=0\n")
    assert (result.layers[2].sources, result.layers[2].output) == ((1, 0), (8, 12, 20))


@pytest.mark.parametrize("name", ["reorg", "reorg3d"])
def test_reorg(name: str) -> None:
    """Places become channels."""
    assert shapes(f"[conv]\nfilters=8\n[{name}]\nstride=2\n") == [(8, 12, 20), (32, 6, 10)]
    assert shapes(f"[conv]\nfilters=8\n[{name}]\n") == [(8, 12, 20), (8, 12, 20)]
    assert plan(f"[conv]\nfilters=16\n[{name}]\nstride=4\n").layers[1].stride == (4, 4)


def test_dropout_is_read_in_place_of_the_layer_before() -> None:
    """It works on that layer's buffer: whoever names the layer finds what dropout left, chains of them too."""
    body = "[conv]\nfilters=8\n[dropout]\n[route]\nlayers=-2\n[dropout]\n[dropout]\n[conv]\nfilters=8\n"
    result = plan(body + "[shortcut]\nfrom=2\n[route]\nlayers=0,1\n[dropout]\n[route]\nlayers=7\n")
    assert [layer.sources for layer in result.layers] == [
        (IMAGE,),
        (0,),  # the dropout itself reads the convolution
        (1,),  # the route names layer 0
        (2,),
        (3,),
        (4,),
        (5, 4),  # the shortcut names layer 2, which two dropouts follow
        (1, 1),
        (7,),
        (8,),
    ]
    assert {layer.output[1:] for layer in result.layers} == {(12, 20)}


def test_last_use() -> None:
    """The last layer that reads each layer; its own index if no layer does."""
    body = "[conv]\nfilters=8\n" * 2 + "[shortcut]\nfrom=0\n[conv]\n[conv]\nfilters=6\n"
    body += "[yolo]\nclasses=1\nanchors=1,2\n[route]\nlayers=2\n[conv]\n"
    result = plan(body)
    assert result.last_use == (2, 2, 6, 4, 5, 5, 7, 7)
    for layer in result.layers:
        assert all(result.last_use[k] >= layer.index for k in layer.sources if k != IMAGE)


def test_strides_of_the_heads() -> None:
    """Input pixels per cell follow from the layers, in y and x, at any input size."""
    head = "[conv]\nfilters=6\n[yolo]\nclasses=1\nanchors=1,2\n"
    body = "[conv]\nstride=2\nsize=3\npad=1\n[maxpool]\nstride=2\n[conv]\nfilters=4\nstride_y=3\n" + head
    body += "[route]\nlayers=2\n[upsample]\nstride=4\n" + head
    body += "[route]\nlayers=2\n[reorg3d]\nstride=2\n" + head
    for net in (size_of(48, 48), size_of(96, 144)):
        result = plan(body, net)
        strides = [result.layers[k].stride for k in result.cfg.heads]
        assert strides == [(12, 4), (3, 1), (24, 8)]
        assert [result.layers[k].output[1:] for k in result.cfg.heads] == [
            (result.size[0] // y, result.size[1] // x) for y, x in strides
        ]
    up = plan("[upsample]\nstride=3\n[conv]\nstride=2\n")
    assert up.layers[1].stride == (Fraction(2, 3), Fraction(2, 3))


def test_another_size() -> None:
    """A size that is given, height first, counts instead of the cfg's own; the parameters stay."""
    cfg = parse_cfg(NET + "[conv]\nfilters=4\nsize=3\npad=1\nstride=2\n[maxpool]\nstride=2\n")
    assert (make_plan(cfg).size, make_plan(cfg, (12, 20)).size) == ((12, 20), (12, 20))
    other = make_plan(cfg, (32, 8))
    assert [layer.output for layer in other.layers] == [(4, 16, 4), (4, 8, 2)]
    assert other.floats == make_plan(cfg).floats


def test_heads_read_anchors_times_classes_and_five() -> None:
    """The channels before a head, which pass through it."""
    body = "[conv]\nfilters=21\n[yolo]\nmask=0,2,3\nclasses=2\nnum=4\nanchors=1,1,2,2,3,3,4,4\n"
    body += "[route]\nlayers=0\n[conv]\nfilters=14\n[region]\nsoftmax=1\nclasses=2\nnum=2\nanchors=1,1,2,2\n"
    result = plan(body)
    assert result.cfg.heads == (1, 4)
    assert [result.layers[k].output for k in result.cfg.heads] == [(21, 12, 20), (14, 12, 20)]


TWO_CONVS = "[conv]\nfilters=8\n[conv]\nfilters=4\nstride=2\n"  # lines 5 to 9
HEAD = "[conv]\nfilters=6\n[yolo]\nclasses=1\nanchors=1,2\n"  # lines 5 to 9


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("", "1: [net] no layer follows it; was the file cut short?"),
        ("[route]\nlayers=-1\n", "6: [route] (layer 0) layers=-1 means layer -1; there is no layer before this one"),
        (
            TWO_CONVS + "[route]\nlayers=-1,-3\n",
            "11: [route] (layer 2) layers=-3 means layer -1; expected a layer from 0 to 1",
        ),
        (
            TWO_CONVS + "[route]\nlayers=3\n[conv]\n",
            "11: [route] (layer 2) layers=3 means layer 3; expected a layer from 0 to 1",
        ),
        (
            TWO_CONVS + "[shortcut]\nfrom=2\n",
            "11: [shortcut] (layer 2) from=2 means layer 2; expected a layer from 0 to 1",
        ),
        (
            TWO_CONVS + "[sam]\nactivation=linear\nfrom=-2147483646",
            "12: [sam] (layer 2) from=-2147483646 means layer -2147483644; expected a layer from 0 to 1",
        ),
        (
            HEAD + "[conv]\n",
            "10: [convolutional] (layer 2) reads layer 1, a [yolo] head; start a new branch with [route] before it",
        ),
        (HEAD + "[route]\nlayers=0,1\n", "11: [route] (layer 2) reads layer 1, a [yolo] head; name another layer"),
        (
            HEAD + "[route]\nlayers=0\n[shortcut]\nfrom=-2\n",
            "13: [shortcut] (layer 3) reads layer 1, a [yolo] head; name another layer",
        ),
        (
            HEAD + "[shortcut]\nfrom=0\n",
            "10: [shortcut] (layer 2) reads layer 1, a [yolo] head; start a new branch with [route] before it",
        ),
        (
            "[conv]\nfilters=255\n[yolo]\nclasses=1\nanchors=1,2,3,4,5,6\nnum=3\n",
            "8: [yolo] (layer 1) reads 255 channels; expected 18 = 3 anchors x (5 + 1 classes): set filters=18 in the "
            "[convolutional] section before it, or its classes",
        ),
        (
            "[region]\nsoftmax=1\nanchors=1,2\n",
            "5: [region] (layer 0) reads 3 channels; expected 25 = 1 anchors x (5 + 20 classes): set filters=25 in the "
            "[convolutional] section before it, or its classes",
        ),
        (
            HEAD + "[route]\nlayers=0\n[conv]\nfilters=7\n[yolo]\nclasses=2\nanchors=1,2\n",
            "15: [yolo] (layer 4) classes=2, but the head at layer 1 has 1; all heads need the same",
        ),
        (
            TWO_CONVS + "[route]\nlayers=0,1\n",
            "11: [route] (layer 2) joins outputs of unequal height and width: 8x12x20, 4x6x10; name other layers",
        ),
        (
            TWO_CONVS + "[shortcut]\nfrom=0\n",
            "11: [shortcut] (layer 2) joins outputs of unequal height and width: 4x6x10, 8x12x20; name other layers",
        ),
        (
            TWO_CONVS + "[sam]\nfrom=0\n",
            "11: [sam] (layer 2) multiplies 4x6x10 by 8x12x20; expected equal shapes",
        ),
        (
            TWO_CONVS + "[scale_channels]\nfrom=0\n",
            "11: [scale_channels] (layer 2) expected an input of 8x1x1 (one factor per channel), got 4x6x10",
        ),
        (
            TWO_CONVS + "[scale_channels]\nfrom=0\nscale_wh=1\n",
            "12: [scale_channels] (layer 2) scale_wh=1 needs one channel of 12x20, got 4x6x10",
        ),
        (
            "[conv]\nfilters=4\ngroups=2\n",
            "7: [convolutional] (layer 0) groups=2 does not divide the 3 input channels",
        ),
        ("[conv]\nfilters=4\ngroups=3\n", "6: [convolutional] (layer 0) groups=3 does not divide the 4 filters"),
        (
            TWO_CONVS + "[route]\nlayers=-1\ngroups=3\n",
            "12: [route] (layer 2) groups=3 does not divide the 4 channels of a source",
        ),
        (
            "[conv]\nsize=3\ndilation=2\n",
            "7: [convolutional] (layer 0) dilation=2 with size=3 needs an odd size and a padding of (size - 1) / 2, "
            "got 0: otherwise darknet's output size is wrong",
        ),
        (
            "[conv]\nsize=4\ndilation=2\npad=1\n",
            "7: [convolutional] (layer 0) dilation=2 with size=4 needs an odd size and a padding of (size - 1) / 2, "
            "got 2: otherwise darknet's output size is wrong",
        ),
        (
            "[maxpool]\nsize=2\npadding=5\n",
            "7: [maxpool] (layer 0) padding=5 leaves windows of size 2 without a cell of the input",
        ),
        (
            "[maxpool]\nsize=1\nstride=3\npadding=1\n",  # five windows, the last of which starts at row 12 of 12
            "8: [maxpool] (layer 0) padding=1 leaves windows of size 1 without a cell of the input",
        ),
        (
            "[maxpool]\nsize=2147483647\nstride=1\n",
            "6: [maxpool] (layer 0) pads its input to 3x2147483658x2147483666, more than 2147483647 elements",
        ),
        (
            "[reorg]\nstride=2\n",
            "6: [reorg] (layer 0) stride=2 needs a multiple of 4 channels, got the input 3x12x20",
        ),
        (
            "[conv]\nfilters=25\n[reorg]\nstride=5\n",
            "8: [reorg] (layer 1) stride=5 does not divide the height and width of its input 25x12x20; use an input "
            "size that the strides divide (a multiple of 5, such as 20x15)",
        ),
        (
            "[reorg3d]\nstride=5\n",
            "6: [reorg3d] (layer 0) stride=5 does not divide the height and width of its input 3x12x20; use an input "
            "size that the strides divide (a multiple of 5, such as 20x15)",
        ),
        (
            "[conv]\nsize=13\n",
            "5: [convolutional] (layer 0) nothing is left: the output would be 1x0x8; use a larger input",
        ),
        (
            "[conv]\nsize=99\nstride=7\n",
            "5: [convolutional] (layer 0) nothing is left: the output would be 1x-12x-11; use a larger input",
        ),
        (
            "[maxpool]\nsize=14\npadding=1\n",
            "5: [maxpool] (layer 0) nothing is left: the output would be 3x0x8; use a larger input",
        ),
        (
            "[conv]\nfilters=8947849\n",  # 8947849 x 12 x 20 = 2147483760
            "5: [convolutional] (layer 0) the output would be 8947849x12x20, more than 2147483647 elements per image",
        ),
        (
            "[upsample]\nstride=1000\n[upsample]\nstride=1000\n",
            "7: [upsample] (layer 1) the output would be 3x12000000x20000000, more than 2147483647 elements per image",
        ),
        (
            "[conv]\nstride=65536\n" * 2,
            "8: [convolutional] (layer 1) a cell of its output would be 4.29497e+09 x 4.29497e+09 pixels of the input",
        ),
    ],
)
def test_messages(body: str, expected: str) -> None:
    """File, line (of the key at fault if it is given), section, layer, what does not fit, what would."""
    with pytest.raises(CfgError) as error:
        plan(body)
    assert str(error.value) == f"a.cfg:{expected}"


def test_the_input_may_be_too_large_or_empty() -> None:
    """The image counts like an output."""
    for size, problem in (
        ((40000, 40000), "the output would be 3x40000x40000, more than 2147483647 elements per image"),
        ((0, 8), "nothing is left: the output would be 3x0x8; use a larger input"),
    ):
        with pytest.raises(CfgError) as error:
            make_plan(parse_cfg(NET + "[conv]\n", "a.cfg"), size)
        assert str(error.value) == f"a.cfg:1: [net] {problem}"


def test_the_largest_output() -> None:
    """2^31 - 1 elements are accepted, and planned without being allocated."""
    assert plan("[conv]\nfilters=2147483647\n", size_of(1, 1)).floats == 4 * 2147483647


def test_long_chains_are_planned_quickly() -> None:
    """Ten thousand layers, and a route with a hundred thousand sources: no step looks at all earlier ones."""
    assert len(plan("[upsample]\nstride=1\n[dropout]\n" * 5000).layers) == 10_000
    sources = ",".join(["0"] * 100_000)
    assert plan(f"[conv]\nfilters=2\n[route]\nlayers={sources}\n").layers[1].output == (200_000, 12, 20)


def test_a_size_that_the_strides_do_not_divide() -> None:
    """The message for yolov3 at 400 x 400: the layer at which 25 does not meet 26, and the remedy."""
    body = "[conv]\nfilters=2\nstride=16\nsize=3\npad=1\n[conv]\nstride=2\nsize=3\npad=1\n"
    body += "[upsample]\n[route]\nlayers=-1,0\n"
    assert shapes(body, size_of(416, 416))[-1] == (3, 26, 26)
    with pytest.raises(CfgError) as error:
        plan(body, size_of(400, 400))
    assert str(error.value) == (
        "a.cfg:16: [route] (layer 3) joins outputs of unequal height and width: 1x26x26, 2x25x25; use an input size "
        "that the strides divide (a multiple of 32, such as 416x416)"
    )


@pytest.mark.parametrize(
    ("size", "remedy"),
    [
        ((416, 416), "(a multiple of 64, such as 448x448)"),
        ((64, 70), "(a multiple of 64, such as 64x128)"),
    ],
)
def test_the_multiple_is_that_of_the_whole_network(size: tuple[int, int], remedy: str) -> None:
    """Six strides of 2 need 64, also where they come after the layer that fails; the size that is named is planned."""
    down = "[conv]\nfilters=2\nsize=3\nstride=2\npad=1\n"
    body = down * 6 + "[upsample]\n[route]\nlayers=-1,4\n"
    with pytest.raises(CfgError) as error:
        plan(body, size_of(*size))
    assert str(error.value).endswith(f"use an input size that the strides divide {remedy}")
    named = Size.parse(remedy.rpartition(" ")[2].rstrip(")"))
    assert plan(body, size_of(*named.wh))
    later = down * 2 + "[upsample]\n[route]\nlayers=-1,0\n" + down * 5
    with pytest.raises(CfgError, match=r"a multiple of 64, such as 64x64"):
        plan(later, size_of(50, 50))


def test_no_multiple_is_named_that_does_not_fit() -> None:
    """Without padding no size fits: other layers are the remedy."""
    body = "[conv]\nfilters=2\nsize=3\nstride=2\n[upsample]\n[conv]\nsize=3\n[route]\nlayers=-1,0\n"
    with pytest.raises(CfgError, match=r"unequal height and width: .*; name other layers$"):
        plan(body, size_of(41, 41))
