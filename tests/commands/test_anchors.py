"""anchors: a cfg with anchors that were made for a data set, measured on images that they were not made for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.paths import ROOT
from tests.support.small_sets import DrawnImage, write_coco
from yolo.__main__ import main
from yolo.darknet.cfg import Cfg, CfgError, parse_cfg, read_cfg
from yolo.darknet.plan import anchors, make_plan, with_anchors
from yolo.darknet.sections import HeadSection, Yolo

SHARED = ROOT / ".." / "shared" / "data"
SHIPPED = sorted(path.name for path in (ROOT / "config").glob("*.cfg"))


def many_heads(count: int) -> Cfg:
    """Return a cfg of `count` heads with strides 1, 2, 4, ... and an anchor each."""
    text = "[net]\nwidth=64\nheight=64\nchannels=3\n"
    for k in range(count):
        text += "[convolutional]\nfilters=8\nsize=1\nactivation=linear\n" if k == 0 else "[route]\nlayers=-3\n"
        text += "[maxpool]\nsize=2\nstride=2\n" if k else ""
        text += "[convolutional]\nfilters=8\nsize=1\nactivation=linear\n" + (
            f"[yolo]\nmask={k}\nanchors={','.join(str(8 + m) for m in range(2 * count))}\nnum={count}\nclasses=3\n"
        )
    return parse_cfg(text, "many.cfg")


@pytest.mark.parametrize("name", SHIPPED)
def test_the_anchors_of_a_cfg_given_back_to_it(name: str) -> None:
    """Nothing but lines of anchors and masks may differ, and the heads have what they had, by area."""
    plan = make_plan(read_cfg(name))
    heads = anchors(plan)
    changed = with_anchors(plan, np.random.default_rng(0).permutation(np.concatenate(heads)))
    before, after = plan.cfg.to_text().splitlines(), changed.to_text().splitlines()
    different = {b.partition("=")[0] for a, b in zip(before, after, strict=True) if a != b}
    assert different <= {"anchors", "mask"}
    if name != "yolov4-tiny.cfg":  # one of its anchors is at both heads
        for old, new in zip(heads, anchors(make_plan(changed)), strict=True):
            areas = old.prod(axis=1).argsort(kind="stable"), new.prod(axis=1).argsort(kind="stable")
            assert np.allclose(old[areas[0]], new[areas[1]], rtol=0, atol=0.002)  # 32 pixels times half of 1e-4
    assert parse_cfg(changed.to_text()) == changed


@pytest.mark.parametrize("name", ["yolov3-tiny.cfg", "yolov3.cfg", "yolov4.cfg", "yolov4-tiny.cfg", "yolov2.cfg", "4"])
@pytest.mark.parametrize("count", [4, 6, 10])
def test_other_anchors_are_divided_by_stride(name: str, count: int) -> None:
    """In v3's order and v4's, for one to four heads: the areas rise with the stride, filters and num follow."""
    cfg = many_heads(4) if name == "4" else read_cfg(name)
    shapes = np.random.default_rng(count).integers(1, 60, (count, 2)) * 4.0
    plan = make_plan(with_anchors(make_plan(cfg), shapes))  # a plan exists only if the filters fit
    heads = sorted(zip(plan.cfg.heads, anchors(plan), strict=True), key=lambda head: plan.layers[head[0]].stride)
    found = np.concatenate([own for _, own in heads])
    assert np.allclose(found, shapes[shapes.prod(axis=1).argsort(kind="stable")], atol=0.01)
    sizes = [len(own) for _, own in heads]
    assert sum(sizes) == count
    assert sizes == sorted(sizes)
    assert max(sizes) - min(sizes) <= 1
    sections = [plan.cfg.layers[k] for k, _ in heads]
    assert {section.num for section in sections if isinstance(section, HeadSection)} == {count}
    masks = [k for section in sections if isinstance(section, Yolo) for k in section.mask]
    assert masks == (list(range(count)) if name != "yolov2.cfg" else [])


def test_sizes_and_refusals() -> None:
    """The net gets the size of the plan; a tiny input keeps fractions; too few anchors, no heads, no convolution."""
    changed = with_anchors(make_plan(read_cfg("yolov3-tiny.cfg"), (320, 640)), np.full((6, 2), 10.4))
    assert (changed.net.height, changed.net.width) == (320, 640)
    assert "anchors=10,10,10,10," in changed.to_text()
    small = with_anchors(make_plan(many_heads(1), (32, 32)), np.array([[3.14159, 0.5]]))
    assert "anchors=3.1416,0.5\n" in small.to_text()
    assert "anchors=3,1\n" in with_anchors(make_plan(many_heads(1)), np.array([[3.14159, 0.2]])).to_text()
    with pytest.raises(ValueError, match="2 anchors for 3 heads"):
        with_anchors(make_plan(read_cfg("yolov3.cfg")), np.ones((2, 2)))
    without = many_heads(1).to_text().partition("[yolo]")[0]
    with pytest.raises(ValueError, match="0 anchors for 0 heads"):
        with_anchors(make_plan(parse_cfg(without)), np.empty((0, 2)))
    dropped = many_heads(1).to_text().replace("[yolo]", "[dropout]\n\n[yolo]")
    with pytest.raises(
        CfgError, match=r"the layer before is \[dropout\], line \d+; the number of classes or of anchors"
    ):
        with_anchors(make_plan(parse_cfg(dropped)), np.ones((1, 2)))


@pytest.fixture(scope="module")
def boxes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 images of 208 x 104 pixels with two boxes of 20 x 10 and one of 60 x 90, all in one split."""
    objects = [(0, 0, 0, 20, 10), (1, 30, 10, 50, 20), (2, 100, 10, 160, 100)]
    return write_coco(tmp_path_factory.mktemp("boxes"), [DrawnImage((208, 104), objects)] * 40)


