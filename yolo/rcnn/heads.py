"""The two heads of Faster R-CNN: proposals, and the class and box of each. Sampling and matching are torchvision's.

They differ from torchvision's in the loss of boxes, in hard negatives, in what they count, and in arithmetic: under
autocast only their layers compute in bfloat16. A number of that type has 8 bits, so boxes would be whole multiples of 2
pixels beyond 256. With the default options the losses are torchvision's, bit for bit.

Letters: `B` images, `A` anchors of an image, `P` proposals or samples, `C` classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Self

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, pad
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork, concat_box_prediction_layers

from yolo.rcnn.losses import BoxLoss, hard_negatives

Named = dict[str, Tensor]
"""Tensors by name: feature maps, a target (boxes `[G, 4]` float32, labels `[G]` int64 from 1), losses, counts."""

Shapes = Sequence[tuple[int, int]]
"""Height and width of each image in pixels."""


class Proposer(RegionProposalNetwork):
    """The region proposal network: scores the anchors and moves them to objects."""

    loss: BoxLoss

    @classmethod
    def of(cls, theirs: RegionProposalNetwork, loss: BoxLoss) -> Self:
        """Return a proposer with the modules, parameters and thresholds of torchvision's network, which it shares."""
        matcher, sampler = theirs.proposal_matcher, theirs.fg_bg_sampler
        own = cls(
            theirs.anchor_generator,
            theirs.head,
            matcher.high_threshold,
            matcher.low_threshold,
            sampler.batch_size_per_image,
            sampler.positive_fraction,
            theirs._pre_nms_top_n,
            theirs._post_nms_top_n,
            theirs.nms_thresh,
            theirs.score_thresh,
        )
        own.loss = loss
        return own

    def forward(
        self, images: ImageList, features: Named, targets: Sequence[Named] | None = None
    ) -> tuple[list[Tensor], Named, Named]:
        """Return the proposals, and with targets the losses and the counts.

        Args:
            images: the images; only their sizes are read.
            features: the maps of the backbone, `[B, channels, H, W]`.
            targets: B targets, or None.

        Returns:
            Proposals, B times `[P, 4]` xyxy in pixels, without gradient; more of them in training mode. Losses
            `loss_objectness`, `loss_rpn_box_reg`, means over the sampled anchors. Counts of all anchors, int64:
            `anchors`, `positive_anchors`, `negative_anchors`.
        """
        maps = list(features.values())
        scores, deltas = self.head(maps)
        with torch.autocast(maps[0].device.type, enabled=False):
            # The generator keeps its anchors in the type of the maps, from one call to the next.
            anchors = self.anchor_generator(images, [level.detach().float() for level in maps])
            per_level = [level[0].numel() for level in scores]
            scores, deltas = concat_box_prediction_layers(*([x.float() for x in levels] for levels in (scores, deltas)))
            boxes = self.box_coder.decode(deltas.detach(), anchors).view(len(anchors), -1, 4)
            proposals, _ = self.filter_proposals(boxes, scores, images.image_sizes, per_level)
            learned = ({}, {}) if targets is None else self._terms(scores.flatten(), deltas, anchors, targets)
        return proposals, *learned

    def _terms(
        self, scores: Tensor, deltas: Tensor, anchors: list[Tensor], targets: Sequence[Named]
    ) -> tuple[Named, Named]:
        """Return losses and counts; `scores` `[B · A]`, `deltas` `[B · A, 4]`, `anchors` B times `[A, 4]`."""
        found = self.assign_targets_to_anchors(anchors, targets)
        objects, background = (torch.where(torch.cat(masks))[0] for masks in self.fg_bg_sampler(found[0]))
        sampled = torch.cat((objects, background))
        labels, truths, references = (torch.cat(of_images) for of_images in (*found, anchors))
        box = self.loss(deltas[objects], truths[objects], references[objects], self.box_coder)
        losses = {
            "loss_objectness": binary_cross_entropy_with_logits(scores[sampled], labels[sampled]),
            "loss_rpn_box_reg": box / len(sampled),
        }
        positive = (labels > 0).sum()
        counts = {"anchors": positive.new_full((), len(labels)), "positive_anchors": positive}
        return losses, {**counts, "negative_anchors": (labels == 0).sum()}


class _Samples(NamedTuple):
    """The sampled proposals of B images, each list with a tensor for each image."""

    proposals: list[Tensor]  # [P, 4] xyxy
    labels: list[Tensor]  # [P], 0 is background
    truths: list[Tensor]  # [P, 4] xyxy, of background any box


