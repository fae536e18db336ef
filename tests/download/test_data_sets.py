"""Data sets from our own server on 127.0.0.1: all files arrive complete and once, and no file of the user is lost."""

from __future__ import annotations

import hashlib
import io
import json
import math
import re
import resource
import signal
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.download.test_fetch import Handler, Send, Server, listening, without_proxy
from tests.support.paths import ROOT
from yolo.__main__ import main
from yolo.data.formats.coco_json import read_annotations
from yolo.download import coco as get_coco
from yolo.download import fetch as download
from yolo.download import penn_fudan as get_penn_fudan
from yolo.download import voc as get_voc
from yolo.download.archives import mirrored, put, unpack
from yolo.download.fetch import DownloadError, OfficialFile

ZIP = "/annotations/annotations_trainval2017.zip"


class Site:
    """Files by path, with ETags and ranges.

    Every `drop`-th connection ends after 100 bytes, which is not a complete file. From connection `hold_from` on, the
    answers wait until `released` is set; `held` tells that one is waiting.
    """

    def __init__(self, files: dict[str, bytes], drop: int = 0, hold_from: float = math.inf) -> None:
        self.files, self.drop, self.hold_from = files, drop, hold_from
        self.turn, self.asked, self.dropped = threading.Lock(), Counter[str](), 0
        self.held, self.released = threading.Event(), threading.Event()

    def __call__(self, handler: Handler) -> None:
        content = self.files.get(handler.path)
        with self.turn:
            self.asked[handler.path] += 1
            breaks = bool(self.drop) and self.asked.total() % self.drop == 0
            self.dropped += breaks
            holds = self.asked.total() >= self.hold_from
        if holds:
            self.held.set()
            self.released.wait(60)
        if content is None:
            handler.send_error(404)
            return
        etag = f'"{hashlib.md5(content).hexdigest()}"'
        Send(content, drop=100 if breaks else None, etag=etag)(handler)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server, without a proxy and without long pauses."""
    without_proxy(monkeypatch)
    monkeypatch.setattr(download, "PAUSES", (0.01,) * 5)
    with listening() as found:
        yield found


def mirror(server: Server) -> str:
    """The server's address, to which the official paths are added."""
    return server.url.removesuffix("/file")


def jpeg(seed: int, w: int = 24, h: int = 16) -> bytes:
    """A small image of noise."""
    pixels = np.random.default_rng(seed).integers(0, 256, (h, w, 3), dtype=np.uint8)
    return cv2.imencode(".jpg", pixels)[1].tobytes()


def zipped(files: dict[str, bytes]) -> bytes:
    """A zip archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def tarred(files: dict[str, bytes], odd: tarfile.TarInfo | None = None) -> bytes:
    """A tar archive, with one more member that is not a file."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        if odd is not None:
            archive.addfile(odd)
    return buffer.getvalue()


def known(official: OfficialFile, content: bytes) -> OfficialFile:
    """The entry of the table, as if this were its file."""
    return replace(official, size=len(content), checksum=hashlib.md5(content).hexdigest())


def coco_site(monkeypatch: pytest.MonkeyPatch, count: int = 230, **options: Any) -> Site:
    """A site with a COCO of `count` images, ids in descending order, two objects in every one but each fifth."""
    names = {k: f"{k:012}.jpg" for k in range(1000 + count, 1000, -1)}
    images = [
        {"id": k, "file_name": name, "width": 24, "height": 16}
        | ({"coco_url": f"http://somewhere.org/val2017/{name}"} if k % 2 else {})  # the official ones all have it
        for k, name in names.items()
    ]
    annotations = [
        {"id": 10 * k + n, "image_id": k, "category_id": 18, "bbox": [n, 2, 5, 6], "area": 20, "iscrowd": 0}
        for k in names
        for n in range(2)
        if k % 5
    ]
    categories = [{"id": 1, "name": "person"}, {"id": 18, "name": "dog"}]
    content = {"info": {"year": 2017}, "images": images, "annotations": annotations, "categories": categories}
    archive = zipped({"annotations/instances_val2017.json": json.dumps(content, indent=1).encode()})
    monkeypatch.setattr(get_coco, "ANNOTATIONS", known(get_coco.ANNOTATIONS, archive))
    return Site({f"/val2017/{name}": jpeg(k) for k, name in names.items()} | {ZIP: archive}, **options)


