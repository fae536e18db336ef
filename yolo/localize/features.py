"""Features of a frozen backbone, computed once for each image and kept in a file.

Letters: `I` images, `V` views of an image (as it is; mirrored), `C` channels, `g` rows and columns of the features.

An image has the same features, bit for bit, whether they come from the file or are computed again, since the backbone
always sees a single image: in a larger batch sums could round differently.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d
from tqdm import tqdm

from yolo.backbones.published import Backbone
from yolo.darknet.safetensors_file import read_checked, save_checked
from yolo.data.datasets import ImageDataset
from yolo.data.order import Draw, chance
from yolo.data.sample import Target, make_target
from yolo.data.transforms import Augmented
from yolo.files.atomic import alone
from yolo.files.disk import need_room
from yolo.images.placement import Placement
from yolo.images.resize import place
from yolo.process.distributed import rank_0_first, silent
from yolo.size import Size

log = logging.getLogger("yolo")

VERSION = 1
"""Version of the computation: it is raised when the same weights and images give other features."""

FOLDER = Path("runs/cache")
"""Where feature files are, below the working directory of the command."""


def features_of(backbone: Backbone, images: Tensor, cells: int) -> Tensor:
    """Return the features of images, float32 `[B, C, g, g]` on the backbone's device, with `cells` for g.

    Args:
        backbone: in evaluation mode.
        images: uint8 `[B, 3, h, w]` RGB.
        cells: 1 for the mean of the last map, 3 for the means of its 3 x 3 parts.
    """
    assert not backbone.training, "a batch norm in training mode would see this image only, and change"
    device = next(backbone.parameters()).device
    with torch.inference_mode(), torch.autocast(device.type, enabled=False):
        each = (image[None].to(device, memory_format=torch.channels_last).float() / 255 for image in images)
        maps = [backbone(image) for image in each]
        return torch.cat([adaptive_avg_pool2d(found.contiguous(), cells) for found in maps])


class FeatureStore:
    """The features of images, by path.

    Args:
        backbone: frozen, in evaluation mode.
        cells: rows and columns of the features.
        size: network input.
        letterbox: keep the proportions of images; False stretches them to the input.
    """

    def __init__(self, backbone: Backbone, cells: int, size: Size, *, letterbox: bool) -> None:
        self.backbone, self.cells, self.size, self.letterbox = backbone, cells, size, letterbox
        self._known: dict[bytes, Tensor] = {}  # path -> [V, C, g, g]

    def __getitem__(self, path: Path) -> Tensor | None:
        """Return the features of an image file, float32 `[V, C, g, g]` on the CPU, or None if they are not there."""
        return self._known.get(bytes(path))

    @rank_0_first()
    def add(self, data: ImageDataset, *, mirrored: bool) -> None:
        """Compute what is missing, or read it from the file of an earlier run. A collective call.

        Raises ValueError for a damaged image, OSError if the file cannot be written.
        """
        paths = [bytes(data.path(k)) for k in range(len(data))]
        views = 1 + mirrored
        if all(path in self._known and len(self._known[path]) >= views for path in paths):
            return
        file = FOLDER / f"{self._key(paths, views)}.features"
        file.parent.mkdir(parents=True, exist_ok=True)
        with alone(file):  # another process may be computing the same
            features = read_checked(file)
            if features is None:
                why = ", which is damaged or of another version" if file.exists() else ""
                log.warning("features of %s: computed once into %s%s", self.backbone.spec, file, why)
                features = self._computed(data, views)
                save_checked(file, features)
        self._known |= dict(zip(paths, features, strict=True))

    def _computed(self, data: ImageDataset, views: int) -> Tensor:
        """Return the features of all images, float32 `[I, V, C, g, g]`."""
        found = []
        for k in tqdm(range(len(data)), unit="image", desc="features", disable=silent() or None):
            pixels = data.decode(k)
            placement = Placement.of(Size.of(pixels), self.size, letterbox=self.letterbox)
            image = torch.from_numpy(place(pixels, placement)).permute(2, 0, 1)
            seen = torch.stack([image, image.flip(-1)][:views])
            found.append(features_of(self.backbone, seen, self.cells).cpu())
            if k == 0:  # before the others are computed
                need_room(FOLDER, len(data) * found[0].nbytes, "features", "make room, or start in another folder")
        return torch.stack(found)

    def _key(self, paths: Sequence[bytes], views: int) -> str:
        """Return a name that follows from everything that the features depend on."""
        network = self.backbone.state_dict()
        settings = (VERSION, self.backbone.spec, self.cells, self.size, self.letterbox, views)
        digest = hashlib.sha256("|".join(map(str, settings)).encode())
        for name, tensor in network.items():
            digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
        for path in map(Path, map(os.fsdecode, paths)):
            status = path.stat()
            digest.update(bytes(path.resolve()) + f"|{status.st_size}|{status.st_mtime_ns}|".encode())
        return digest.hexdigest()[:32]


class FeatureSamples:
    """The samples of a data set as features and boxes in pixels of the network input; see `Drawn`.

    A mirrored image is drawn as often as `flip` of the augmentation says, from (seed, epoch, image).
    """

    def __init__(self, seen: Augmented, data: ImageDataset, store: FeatureStore) -> None:
        self.seen, self.data, self.store = seen, data, store
        store.add(data, mirrored=seen.options.flip > 0)

    def __getitem__(self, draw: Draw) -> tuple[Tensor, Target]:
        """Return features float32 `[C, g, g]` and the target of a draw."""
        k, flip = draw.image, self.seen.options.flip
        plain = self.seen.is_plain(draw.epoch)
        mirrored = not plain and bool(chance(self.seen.seed, draw.epoch, k).random() < flip)
        features = self.store[self.data.path(k)]
        assert features is not None, "`add` has computed them"
        placement = Placement.of(self.data.index.size(k), draw.size, letterbox=self.store.letterbox)
        target = self.data.target(k)
        boxes = placement.to_input(target["boxes"].double()).numpy()
        if mirrored:
            boxes[:, [0, 2]] = draw.size.width - boxes[:, [2, 0]]
        area = target["area"] * float(np.prod(placement.scale))
        own = make_target(boxes, target["labels"], target["image_id"], target["iscrowd"], area, draw.size)
        return features[int(mirrored)], own
