"""Every cfg at hand builds, and those of darknet have the float counts, operations and grids that darknet gives them.

`pytest tests/darknet/test_counts.py --cfgs=FOLDER` does it for the cfgs of a folder, say darknet's own `cfg/`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.paths import GOLDEN, ROOT
from yolo.darknet.cfg import CfgError, read_cfg
from yolo.darknet.network import Darknet
from yolo.darknet.plan import make_plan

SHARED = ROOT / ".." / "shared"
FOLDERS = [ROOT / "config", GOLDEN / "nets", SHARED / "data" / "darknet", SHARED / "golden" / "nets"]

# side of the input, float32 values, 10^9 operations of the convolutions as darknet prints them, cells of the heads
TABLE = {
    "yolov2-tiny-voc.cfg": (416, 15_867_885, "6.971", "13"),
    "yolov2-tiny.cfg": (416, 11_237_145, "5.406", "13"),
    "yolov2-voc.cfg": (416, 50_676_061, "29.360", "13"),
    "yolov2.cfg": (416, 50_983_561, "29.464", "13"),
    "yolov3-openimages.cfg": (608, 64_807_342, "148.781", "19,38,76"),
    "yolov3-spp.cfg": (608, 63_052_381, "141.449", "19,38,76"),
    "yolov3-tiny-prn.cfg": (416, 4_939_758, "3.461", "13,26"),
    "yolov3-tiny.cfg": (416, 8_858_734, "5.565", "13,26"),
    "yolov3-tiny_3l.cfg": (608, 9_009_967, "15.160", "19,38,76"),
    "yolov3-tiny_obj.cfg": (416, 8_858_734, "5.565", "13,26"),
    "yolov3-voc.cfg": (416, 61_678_657, "65.428", "13,26,52"),
    "yolov3-voc.yolov3-giou-40.cfg": (416, 61_678_657, "65.428", "13,26,52"),
    "yolov3.cfg": (416, 62_001_757, "65.864", "13,26,52"),
    "yolov3.coco-giou-12.cfg": (608, 62_001_757, "140.692", "19,38,76"),
    "yolov3_5l.cfg": (416, 62_399_771, "79.412", "13,26,52,104,208"),
    "yolov4-csp-s-mish.cfg": (640, 8_291_165, "20.890", "80,40,20"),
    "yolov4-csp-swish.cfg": (640, 52_986_205, "120.240", "80,40,20"),
    "yolov4-csp-x-mish.cfg": (640, 99_847_037, "221.885", "80,40,20"),
    "yolov4-csp-x-swish-frozen.cfg": (640, 99_847_037, "221.885", "80,40,20"),
    "yolov4-csp-x-swish.cfg": (640, 99_847_037, "221.885", "80,40,20"),
    "yolov4-csp.cfg": (512, 52_986_205, "76.953", "64,32,16"),
    "yolov4-custom.cfg": (608, 64_429_405, "128.389", "76,38,19"),
    "yolov4-p5-frozen.cfg": (896, 70_917_468, "326.643", "112,56,28"),
    "yolov4-p5.cfg": (896, 70_917_468, "326.643", "112,56,28"),
    "yolov4-p6.cfg": (1280, 127_717_040, "717.020", "160,80,40,20"),
    "yolov4-sam-mish-csp-reorg-bfm.cfg": (512, 61_562_973, "84.268", "64,32,16"),
    "yolov4-tiny-3l.cfg": (608, 6_334_045, "17.735", "19,38,76"),
    "yolov4-tiny-custom.cfg": (416, 6_062_814, "6.908", "13,26"),
    "yolov4-tiny.cfg": (416, 6_062_814, "6.908", "13,26"),
    "yolov4.cfg": (608, 64_429_405, "128.389", "76,38,19"),
    "yolov4_new.cfg": (608, 64_429_405, "128.389", "76,38,19"),
    "yolov4x-mish.cfg": (640, 99_847_037, "221.885", "80,40,20"),
    "yolov7-tiny.cfg": (416, 6_241_885, "5.789", "52,26,13"),
    "yolov7.cfg": (640, 36_974_557, "104.511", "80,40,20"),
    "yolov7x.cfg": (640, 71_409_685, "189.674", "80,40,20"),
    "enet-coco.cfg": (416, 4_808_270, "3.730", "13,26"),
    "csresnext50-panet-spp-original-optimal.cfg": (608, 57_030_845, "100.532", "76,38,19"),
    "csresnext50-panet-spp.cfg": (512, 57_030_845, "71.291", "64,32,16"),
    "tiny-yolo-voc.cfg": (416, 15_867_885, "6.971", "13"),
    "tiny-yolo.cfg": (416, 16_175_385, "7.075", "13"),
    "yolo-voc.2.0.cfg": (416, 67_158_109, "34.898", "13"),
    "yolo-voc.cfg": (416, 50_676_061, "29.360", "13"),
    "yolo.cfg": (416, 50_983_561, "29.464", "13"),
    "yolo.2.0.cfg": (416, 67_465_609, "35.002", "13"),
    "yolo-fastest-xl.cfg": (320, 912_686, "0.720", "10,20"),
    "yolo-fastest.cfg": (320, 356_406, "0.256", "10,20"),
    "yolo-fastest-1.1_body.cfg": (320, 294_396, "0.224", "10,20"),
    "yolo-fastest-1.1-xl.cfg": (320, 923_486, "0.723", "10,20"),
    "yolo-fastest-1.1.cfg": (320, 346_062, "0.251", "10,20"),
}

# sections of our own cfgs, and some outputs (layer: channels, cells) at the cfg's own size
SHAPES = {
    "yolov2": (32, {16: (512, 26), 24: (1024, 13), 25: (512, 26), 27: (256, 13), 28: (1280, 13), 31: (425, 13)}),
    "yolo-voc": (32, {22: (1024, 13), 27: (256, 13), 28: (1280, 13), 31: (125, 13)}),
    "yolov2-tiny": (16, {10: (512, 13), 11: (512, 13), 13: (512, 13), 15: (425, 13)}),
    "yolov2-tiny-voc": (16, {11: (512, 13), 13: (1024, 13), 15: (125, 13)}),
    "yolov3-openimages": (107, {36: (256, 76), 61: (512, 38), 74: (1024, 19), 106: (1818, 76)}),
    "yolov4-tiny": (38, {8: (128, 104), 16: (256, 52), 23: (256, 26), 24: (512, 26), 28: (512, 13), 34: (384, 26)}),
    "yolov4": (162, {10: (64, 304), 54: (256, 76), 85: (512, 38), 104: (1024, 19), 113: (2048, 19), 138: (255, 76)}),
    "yolov4x-mish": (203, {20: (160, 160), 57: (320, 80), 94: (640, 40), 116: (1280, 20), 127: (2560, 20)}),
}

# the layers that joining sections of these cfgs read, which no count shows
READS = {
    "yolov2": {25: (16,), 28: (27, 24)},
    "yolov4-tiny": {3: (2,), 6: (5, 4), 8: (2, 7), 16: (10, 15), 24: (18, 23), 31: (27,), 34: (33, 23)},
    "yolov4": {9: (8, 2), 53: (52, 25), 113: (112, 110, 108, 107), 119: (85,), 121: (120, 118), 129: (54,),
               131: (130, 128), 140: (136,), 142: (141, 126), 151: (147,), 153: (152, 116)},
    "yolov4x-mish": {19: (18, 6), 127: (126, 124, 122, 121), 132: (131, 117), 136: (94,), 138: (137, 135),
                     152: (57,), 169: (165,), 171: (170, 149), 186: (182,), 188: (187, 133)},
}  # fmt: skip

# weights of the first layers of a network: cfg, how many layers (sections, not convolutions), floats, bytes
BACKBONES = {
    "darknet53.conv.74": ("yolov3.cfg", 74, 40_620_640, 162_482_580),
    "darknet53.conv.74 of spp": ("yolov3-spp.cfg", 74, 40_620_640, 162_482_580),
    "darknet19_448.conv.23": ("yolov2.cfg", 23, 19_831_776, 79_327_124),
    "yolov3-tiny.conv.15": ("yolov3-tiny.cfg", 15, 7_743_344, 30_973_396),
    "yolov3-tiny.conv.11": ("yolov3-tiny.cfg", 11, 1_575_792, 6_303_188),
    "yolov4.conv.137": ("yolov4.cfg", 137, 42_509_664, 170_038_676),
    "yolov4-tiny.conv.29": ("yolov4-tiny.cfg", 29, 4_947_424, 19_789_716),
    "yolov4-csp.conv.142": ("yolov4-csp.cfg", 142, 36_637_024, 146_548_116),
    "yolov4x-mish.conv.166": ("yolov4x-mish.cfg", 166, 69_326_912, 277_307_668),
    "enetb0-coco.conv.132": ("enet-coco.cfg", 132, 3_609_040, 14_436_180),
    "csresnext50-panet-spp.conv.112": ("csresnext50-panet-spp.cfg", 112, 35_077_824, 140_311_316),
    "yolov4-csp-swish.conv.164": ("yolov4-csp-swish.cfg", 164, 46_328_160, 185_312_660),
    "yolov4-csp-x-swish.conv.192": ("yolov4-csp-x-swish.cfg", 192, 89_589_312, 358_357_268),
    "yolov4-p5.conv.232": ("yolov4-p5.cfg", 232, 64_106_848, 256_427_412),
    "yolov4-p6.conv.289": ("yolov4-p6.cfg", 289, 115_835_232, 463_340_948),
}

# published files: bytes on disk, bytes of the header
FILES = {
    "yolov3": (248_007_048, 20),
    "yolov3-tiny": (35_434_956, 20),
    "yolov4": (257_717_640, 20),
    "yolov4-tiny": (24_251_276, 20),
    "yolov2": (203_934_260, 16),
    "yolov2-tiny": (44_948_600, 20),
    "yolov2-tiny-voc": (63_471_556, 16),
    "yolo-fastest": (1_425_644, 20),
    "yolo-fastest-xl": (3_650_764, 20),
    "yolo-fastest-1.1": (1_384_268, 20),
    "yolo-fastest-1.1-xl": (3_693_964, 20),
    "yolo-fastest-1.1_body": (1_177_604, 20),
}


def folders(config: pytest.Config) -> list[Path]:
    """The folders that the run is about."""
    given: list[Path] | None = config.getoption("--cfgs")
    return given or FOLDERS


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for every cfg; a folder that is missing is a test that fails, or is skipped if nobody named it."""
    if "known" in metafunc.fixturenames:
        files = [file for folder in folders(metafunc.config) for file in sorted(folder.rglob("*.cfg"))]
        known = [pytest.param(file, id=f"{file.parent.name}-{file.stem}") for file in files if file.name in TABLE]
        metafunc.parametrize("known", known)
    if "file" not in metafunc.fixturenames:
        return
    named = metafunc.config.getoption("--cfgs") is not None
    cases = []
    for folder in folders(metafunc.config):
        files = sorted(folder.rglob("*.cfg"))
        cases += [pytest.param(file, id=f"{folder.name}-{file.stem}") for file in files]
        if not files:
            absent = pytest.mark.skip(reason=f"{folder} is not here: NONE OF ITS CFGS WERE TRIED")
            cases.append(pytest.param(folder / "*.cfg", id=f"{folder.name}-absent", marks=() if named else absent))
    metafunc.parametrize("file", cases)