class RoiHeads(RoIHeads):
    """Gives each proposal the scores of the classes, and for each class the offsets of its box."""

    loss: BoxLoss
    hard_negatives: bool

    @classmethod
    def of(cls, theirs: RoIHeads, loss: BoxLoss, roi_fraction: float, *, hard_negatives: bool) -> Self:
        """Return heads with the modules, parameters and thresholds of torchvision's, which they share.

        Args:
            theirs: torchvision's heads.
            loss: the loss of boxes.
            roi_fraction: the largest share of objects among the sampled proposals of an image.
            hard_negatives: sample the background proposals with the highest class loss instead of random ones.
        """
        matcher = theirs.proposal_matcher
        own = cls(
            theirs.box_roi_pool,
            theirs.box_head,
            theirs.box_predictor,
            matcher.high_threshold,
            matcher.low_threshold,
            theirs.fg_bg_sampler.batch_size_per_image,
            roi_fraction,
            theirs.box_coder.weights,
            theirs.score_thresh,
            theirs.nms_thresh,
            theirs.detections_per_img,
        )
        own.loss, own.hard_negatives = loss, hard_negatives
        return own

    def outputs(self, features: Named, proposals: list[Tensor], shapes: Shapes) -> tuple[Tensor, Tensor]:
        """Return logits `[P, C + 1]`, background first, and offsets `[P, 4 (C + 1)]`, float32; P over all images."""
        with torch.autocast(proposals[0].device.type, enabled=False):
            cells = self.box_roi_pool({name: level.float() for name, level in features.items()}, proposals, shapes)
        logits, deltas = self.box_predictor(self.box_head(cells))
        return logits.float(), deltas.float()

    def terms(
        self, features: Named, proposals: list[Tensor], shapes: Shapes, targets: Sequence[Named]
    ) -> tuple[Named, Named]:
        """Return the losses and the counts of a batch.

        Args:
            features: the maps of the backbone, `[B, channels, H, W]`.
            proposals: B times `[P, 4]` xyxy in pixels. The boxes of the targets are added to them.
            shapes: sizes of the images.
            targets: B targets.

        Returns:
            Losses `loss_classifier`, `loss_box_reg`, means over the sampled proposals. Counts of these, int64:
            `sampled_objects`, `sampled_background`.
        """
        with torch.autocast(proposals[0].device.type, enabled=False):
            found = self._matched(proposals, targets)
        picked = self.fg_bg_sampler(found.labels)
        background = self._hardest(features, shapes, found, picked[1]) if self.hard_negatives else picked[1]
        rows = [torch.where(masks[0] | masks[1])[0] for masks in zip(picked[0], background, strict=True)]
        sampled = _Samples(*([x[row] for x, row in zip(of, rows, strict=True)] for of in found))
        logits, deltas = self.outputs(features, sampled.proposals, shapes)
        with torch.autocast(logits.device.type, enabled=False):
            references, labels, truths = (torch.cat(of_images) for of_images in sampled)
            objects = torch.where(labels > 0)[0]
            own = deltas.unflatten(1, (-1, 4))[objects, labels[objects]]
            box = self.loss(own, truths[objects], references[objects], self.box_coder)
            losses = {"loss_classifier": cross_entropy(logits, labels), "loss_box_reg": box / len(labels)}
        return losses, {"sampled_objects": (labels > 0).sum(), "sampled_background": (labels == 0).sum()}

    def _matched(self, proposals: list[Tensor], targets: Sequence[Named]) -> _Samples:
        """Return all proposals and the objects' own boxes, with the label and the box of the object of each."""
        boxes = [target["boxes"] for target in targets]
        proposals = self.add_gt_proposals(proposals, boxes)
        matches, labels = self.assign_targets_to_proposals(proposals, boxes, [target["labels"] for target in targets])
        # In an image without objects every proposal matches box 0, which does not exist.
        return _Samples(
            proposals, labels, [pad(box, (0, 0, 0, 1))[match] for box, match in zip(boxes, matches, strict=True)]
        )

    @torch.no_grad()
    def _hardest(self, features: Named, shapes: Shapes, found: _Samples, picked: Sequence[Tensor]) -> list[Tensor]:
        """Return masks of as many background proposals as are `picked`, per image: those with the highest loss."""
        # In evaluation mode, since these proposals must not enter the statistics of a batch norm.
        mode = self.box_head.training
        self.box_head.eval()
        logits, _ = self.outputs(features, found.proposals, shapes)
        self.box_head.train(mode)
        # Autocast keeps the weights that it rounded; in older versions of PyTorch those would have no gradient later.
        torch.clear_autocast_cache()
        each = zip(logits.split([len(labels) for labels in found.labels]), found.labels, picked, strict=True)
        return [hard_negatives(scores, labels, int(mask.sum())) for scores, labels, mask in each]
