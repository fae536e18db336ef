"""Darknet's augmentation of detectors, as a cfg describes it.

Letters: `G` objects of a sample, `h, w` height and width of the network input in pixels.

    jitter, resize, letter_box         a crop of the image with margins around it (`crop.py`)
    flip                               half of the images are mirrored
    hue, saturation, exposure          colours (`colour.py`)
    mixup, mosaic, mosaic_bound        two images, or four (`mosaic.py`)
    max                                the largest number of objects of a sample

It is that of AlexeyAB's darknet with OpenCV. Keys of `[net]` count, and jitter, resize, max and classes of the last
head. All randomness comes from (seed, epoch, place in the epoch). Differences:

- `mosaic=1` with `letter_box=1` ends darknet; here the margins of the letterbox are part of those of the crop.
- With `mosaic=1`, `mixup` and `cutmix` are not read: darknet's code of a mosaic wins, and `cutmix` is for classifiers.
- Crowds are not counted by `max`: darknet does not know them, and the loss leaves them out.
"""

from __future__ import annotations

import numpy as np
import torch

from yolo.darknet.cfg import Cfg
from yolo.data.order import Draw, chance
from yolo.data.sample import DataSet, Sample, make_target
from yolo.data.transforms import Objects
from yolo.images.opencv import cv2
from yolo.recipe.colour import recoloured
from yolo.recipe.crop import Margins, crop, cropped_boxes
from yolo.recipe.draws import last_head
from yolo.recipe.mosaic import Part, clipped, cut_point, joined, mosaic
from yolo.size import Size

SAMPLE, PART, CHUNK = 10, 11, 15
"""Uses of random numbers: those of a sample, of its parts (11 to 14), of a chunk."""

LOADERS = 6  # darknet's threads that load a batch; each one decides once whether its images become mosaics


class DarknetAugment:
    """Makes the samples of a training as darknet does.

    Args:
        cfg: a detector.
    """

    def __init__(self, cfg: Cfg) -> None:
        self.net, self.head = cfg.net, last_head(cfg)

    def __call__(self, data: DataSet, draw: Draw, seed: int) -> Sample:
        """Return the sample of a draw; it has the id of image `draw.image`.

        Args:
            data: images in their own size.
            draw: what is to be made. `draw.number` tells draws of the same image apart.
            seed: seed of all randomness.

        Returns:
            An image uint8 `[3, h, w]` of size `draw.size`, in memory `[h, w, 3]`, and its target.

        Raises ValueError for a damaged image.
        """
        random = chance(seed, draw.epoch, draw.number, use=SAMPLE)
        count = self._count(draw, seed)
        # Partners come from all images, with replacement.
        images = [draw.image, *random.integers(len(data), size=count - 1).tolist()]
        samples = [data.sample(k) for k in images]
        parts = [
            self._part(sample, draw.size, chance(seed, draw.epoch, draw.number, use=PART + k), k if count == 4 else -1)
            for k, sample in enumerate(samples)
        ]
        if count == 4:
            canvas, objects = mosaic(parts, cut_point(random, draw.size), bound=bool(self.net.mosaic_bound))
        else:
            canvas, objects = parts[0].pixels, joined([part.objects for part in parts])
        if count == 2:  # the mean of both, rounded half up
            canvas = ((canvas.astype(np.uint16) + parts[1].pixels + 1) >> 1).astype(np.uint8)
        objects = first(objects, self.head.max)
        target = make_target(
            objects.boxes, objects.labels, samples[0][1]["image_id"], objects.crowd, objects.area, draw.size
        )
        return torch.from_numpy(canvas).permute(2, 0, 1), target

    def _count(self, draw: Draw, seed: int) -> int:
        """Return the number of images in a sample: 1, or for half of the chunks 2 (mixup) or 4 (mosaic)."""
        count = 4 if self.net.mosaic else 2 if self.net.mixup else 1
        chunk = draw.number // max(1, self.net.batch // LOADERS)
        return 1 if count > 1 and chance(seed, draw.epoch, chunk, use=CHUNK).random() >= 0.5 else count

    def _part(self, sample: Sample, size: Size, random: np.random.Generator, quadrant: int) -> Part:
        """Return an augmented image of `size`; of a mosaic its quadrant, 0 to 3 in reading order, otherwise -1."""
        net, head, (image, target) = self.net, self.head, sample
        pixels = image.permute(1, 2, 0).numpy()
        whole = Size.of(pixels)
        margins = Margins.drawn(random, whole, head.jitter, head.resize)
        mirrored, pushed = random.random() < 0.5 and net.flip > 0, random.random() < 0.5 and quadrant >= 0
        margins = margins.letterboxed(whole, size) if self.net.letter_box else margins
        if pushed:  # towards the middle of the mosaic, which for a mirrored image is on the other side
            margins = margins.pushed(right=(quadrant % 2 == 0) != mirrored, down=quadrant < 2)
        margins = margins.valid(whole)
        canvas = crop(pixels, margins, size)
        canvas = cv2.flip(canvas, 1) if mirrored else canvas
        canvas = recoloured(random, canvas, net.hue, net.saturation, net.exposure)
        # The order is random before it is cut, so that no object is always the one that is left out.
        order = random.permutation(len(target["boxes"]))
        numpy = (target["boxes"], target["labels"], target["iscrowd"], target["area"])
        objects = first(Objects(*(field.numpy()[order] for field in numpy)), head.max)
        boxes = cropped_boxes(objects.boxes.astype(np.float64), margins, whole, size)
        if mirrored:
            boxes = np.array([size.width, 0] * 2) + boxes[:, [2, 1, 0, 3]] * np.array([-1, 1] * 2)
        shown = margins.size(whole)
        area = objects.area.astype(np.float64) * (size.width / shown.width * size.height / shown.height)
        objects = clipped(objects._replace(boxes=boxes, area=area), (0, 0, *size.wh))
        objects = Objects(*(field[objects.labels < head.classes] for field in objects))
        return Part(canvas, objects, margins.mirrored() if mirrored else margins, whole)


def first(objects: Objects, most: int) -> Objects:
    """Return the first `most` objects, and the crowds."""
    keep = objects.crowd | ((~objects.crowd).cumsum() <= most)
    return Objects(*(field[keep] for field in objects))