def test_it_builds_with_as_many_floats_as_planned(file: Path) -> None:
    """As a plan and as a module, whose parameters and running statistics are the floats of its weights file."""
    try:
        plan = make_plan(read_cfg(file))
    except CfgError as problem:
        if file.name not in TABLE and ("out of scope" in str(problem) or "not supported" in str(problem)):
            pytest.skip(str(problem))
        raise
    network = Darknet(plan.cfg, file_bytes=20 + 4 * plan.floats, init=None)
    state = {name: tensor for name, tensor in network.state_dict().items() if not name.endswith("num_batches_tracked")}
    assert sum(tensor.numel() for tensor in state.values()) == plan.floats
    assert len(network.layers) == len(plan.cfg.layers)
    assert len(network.heads) == len(plan.cfg.heads)


def test_it_has_darknets_counts(known: Path) -> None:
    """Floats at the cfg's own size; floats, operations and grids at the size of the table."""
    side, floats, operations, grids = TABLE[known.name]
    cfg = read_cfg(known)
    assert make_plan(cfg).floats == floats
    plan = make_plan(cfg, (side, side))
    assert plan.floats == floats
    assert f"{plan.flops / 1e9:.3f}" == operations
    heads = [plan.layers[k].output for k in cfg.heads]
    assert [(h, w) for _, h, w in heads] == [(int(cells), int(cells)) for cells in grids.split(",")]