def whole(folder: Path, site: Site, count: int) -> None:
    """Check that exactly the first `count` images are there, and that the annotation file is theirs."""
    images = [path for path in site.files if path.endswith(".jpg")][:count]
    there = {f"/val2017/{file.name}": file.read_bytes() for file in (folder / "images" / "val2017").iterdir()}
    assert there == {path: site.files[path] for path in images}
    found = read_annotations(folder / "annotations" / "instances_val2017.json")
    assert [f"/val2017/{name}" for name in found.file_names] == images
    assert found.names == ["person", "dog"]
    assert len(found.boxes) == 2 * sum(number % 5 != 0 for number in found.image_ids.tolist())
    assert len(np.unique(found.image)) == sum(number % 5 != 0 for number in found.image_ids.tolist())


# COCO


def test_two_hundred_images_over_a_bad_line(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every tenth connection breaks, and all images arrive. The second run downloads nothing."""
    site = coco_site(monkeypatch, drop=10)
    server.play(site)
    command = ["get", "coco", "--images", "200", "--out", str(tmp_path), "--mirror", mirror(server)]
    assert main(command) == 0
    assert capsys.readouterr().out == f"{tmp_path}/annotations/instances_val2017.json\n"
    assert site.dropped >= 20
    assert site.asked.total() == 201 + site.dropped
    whole(tmp_path, site, 200)
    content = json.loads((tmp_path / "annotations" / "instances_val2017.json").read_text())
    assert content["info"] == {"year": 2017, "subset": "the first 200 of 230 images"}
    assert sorted(file.name for file in tmp_path.iterdir()) == ["annotations", "annotations_trainval2017.zip", "images"]
    times = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")}
    site.asked.clear()
    assert main(command) == 0
    assert site.asked == {}
    assert {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")} == times


def test_a_subset_grows_and_shrinks(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only missing images are downloaded. With all of them the annotation file is the official one, byte for byte."""
    site = coco_site(monkeypatch, 12)
    server.play(site)
    get_coco.get_coco(tmp_path, images=5, mirror=mirror(server))
    whole(tmp_path, site, 5)
    file = get_coco.get_coco(tmp_path, images=8, mirror=mirror(server))
    whole(tmp_path, site, 8)
    assert site.asked.total() == 9
    get_coco.get_coco(tmp_path, images=3, mirror=mirror(server))
    assert len(read_annotations(file).file_names) == 3
    get_coco.get_coco(tmp_path, mirror=mirror(server))
    whole(tmp_path, site, 12)
    assert site.asked.total() == 13
    with zipfile.ZipFile(tmp_path / "annotations_trainval2017.zip") as archive:
        assert file.read_bytes() == archive.read("annotations/instances_val2017.json")


def test_the_users_annotations_are_not_replaced(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the user's own file nor, by a subset, the official one. No image is downloaded."""
    site = coco_site(monkeypatch, 12)
    server.play(site)
    file = get_coco.get_coco(tmp_path / "all", mirror=mirror(server))
    mine = tmp_path / "mine" / "annotations" / file.name
    put(mine, b'{"images": [], "annotations": [], "categories": []}')
    site.asked.clear()
    for target in (file, mine):
        before = target.read_bytes(), target.stat().st_mtime_ns
        with pytest.raises(ValueError, match=rf"{target}: exists and is not a subset .* use another --out"):
            get_coco.get_coco(target.parents[1], images=5, mirror=mirror(server))
        assert (target.read_bytes(), target.stat().st_mtime_ns) == before
    assert site.asked == {ZIP: 1}


def test_a_killed_run_is_continued(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It leaves complete images and no annotation file. Complete files are not downloaded again."""
    site = coco_site(monkeypatch, 100, hold_from=40)
    server.play(site)
    official = get_coco.ANNOTATIONS
    code = (
        "import sys\nfrom pathlib import Path\nfrom yolo.download import coco as get_coco\n"
        "from yolo.download.fetch import OfficialFile\n"
        "folder, mirror, size, md5 = sys.argv[1:]\n"
        "old = get_coco.ANNOTATIONS\n"
        "get_coco.ANNOTATIONS = OfficialFile(old.file, old.urls, int(size), md5)\n"
        "get_coco.get_coco(Path(folder), mirror=mirror)\n"
    )
    assert official.checksum is not None
    arguments = [str(tmp_path), mirror(server), str(official.size), official.checksum]
    process = subprocess.Popen([sys.executable, "-c", code, *arguments], cwd=ROOT, stderr=subprocess.PIPE)
    try:
        assert site.held.wait(60)
    finally:
        process.kill()
        process.communicate()
        site.released.set()
    assert not (tmp_path / "annotations").exists()
    images = tmp_path / "images" / "val2017"
    kept = [f"/val2017/{file.name}" for file in images.glob("*.jpg")]
    assert 0 < len(kept) < 100
    assert all(site.files[path] == (images / Path(path).name).read_bytes() for path in kept)
    site.asked.clear()
    get_coco.get_coco(tmp_path, mirror=mirror(server))
    whole(tmp_path, site, 100)
    assert not set(site.asked) & {*kept, ZIP}


def test_images_that_do_not_arrive_are_named(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A missing image, a web page, half an image, one of another size: each with its reason. The status is 1."""
    site = coco_site(monkeypatch, 20)
    server.play(site)
    paths = [path for path in site.files if path.endswith(".jpg")]
    bad = {
        paths[3]: (None, "HTTP 404"),
        paths[5]: (b"<html>", "not an image"),
        paths[7]: (site.files[paths[7]][:-60], "truncated JPEG"),
        paths[9]: (jpeg(0, 30, 16), "30x16 pixels, expected 24x16"),
    }
    good = {path: site.files[path] for path in bad}
    for path, (content, _) in bad.items():
        site.files.pop(path)
        if content is not None:
            site.files[path] = content
    command = ["get", "coco", "--out", str(tmp_path), "--mirror", mirror(server)]
    assert main(command) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: 4 of 20 images did not arrive:\n")
    assert error.endswith("\nRun the same command again.\n")
    for path, (_, reason) in bad.items():
        assert re.search(rf"{Path(path).name} could not be downloaded:\n  {mirror(server)}{path}: .*{reason}", error)
    assert not (tmp_path / "annotations").exists()
    assert {file.name for file in (tmp_path / "images" / "val2017").iterdir()} == {
        Path(path).name for path in paths if path not in bad
    }
    site.files.update(good)
    site.asked.clear()
    assert main(command) == 0
    assert site.asked == dict.fromkeys(bad, 1)


def test_a_damaged_image_is_replaced(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """But only after the right one has arrived."""
    site = coco_site(monkeypatch, 6)
    server.play(site)
    get_coco.get_coco(tmp_path, mirror=mirror(server))
    file = tmp_path / "images" / "val2017" / "000000001003.jpg"
    file.write_bytes(file.read_bytes()[:-20])
    content = site.files["/val2017/000000001003.jpg"]
    site.files["/val2017/000000001003.jpg"] = b"not an image"
    with pytest.raises(DownloadError, match=r"1 of 6 images did not arrive:\n000000001003.jpg could not"):
        get_coco.get_coco(tmp_path, mirror=mirror(server))
    assert file.read_bytes() == content[:-20]
    site.files["/val2017/000000001003.jpg"] = content
    get_coco.get_coco(tmp_path, mirror=mirror(server))
    whole(tmp_path, site, 6)
    assert "000000001003.jpg: truncated JPEG" in caplog.text


def test_a_full_disk_stops_at_once(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its own message, and not once per image."""
    site = coco_site(monkeypatch, 200)
    server.play(site)
    (tmp_path / "annotations_trainval2017.zip").write_bytes(site.files[ZIP])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (300, hard))
        with pytest.raises(OSError, match=r"\.jpg\.part: File too large after 300 bytes.* make room") as caught:
            get_coco.get_coco(tmp_path, mirror=mirror(server))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    assert not isinstance(caught.value, DownloadError)
    assert site.asked.total() < 100
    get_coco.get_coco(tmp_path, mirror=mirror(server))
    whole(tmp_path, site, 200)


def test_an_image_cannot_leave_its_folder(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever its name in the annotation file."""
    for name in ("../evil.jpg", "/evil.jpg", "a\\b.jpg", ".."):
        image = {"id": 1, "file_name": name, "width": 2, "height": 2}
        content = json.dumps({"images": [image], "annotations": [], "categories": []}).encode()
        archive = zipped({"annotations/instances_val2017.json": content})
        monkeypatch.setattr(get_coco, "ANNOTATIONS", known(get_coco.ANNOTATIONS, archive))
        server.play(Site({ZIP: archive}))
        with pytest.raises(ValueError, match="expected a file name without folder"):
            get_coco.get_coco(tmp_path / "out", mirror=mirror(server))
    assert [file.name for file in tmp_path.rglob("*")] == ["out", "annotations_trainval2017.zip"]


def test_a_wrong_archive_is_refused(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The checksum applies to mirrors, too."""
    site = coco_site(monkeypatch, 3)
    site.files[ZIP] = site.files[ZIP][:-1] + b"x"
    server.play(site)
    with pytest.raises(DownloadError, match="a different file, md5"):
        get_coco.get_coco(tmp_path, mirror=mirror(server))
    assert list(tmp_path.iterdir()) == []


# archives


def voc_files(year: int, lists: dict[str, list[int]]) -> dict[str, bytes]:
    """The files of a VOC archive with masks. Its lists come first, although they are to be unpacked last."""
    root = f"VOCdevkit/VOC{year}"
    files = {
        f"{root}/ImageSets/Main/{name}.txt": "".join(f"{k:06}\n" for k in numbers).encode()
        for name, numbers in lists.items()
    }
    for k in sorted({k for numbers in lists.values() for k in numbers}):
        files[f"{root}/JPEGImages/{k:06}.jpg"] = jpeg(k)
        files[f"{root}/Annotations/{k:06}.xml"] = f"<annotation>{k}</annotation>".encode()
        files[f"{root}/SegmentationClass/{k:06}.png"] = b"mask"
    return files


@pytest.fixture
def voc(server: Server, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A site with the three archives of VOC, small ones."""
    trainval = {"train": [1, 2], "val": [3], "trainval": [1, 2, 3], "dog_train": [1]}
    contents = {
        "trainval2007": voc_files(2007, trainval),
        "test2007": voc_files(2007, {"test": [4, 5]}),
        "trainval2012": voc_files(2012, trainval),
    }
    archives = {split: tarred(files) for split, files in contents.items()}
    monkeypatch.setattr(get_voc, "VOC", {split: known(get_voc.VOC[split], data) for split, data in archives.items()})
    site = Site({f"/pascal/VOC/voc{s[-4:]}/{get_voc.VOC[s].file}": data for s, data in archives.items()})
    server.play(site)
    return site


def test_voc(voc: Site, server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Three archives, two folders, no masks, no archives left. The second run downloads nothing."""
    command = ["get", "voc", "--out", str(tmp_path), "--mirror", mirror(server)]
    assert main(command) == 0
    assert capsys.readouterr().out == f"{tmp_path}/VOC2007\n{tmp_path}/VOC2012\n"
    assert voc.asked.total() == 3
    assert sorted(file.name for file in tmp_path.iterdir()) == ["VOC2007", "VOC2012"]
    assert sorted(file.name for file in (tmp_path / "VOC2007").iterdir()) == ["Annotations", "ImageSets", "JPEGImages"]
    for k in range(1, 6):
        assert (tmp_path / "VOC2007" / "JPEGImages" / f"{k:06}.jpg").read_bytes() == jpeg(k)
    assert len(list((tmp_path / "VOC2012" / "Annotations").iterdir())) == 3
    assert len(list((tmp_path / "VOC2007" / "ImageSets" / "Main").iterdir())) == 5
    assert main(command) == 0
    assert voc.asked.total() == 3
    (tmp_path / "VOC2007" / "Annotations" / "000005.xml").unlink()
    assert main([*command, "--split", "test2007"]) == 0
    assert voc.asked.total() == 4
    assert (tmp_path / "VOC2007" / "Annotations" / "000005.xml").is_file()


def test_the_lists_come_last(voc: Site, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever stops the unpacking, the files so far do not look complete, and the archive is kept for the next run."""
    written: list[Path] = []

    def fails(path: Path, data: bytes) -> None:
        if len(written) == 6:
            raise OSError(28, "No space left on device")
        written.append(path)
        put(path, data)

    with monkeypatch.context() as patch:
        patch.setattr("yolo.download.archives.put", fails)
        with pytest.raises(OSError, match="No space"):
            get_voc.get_voc(tmp_path, "trainval2007", mirror(server))
    assert len(written) == 6
    assert not (tmp_path / "VOC2007" / "ImageSets").exists()
    get_voc.get_voc(tmp_path, "trainval2007", mirror(server))
    assert voc.asked.total() == 1


@pytest.mark.usefixtures("voc")
def test_a_file_that_differs_is_kept(server: Server, tmp_path: Path) -> None:
    """The user's own annotation is not replaced by the official one."""
    mine = tmp_path / "VOC2007" / "Annotations" / "000002.xml"
    put(mine, b"<annotation>mine</annotation>")
    with pytest.raises(ValueError, match=r"000002\.xml: exists and differs from the official file"):
        get_voc.get_voc(tmp_path, "trainval2007", mirror(server))
    assert mine.read_bytes() == b"<annotation>mine</annotation>"


def test_an_archive_without_all_its_files(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is reported and put aside, so that the next run downloads another one."""
    files = voc_files(2007, {"test": [1, 2]})
    del files["VOCdevkit/VOC2007/JPEGImages/000002.jpg"]
    archive = tarred(files)
    official = known(get_voc.VOC["test2007"], archive)
    monkeypatch.setitem(get_voc.VOC, "test2007", official)
    server.play(Site({f"/pascal/VOC/voc2007/{official.file}": archive}))
    with pytest.raises(ValueError, match="is unpacked, but .*VOC2007 lacks files that test list"):
        get_voc.get_voc(tmp_path, "test2007", mirror(server))
    assert (tmp_path / f"{official.file}.rejected").is_file()
    assert not (tmp_path / official.file).exists()


@pytest.mark.parametrize(
    "name", ["a/../../evil.txt", "/evil.txt", "..", "a\\..\\evil.txt", "C:/evil.txt", "a/../evil.txt"]
)
def test_names_that_lead_out_of_the_folder(name: str, tmp_path: Path) -> None:
    """In a zip or a tar: nothing at all is unpacked."""
    files = {"a/good.txt": b"good", name: b"evil"}
    (tmp_path / "1.zip").write_bytes(zipped(files))
    (tmp_path / "2.tar").write_bytes(tarred(files))
    for archive in ("1.zip", "2.tar"):
        with pytest.raises(ValueError, match=rf"{archive}: holds .*evil|{archive}: holds '\.\.'"):
            unpack(tmp_path / archive, r"(.*)", tmp_path / "out" / "deep", last="x")
    assert sorted(file.name for file in tmp_path.rglob("*")) == ["1.zip.rejected", "2.tar.rejected"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
@pytest.mark.parametrize("target", ["/etc/passwd", "a/good.txt"])
def test_links_and_devices_in_a_tar(kind: bytes, target: str, tmp_path: Path) -> None:
    """Links are refused wherever they point to, and so are devices: nothing at all is unpacked."""
    odd = tarfile.TarInfo("a/evil.txt")
    odd.type, odd.linkname = kind, target
    (tmp_path / "1.tar").write_bytes(tarred({"a/good.txt": b"good"}, odd))
    with pytest.raises(ValueError, match=r"1\.tar: holds 'a/evil\.txt', which is .*nothing was unpacked"):
        unpack(tmp_path / "1.tar", r"(.*)", tmp_path / "out", last="x")
    assert [file.name for file in tmp_path.rglob("*")] == ["1.tar.rejected"]


def test_damaged_and_other_archives(tmp_path: Path) -> None:
    """The message has the file's name."""
    (tmp_path / "1.zip").write_bytes(b"no zip")
    (tmp_path / "2.tar").write_bytes(b"no tar")
    (tmp_path / "3.zip").write_bytes(zipped({"a.txt": b"1"}))
    for name, message in [("1.zip", "cannot be read as"), ("2.tar", "cannot be read as"), ("3.zip", "none of its 1")]:
        with pytest.raises(ValueError, match=f"{name}: {message}"):
            unpack(tmp_path / name, r"(.*\.jpg)", tmp_path / "out", last="x")


def test_bccd(server: Server, tmp_path: Path) -> None:
    """The VOC part of GitHub's zip, which has no checksum. The CRCs in it are tested."""
    files = {
        name.replace("VOCdevkit/VOC2007", "BCCD_Dataset-master/BCCD"): content
        for name, content in voc_files(2007, {"train": [1], "val": [2], "trainval": [1, 2], "test": [3]}).items()
    }
    path = "/Shenggan/BCCD_Dataset/archive/refs/heads/master.zip"
    archive = zipped(files | {"BCCD_Dataset-master/README.md": b"read me"})
    spoiled = archive.replace(b"<annotation>2", b"<annotation>7", 1)
    server.play(Site({path: spoiled}))
    with pytest.raises(DownloadError, match=r"Bad CRC-32 for file '\S+000002\.xml'"):
        get_voc.get_bccd(tmp_path, mirror(server))
    site = Site({path: archive})
    server.play(site)
    assert get_voc.get_bccd(tmp_path, mirror(server)) == get_voc.get_bccd(tmp_path, mirror(server)) == tmp_path
    assert site.asked.total() == 1
    assert sorted(file.name for file in tmp_path.iterdir()) == ["Annotations", "ImageSets", "JPEGImages"]
    assert len(list(tmp_path.rglob("*.*"))) == 4 + 3 + 3


def test_penn_fudan(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Boxes and areas are those of the masks, which are one-channel PNGs. Every fifth image belongs to val."""
    mask = np.zeros((16, 24), np.uint8)
    mask[2:5, 3:10] = 1
    mask[3, 3] = 0
    mask[10, 20] = 2
    files = {}
    for k in range(11):
        image = np.full((16, 24, 3), k, np.uint8)
        files[f"PennFudanPed/PNGImages/Ped{k:05}.png"] = cv2.imencode(".png", image)[1].tobytes()
        files[f"PennFudanPed/PedMasks/Ped{k:05}_mask.png"] = cv2.imencode(".png", mask * (k != 1))[1].tobytes()
    archive = zipped(files)
    monkeypatch.setattr(get_penn_fudan, "PENN_FUDAN", known(get_penn_fudan.PENN_FUDAN, archive))
    site = Site({"/~jshi/ped_html/PennFudanPed.zip": archive})
    server.play(site)
    get_penn_fudan.get_penn_fudan(tmp_path, mirror(server))
    train = read_annotations(tmp_path / "annotations" / "instances_train.json")
    val = read_annotations(tmp_path / "annotations" / "instances_val.json")
    assert val.file_names == ["Ped00004.png", "Ped00009.png"]
    assert len(train.file_names) == 9
    assert sorted(file.name for file in (tmp_path / "images" / "train").iterdir()) == train.file_names
    assert train.boxes[:2].tolist() == [[3, 2, 7, 3], [20, 10, 1, 1]]
    assert train.area[:2].tolist() == [20, 1]
    assert train.image.tolist() == [0, 0, *np.repeat(range(2, 9), 2).tolist()]  # image 1 is empty
    assert sorted(file.name for file in tmp_path.iterdir()) == ["annotations", "images"]
    get_penn_fudan.get_penn_fudan(tmp_path, mirror(server))
    assert site.asked.total() == 1


# the command line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["shapes", "--images", "5"], "get shapes: --images has no meaning here"),
        (["shapes", "--difficulty", "big"], "get shapes: --difficulty has no meaning here"),
        (["coco", "--seed", "1"], "get coco: --seed has no meaning here"),
        (["singles", "--split", "val"], "get singles: --split has no meaning here"),
        (["bccd", "--split", "train"], "get bccd: --split has no meaning here"),
        (["weights", "yolov3", "--out", "a"], "get weights: --out has no meaning here"),
        (["coco", "val2017"], "get coco: another name has no meaning here"),
        (["coco", "--split", "val2014"], "split 'val2014': expected one of val2017, train2017"),
        (["voc", "--split", "2007"], "split '2007': expected one of trainval2007, test2007, trainval2012"),
        (["bccd", "--mirror", "ftp://a"], "cannot be downloaded; expected http:// or https://"),
    ],
)
def test_options_without_meaning(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """They are refused in one line, before anything is downloaded or written."""
    monkeypatch.chdir(tmp_path)
    assert main(["get", *arguments]) == 1
    assert message in capsys.readouterr().err
    assert list(tmp_path.rglob("*")) == []


def test_more_images_than_there_are(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an error, and does not mean all."""
    server.play(coco_site(monkeypatch, 3))
    for count in (0, 4):
        with pytest.raises(ValueError, match=f"{count} images: val2017 has 3; expected 1 to 3"):
            get_coco.get_coco(tmp_path, images=count, mirror=mirror(server))


def test_mirrored() -> None:
    """The path is kept, host and query are replaced."""
    official = "http://images.cocodataset.org/val2017/1.jpg"
    assert mirrored(official, None) == official
    assert mirrored(official, "https://mirror/coco/") == "https://mirror/coco/val2017/1.jpg"
    assert mirrored(official, "http://127.0.0.1:80") == "http://127.0.0.1:80/val2017/1.jpg"