def test_the_command(boxes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Letterboxed boxes are doubled; a head with few boxes is named; --force replaces; the numbers are of `val`."""
    out = tmp_path / "new.cfg"
    words = ["anchors", "--data", str(boxes), "--cfg", "yolov3-tiny.cfg", "--clusters", "2", "--out", str(out)]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert "\nanchors =  40, 20, 120,180\n" in printed
    assert "2 new anchors                     1.000           100.0%" in printed
    assert " in mean IoU is worth new anchors\n" in printed
    assert "warning" not in printed
    held = int(printed.split("\non ")[1].split()[0])
    assert 0 < held < 60
    assert held % 3 == 0
    section = read_cfg(out).layers[-1]
    assert isinstance(section, Yolo)
    assert (section.anchors, section.mask, section.num) == ((40, 20, 120, 180), (0,), 2)
    assert main(words) == 1
    assert "new.cfg exists; --force replaces it" in capsys.readouterr().err
    assert main([*words, "--force", "--placement", "stretch", "--darknet"]) == 0
    assert "\nanchors =  40, 40, 120,360\n" in capsys.readouterr().out


def test_the_anchors_that_fit_are_kept(boxes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A second call on its own cfg gains nothing. A head that no box resembles gets a warning."""
    cfg = tmp_path / "own.cfg"
    cfg.write_text(
        with_anchors(make_plan(read_cfg("yolov3.cfg")), np.array([[40, 20], [41, 20], [120, 180]])).to_text()
    )
    assert main(["anchors", "--data", str(boxes), "--cfg", str(cfg)]) == 0
    printed = capsys.readouterr().out
    assert "keep them: a gain of +0.000 in mean IoU is less than 0.07" in printed
    assert "warning: head 2 would get 0.0% of the boxes, less than 5%: too few to learn from" in printed
    assert main(["anchors", "--data", str(boxes), "--clusters", "2"]) == 1
    assert "yolov3.cfg: 2 anchors for 3 heads" in capsys.readouterr().err
    assert main(["anchors", "--data", str(boxes), "--cfg", "yolov2.cfg"]) == 0
    printed = capsys.readouterr().out
    assert "anchors = 1.2500,0.6250, 1.2500,0.6250," in printed
    assert "boxes are too few to tell how well 5 anchors fit" in printed


@pytest.mark.parametrize(
    ("data", "cfg", "said"), [("bccd", "yolov3-tiny.cfg", "worth"), ("coco-mini", "yolov3.cfg", "keep")]
)
def test_blood_cells_and_coco(data: str, cfg: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """New anchors are worth it for cells, and not for the data that the present ones were made for."""
    if not (SHARED / data).is_dir():
        pytest.skip(f"{SHARED / data} is absent")
    assert main(["anchors", "--data", str(SHARED / data), "--cfg", cfg]) == 0
    assert said in capsys.readouterr().out.splitlines()[-1]