@pytest.mark.parametrize("name", SHAPES)
def test_layers_of_our_own_cfgs(name: str) -> None:
    """Number of sections, shapes of outputs, and what is joined."""
    plan = make_plan(read_cfg(f"{name}.cfg"))
    sections, outputs = SHAPES[name]
    assert len(plan.layers) == sections
    assert {k: plan.layers[k].output for k in outputs} == {k: (c, side, side) for k, (c, side) in outputs.items()}
    assert {k: plan.layers[k].sources for k in READS.get(name, {})} == READS.get(name, {})


@pytest.mark.parametrize("backbone", BACKBONES)
def test_backbones(backbone: str, pytestconfig: pytest.Config) -> None:
    """The published weights of first layers have the bytes that the cfg gives them."""
    name, cutoff, floats, size = BACKBONES[backbone]
    found = [file for folder in folders(pytestconfig) for file in sorted(folder.rglob(name))]
    if not found:
        pytest.skip(f"no {name} in {', '.join(folder.name for folder in folders(pytestconfig))}")
    for file in found:
        plan = make_plan(read_cfg(file))
        assert sum(layer.floats for layer in plan.layers[:cutoff]) == floats
        assert 20 + 4 * floats == size


@pytest.mark.parametrize("name", FILES)
def test_published_files(name: str) -> None:
    """The table agrees with the sizes of the files that people have."""
    size, header = FILES[name]
    assert header + 4 * TABLE[f"{name}.cfg"][1] == size
