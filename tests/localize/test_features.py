"""Features are the same bits wherever they are computed, and are computed again where anything that matters changed."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import yolo
from tests.support import warm
from tests.support.single_problems import singles, tiny_backbone
from tests.support.small_sets import DrawnImage, write_coco
from yolo.backbones.published import make_backbone
from yolo.darknet.safetensors_file import read_checked, save_tensors
from yolo.data.datasets import ImageDataset, open_data
from yolo.data.order import Draw
from yolo.data.transforms import Augmented
from yolo.images.files import read_image, write_image
from yolo.localize.features import FOLDER, FeatureSamples, FeatureStore, features_of
from yolo.models.localizer import LocalizerDetector, build_localizer
from yolo.options.augment import PLAIN
from yolo.options.single import Localizer
from yolo.size import Size

SIZE = Size(64, 64)

ODD = [DrawnImage((50, 30), [(0, 4, 6, 20, 29)]), DrawnImage((33, 64), [(0, 1, 0, 30, 9)]), DrawnImage((64, 64), [])]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder of its own, since the features are kept below the working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def drawn(folder: Path) -> ImageDataset:
    """Return three images of odd sizes; the annotations have one class that matters here."""
    return open_data(write_coco(folder / "set", ODD), split="train")


def store(spec: str, size: Size = SIZE, *, cells: int = 3, letterbox: bool = False) -> FeatureStore:
    """Return a store without features."""
    backbone = make_backbone(spec, pretrained=True).requires_grad_(False).eval()
    return FeatureStore(backbone.to(memory_format=torch.channels_last), cells, size, letterbox=letterbox)


def all_of(features: FeatureStore, data: ImageDataset) -> list[Tensor]:
    """Return the features of all images."""
    found = [features[data.path(k)] for k in range(len(data))]
    return [one for one in found if one is not None]


def files() -> set[Path]:
    """Return the files of features."""
    return set(FOLDER.glob("*.features"))


@pytest.mark.parametrize(("features", "placement"), [("vector", "stretch"), ("grid", "letterbox")])
def test_detection_has_the_features_of_the_cache(place: Path, features: str, placement: str) -> None:
    """Bit for bit: of the detector, after saving and loading, and in processes with other numbers of threads."""
    options = Localizer(backbone=tiny_backbone(place), features=features, placement=placement, size="64")  # type: ignore[arg-type]
    detector = build_localizer(options, ["disc"])
    data = open_data(singles(place, train=5, val=1), split="train")
    detector.store.add(data, mirrored=True)
    cached = torch.stack([one[0] for one in all_of(detector.store, data)])
    assert cached.shape == (5, 16, *(detector.cells,) * 2)
    paths = [data.path(k) for k in range(len(data))]

    def of_images(own: LocalizerDetector) -> Tensor:
        return own.inputs_of(torch.stack([own.prepare(path)[0] for path in paths]))

    assert torch.equal(of_images(detector), cached)
    detector.save(place / "saved.safetensors")
    loaded = yolo.load(place / "saved.safetensors", device="cpu")
    assert isinstance(loaded, LocalizerDetector)
    assert torch.equal(of_images(loaded), cached)

    torch.save(cached, place / "cached.pt")
    code = (
        "import sys, torch, yolo\n"
        "own = yolo.load('saved.safetensors', device='cpu')\n"
        "for threads in (1, 2, 5):\n"
        "    torch.set_num_threads(threads)\n"
        "    found = own.inputs_of(torch.stack([own.prepare(path)[0] for path in sys.argv[1:]]))\n"
        "    print(torch.get_num_threads(), torch.equal(found, torch.load('cached.pt')))\n"
    )
    done = warm.run("-c", code, *paths, cwd=place)
    assert done.stdout == "1 True\n2 True\n5 True\n", done.stderr


def test_predictions_are_those_of_the_features(place: Path) -> None:
    """`predict` gives the same for images as for their features, and `prepared` finds the features of known images."""
    detector = build_localizer(Localizer(backbone=tiny_backbone(place), size="64"), ["disc"])
    data = open_data(singles(place, train=5, val=1), split="train")
    images, placements = zip(*(detector.prepared(data, k) for k in range(len(data))), strict=True)
    assert images[0].dtype == torch.uint8
    detector.store.add(data, mirrored=False)
    features, same = zip(*(detector.prepared(data, k) for k in range(len(data))), strict=True)
    assert features[0].dtype == torch.float32
    assert placements == same
    for one, other in zip(detector.predict(torch.stack(images)), detector.predict(torch.stack(features)), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("damage", ["cut", "zeros", "other", "old"])
def test_a_damaged_file_is_made_anew(place: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    """One that was cut, lost its content, is another file, or has no checksum: with a sentence, and equal features."""
    data, spec = drawn(place), tiny_backbone(place)
    first = store(spec)
    first.add(data, mirrored=True)
    (file,) = files()
    content = file.read_bytes()
    if damage == "cut":
        os.truncate(file, len(content) // 2)
    elif damage == "zeros":
        file.write_bytes(content[:-1000] + bytes(1000))
    elif damage == "other":
        save_tensors(file, {"others": torch.zeros(3)}, {})
    else:
        save_tensors(file, {"tensor": torch.stack(all_of(first, data))}, {"backbone": spec})
    caplog.clear()
    again = store(spec)
    again.add(data, mirrored=True)
    (record,) = caplog.records
    assert "computed once into" in record.getMessage()
    assert record.getMessage().endswith(", which is damaged or of another version")
    assert all(map(torch.equal, all_of(again, data), all_of(first, data)))
    kept = read_checked(file)
    assert kept is not None
    assert torch.equal(kept, torch.stack(all_of(first, data)))
    os.truncate(file, 100)  # while it is used
    assert all(map(torch.equal, all_of(again, data), all_of(first, data)))
    assert [path.name for path in FOLDER.iterdir()] == [file.name]


def test_a_second_run_decodes_no_image(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The features come from the file, the same bits; in the same process not even the file is read again."""
    spec, data = tiny_backbone(place), drawn(place)
    first = store(spec)
    first.add(data, mirrored=True)

    def decode(*_: object) -> np.ndarray:
        raise AssertionError("decoded")

    monkeypatch.setattr(ImageDataset, "decode", decode)
    second = store(spec)
    second.add(data, mirrored=True)
    assert all(map(torch.equal, all_of(first, data), all_of(second, data)))
    for file in files():
        file.unlink()
    second.add(data, mirrored=False)
    with pytest.raises(AssertionError, match="decoded"):
        store(spec).add(data, mirrored=True)


