"""The network of Faster R-CNN: the parts of torchvision's, on images of one size.

Letters: `B` images of a batch, `h, w` height and width of the input in pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.image_list import ImageList

from yolo.rcnn.heads import Proposer, RoiHeads
from yolo.rcnn.losses import BoxLoss
from yolo.rcnn.targets import RoiOutputs
from yolo.size import Size


class FasterRcnnNetwork(nn.Module):
    """The backbone, the proposals and the heads of torchvision's network; its tensors have the same names.

    The images of a batch have one size, so that nothing is resized or padded here. The parts and thresholds are those
    of the network that is given.

    Args:
        model: torchvision's network, whose parts are taken over, not copied.
        loss: the loss of boxes, of proposals and of detections.
        roi_fraction: the largest share of objects among the proposals that train the heads.
        hard_negatives: the other proposals are those with the highest loss.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, model: FasterRCNN, loss: BoxLoss, roi_fraction: float = 0.25, *, hard_negatives: bool = False
    ) -> None:
        super().__init__()
        self.backbone = model.backbone
        self.rpn = Proposer.of(model.rpn, loss)
        self.roi_heads = RoiHeads.of(model.roi_heads, loss, roi_fraction=roi_fraction, hard_negatives=hard_negatives)
        for name, values in (("mean", model.transform.image_mean), ("std", model.transform.image_std)):
            self.register_buffer(name, torch.tensor(values).view(3, 1, 1), persistent=False)

    def forward(
        self, images: Tensor, targets: list[dict[str, Tensor]] | None = None
    ) -> RoiOutputs | tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return the predictions, or with targets the losses and the counts by name.

        Args:
            images: `[B, 3, h, w]` floating point in [0, 1], RGB.
            targets: as `yolo.rcnn.targets.to_torchvision` returns them.
        """
        size = Size(*images.shape[-2:])
        shapes: list[tuple[int, int]] = [(size.height, size.width)] * len(images)
        features = self.backbone((images - self.mean) / self.std)
        # How many proposals there are depends on the mode, and losses are the same in both.
        was_training, self.rpn.training = self.rpn.training, targets is not None
        try:
            proposals, losses, counts = self.rpn(ImageList(images, shapes), features, targets)
        finally:
            self.rpn.training = was_training
        if targets is None:
            return RoiOutputs(*self.roi_heads.outputs(features, proposals, shapes), proposals, size)
        own, sampled = self.roi_heads.terms(features, proposals, shapes, targets)
        return {**losses, **own}, {**counts, **sampled}