def test_what_changes_gives_another_file(place: Path) -> None:
    """Other weights, cells, size, placement, views or images, and a changed image: features are computed again."""
    spec, data = tiny_backbone(place), drawn(place)
    others = [
        store(spec),
        store(tiny_backbone(place / "other", seed=1)),
        store(spec, cells=1),
        store(spec, Size(64, 96)),
        store(spec, letterbox=True),
    ]
    for number, one in enumerate(others, 1):
        one.add(data, mirrored=False)
        assert len(files()) == number
    store(spec).add(data, mirrored=False)
    assert len(files()) == 5
    store(spec).add(data, mirrored=True)
    store(spec).add(ImageDataset(data.index.with_images([0, 1])), mirrored=False)
    assert len(files()) == 7
    # Another image in place of the first one: other pixels, and a later time.
    path = data.path(0)
    write_image(path, 255 - read_image(path))
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    changed = store(spec)
    changed.add(data, mirrored=False)
    assert len(files()) == 8
    before, after = all_of(others[0], data), all_of(changed, data)
    assert [torch.equal(one, other) for one, other in zip(before, after, strict=True)] == [False, True, True]


def test_names_of_any_bytes(place: Path) -> None:
    """A file name that is not UTF-8 is a file like any other."""
    data = drawn(place)
    odd = os.fsencode(data.path(0).parent) + b"/caf\xe9.jpg"
    os.rename(data.path(0), odd)
    paths = np.array([odd, *data.index.paths[1:]])
    known = store(tiny_backbone(place))
    known.add(ImageDataset(replace(data.index, paths=paths)), mirrored=False)
    assert known[Path(os.fsdecode(odd))] is not None


@pytest.mark.parametrize("letterbox", [True, False])
def test_mirrored_samples(place: Path, letterbox: bool) -> None:
    """Mirrored features are those of the mirrored network input, and the boxes are mirrored with them."""
    data, known = drawn(place), store(tiny_backbone(place), letterbox=letterbox)
    samples = FeatureSamples(Augmented(data, replace(PLAIN, flip=0.5), epochs=20, letterbox=letterbox), data, known)
    plain = Augmented(data, letterbox=letterbox)
    seen = {False: 0, True: 0}
    for epoch in range(20):
        for k in range(len(data)):
            draw = Draw(epoch, k, SIZE)
            features, target = samples[draw]
            image, expected = plain[draw]
            pixels = image.as_subclass(Tensor)
            views = [features_of(known.backbone, one[None], 3)[0] for one in (pixels, pixels.flip(-1))]
            mirrored = torch.equal(features, views[1])
            assert mirrored or torch.equal(features, views[0])
            boxes = expected["boxes"].as_subclass(Tensor).clone()
            if mirrored:
                boxes[:, [0, 2]] = 64 - boxes[:, [2, 0]]
            torch.testing.assert_close(target["boxes"].as_subclass(Tensor), boxes, rtol=0, atol=1e-4)
            assert target["size"] == (64, 64)
            for name in ("labels", "iscrowd", "area"):
                torch.testing.assert_close(target[name], expected[name])
            assert target["image_id"] == expected["image_id"]
            seen[mirrored] += 1
    assert min(seen.values()) > 15
    assert torch.equal(samples[Draw(3, 0, SIZE)][0], samples[Draw(3, 0, SIZE)][0])
