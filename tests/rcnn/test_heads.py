"""Proposals and heads against torchvision's own, on a tiny network."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torchvision.models.detection import FasterRCNN
from torchvision.ops import box_iou

from tests.support.tiny_rcnn import SIDE, batch, tiny_rcnn
from yolo.data.order import torch_chance
from yolo.rcnn.heads import Named, Proposer, RoiHeads
from yolo.rcnn.losses import BoxLoss

OBJECTS = [(4.0, 6.0, 20.0, 30.0), (30.0, 28.0, 60.0, 58.0)], [(10.0, 10.0, 22.0, 40.0)]

BATCHES = {"objects": OBJECTS, "one image without": (OBJECTS[0], []), "none": ([], [])}

TERMS = ("loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg")


class Ours(nn.Module):
    """The tiny network with the heads of this program in place of torchvision's, as training calls them."""

    def __init__(self, model: FasterRCNN, loss: BoxLoss | None = None, **options: Any) -> None:
        super().__init__()
        self.backbone = model.backbone
        self.rpn = Proposer.of(model.rpn, loss or BoxLoss())
        options = {"roi_fraction": 0.25, "hard_negatives": False} | options
        self.roi_heads = RoiHeads.of(model.roi_heads, loss or BoxLoss(), **options)

    def forward(self, *boxes: list[tuple[float, float, float, float]]) -> tuple[list[Tensor], Named, Named]:
        """Return proposals, losses and counts of a batch, with the same random numbers each time."""
        images, targets = batch(*boxes)
        with torch_chance(5):
            features = self.backbone(images.tensors)
            proposals, losses, counts = self.rpn(images, features, targets)
            more = self.roi_heads.terms(features, proposals, images.image_sizes, targets)
        return proposals, losses | more[0], counts | more[1]


def theirs(model: FasterRCNN, *boxes: list[tuple[float, float, float, float]]) -> tuple[list[Tensor], Named]:
    """Return torchvision's proposals and losses for the same batch and random numbers."""
    images, targets = batch(*boxes)
    with torch_chance(5):
        features = model.backbone(images.tensors)
        proposals, losses = model.rpn(images, features, targets)
        _, more = model.roi_heads(features, proposals, images.image_sizes, targets)
    return proposals, losses | more


@pytest.mark.parametrize("boxes", BATCHES.values(), ids=BATCHES)
def test_losses_are_torchvisions(boxes: tuple[list[tuple[float, float, float, float]], ...]) -> None:
    """Bit for bit, and so are proposals and gradients; all are finite, without objects as well."""
    model, other = tiny_rcnn(), tiny_rcnn()
    proposals, losses, counts = Ours(model)(*boxes)
    proposals_, expected = theirs(other, *boxes)
    assert all(map(torch.equal, proposals, proposals_))
    assert tuple(losses) == TERMS
    for name in TERMS:
        assert torch.equal(losses[name], expected[name]), name
        assert bool(losses[name].isfinite())
    sum(losses.values(), torch.tensor(0.0)).backward()
    sum(expected.values(), torch.tensor(0.0)).backward()
    for (name, parameter), parameter_ in zip(model.named_parameters(), other.parameters(), strict=True):
        assert parameter.grad is not None, name
        assert torch.equal(parameter.grad, parameter_.grad), name
    assert (counts["positive_anchors"] == 0) == (boxes == BATCHES["none"])


def test_modules_and_thresholds_are_shared() -> None:
    """So the weights of torchvision's files fit, and an optimizer of either trains both."""
    model = tiny_rcnn()
    model.rpn.nms_thresh, model.rpn.score_thresh = 0.6, 0.01
    model.roi_heads.nms_thresh, model.roi_heads.box_coder.weights = 0.4, (8.0, 8.0, 4.0, 4.0)
    ours = Ours(model, roi_fraction=0.5)
    model.roi_heads.fg_bg_sampler.positive_fraction = 0.5
    for own, other in ((ours.rpn, model.rpn), (ours.roi_heads, model.roi_heads)):
        assert list(own.state_dict()) == list(other.state_dict())
        assert list(map(id, own.parameters())) == list(map(id, other.parameters()))
        for name, value in vars(other).items():
            if name in ("box_coder", "proposal_matcher", "fg_bg_sampler"):
                assert vars(getattr(own, name)) == vars(value), name
            elif name.startswith(("_pre_nms", "_post_nms")) or not name.startswith("_"):
                assert getattr(own, name) == value, name


def test_counts() -> None:
    """Of all anchors, by torchvision's rule: positive from an IoU of 0.7, or the best one of an object; negative below
    0.3. Of the proposals, what the sampler took."""
    ours = Ours(tiny_rcnn())
    _, _, counts = ours(*OBJECTS)
    images, targets = batch(*OBJECTS)
    maps = [torch.zeros(1, 1, SIDE // stride, SIDE // stride) for stride in (8, 16)]
    positive = negative = 0
    for anchors, target in zip(ours.rpn.anchor_generator(images, maps), targets, strict=True):
        overlap = box_iou(target["boxes"], anchors)
        best = (overlap == overlap.max(1, keepdim=True).values).any(0)
        positive += int(((overlap.max(0).values >= 0.7) | best).sum())
        negative += int(((overlap.max(0).values < 0.3) & ~best).sum())
    assert (positive, negative) == (int(counts["positive_anchors"]), int(counts["negative_anchors"]))
    assert counts["anchors"] == 2 * 3 * (8 * 8 + 4 * 4)
    assert counts["sampled_objects"] + counts["sampled_background"] == 2 * 24
    assert all(count.dtype == torch.int64 and count.shape == () for count in counts.values())


def test_share_of_objects() -> None:
    """At most `roi_fraction` of the 24 proposals of an image are objects: with more objects than fit, just as many."""
    crowd = [(8.0 * x, 8.0 * y, 8.0 * x + 8, 8.0 * y + 8) for x in range(8) for y in range(8)]
    for fraction, objects in ((0.25, 6), (0.5, 12), (1.0, 24)):
        _, _, counts = Ours(tiny_rcnn(), roi_fraction=fraction)(crowd)
        assert (counts["sampled_objects"], counts["sampled_background"]) == (objects, 24 - objects)


def test_what_each_loss_trains() -> None:
    """The table of docs/faster-rcnn.md: a loss has gradients in its own layer and in what this depends on. Proposals
    have none, so the losses of the detections do not train the proposals."""
    rpn, shared = {"rpn.head.conv"}, {"backbone"}
    roi = {"roi_heads.box_head"}
    trained = {
        "loss_objectness": {"rpn.head.cls_logits"} | rpn | shared,
        "loss_rpn_box_reg": {"rpn.head.bbox_pred"} | rpn | shared,
        "loss_classifier": {"roi_heads.box_predictor.cls_score"} | roi | shared,
        "loss_box_reg": {"roi_heads.box_predictor.bbox_pred"} | roi | shared,
    }
    parts = set().union(*trained.values())
    for name, expected in trained.items():
        ours = Ours(tiny_rcnn())
        _, losses, _ = ours(*OBJECTS)
        losses[name].backward()
        moved = {key for key, value in ours.named_parameters() if value.grad is not None and value.grad.any()}
        assert {part for part in parts if any(key.startswith(part) for key in moved)} == expected, name


@pytest.mark.parametrize("kind", ["giou", "diou", "ciou"])
def test_other_losses_of_boxes(kind: str) -> None:
    """They change the two losses of boxes, by their gain too, and nothing else."""
    _, plain, _ = Ours(tiny_rcnn())(*OBJECTS)
    _, losses, _ = Ours(tiny_rcnn(), BoxLoss(kind))(*OBJECTS)  # type: ignore[arg-type]
    _, twice, _ = Ours(tiny_rcnn(), BoxLoss(kind, gain=2))(*OBJECTS)  # type: ignore[arg-type]
    for name in TERMS:
        assert torch.equal(losses[name], plain[name]) == ("box" not in name)
        assert torch.equal(twice[name], losses[name] * (2 if "box" in name else 1))
        assert bool(losses[name].isfinite())


def watched(heads: RoiHeads) -> list[tuple[list[Tensor], Tensor]]:
    """Return a list that fills with the proposals and the logits of every call of `outputs`."""
    calls: list[tuple[list[Tensor], Tensor]] = []
    original = heads.outputs

    def outputs(features: Named, proposals: list[Tensor], shapes: Any) -> tuple[Tensor, Tensor]:
        logits, deltas = original(features, proposals, shapes)
        calls.append((proposals, logits))
        return logits, deltas

    heads.outputs = outputs  # type: ignore[method-assign]
    return calls


def test_hard_negatives_are_those_with_the_highest_loss() -> None:
    """No other background proposal has a higher loss. As many as without, and the sampled objects are the same."""
    plain, hard = Ours(tiny_rcnn()), Ours(tiny_rcnn(), hard_negatives=True)
    random, calls = watched(plain.roi_heads), watched(hard.roi_heads)
    _, easy, counts = plain(*OBJECTS)
    _, losses, counts_ = hard(*OBJECTS)
    assert counts == counts_
    assert losses["loss_classifier"] > easy["loss_classifier"]
    assert torch.equal(losses["loss_box_reg"], easy["loss_box_reg"])
    (everything, logits), (sampled, _) = calls
    assert not logits.requires_grad
    for k, (boxes, scores) in enumerate(zip(everything, logits.split(list(map(len, everything))), strict=True)):
        overlap = box_iou(torch.tensor(OBJECTS[k]), boxes).max(0).values
        loss = cross_entropy(scores, torch.zeros(len(scores), dtype=torch.int64), reduction="none")
        taken = (boxes[:, None] == sampled[k]).all(2).any(1)
        background = overlap < 0.5
        assert loss[background & taken].min() >= loss[background & ~taken].max()
        objects, objects_ = (
            each[box_iou(torch.tensor(OBJECTS[k]), each).max(0).values >= 0.5] for each in (sampled[k], random[0][0][k])
        )
        assert torch.equal(objects, objects_)


def test_hard_negatives_stay_out_of_batch_norm() -> None:
    """Only the sampled proposals enter its statistics, and the head is in its mode again."""
    head = nn.Sequential(nn.Conv2d(8, 16, 3), nn.BatchNorm2d(16), nn.Flatten())
    ours = Ours(tiny_rcnn(head), hard_negatives=True)
    calls = watched(ours.roi_heads)
    ours(*OBJECTS)
    assert len(calls) == 2
    norm = head[1]
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.num_batches_tracked == 1
    assert norm.training
    assert head.training


@pytest.mark.parametrize("hard", [False, True])
def test_bfloat16_reaches_no_box(hard: bool) -> None:
    """Under autocast the layers are rounded and the boxes are not: they are near those of float32, and not on the grid
    of bfloat16. Losses are float32, and every parameter has a gradient."""
    model = tiny_rcnn(spread=0.05)
    model.rpn.nms_thresh = 1.0  # all anchors become proposals, so that the two lists have the same boxes
    ours = Ours(model, hard_negatives=hard)
    exact, losses, _ = ours(*OBJECTS)
    with torch.autocast("cpu", torch.bfloat16):
        rounded, losses_, _ = ours(*OBJECTS)
    for one, other in zip(exact, rounded, strict=True):
        assert other.dtype == torch.float32
        assert float(torch.cdist(other, one).min(1).values.quantile(0.9)) < 0.2
        assert float((other == other.bfloat16()).all(1).float().mean()) < 0.1
    for name in TERMS:
        assert losses_[name].dtype == torch.float32
        torch.testing.assert_close(losses_[name], losses[name], rtol=0.1, atol=0.05)
    assert all(cell.dtype == torch.float32 for cell in ours.rpn.anchor_generator.cell_anchors)
    sum(losses_.values(), torch.tensor(0.0)).backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in ours.parameters())


def test_proposals_without_targets() -> None:
    """As detection wants them: no losses and no counts, and torchvision's proposals and outputs."""
    model = tiny_rcnn().eval()
    ours = Ours(model).eval()
    images, _ = batch(*OBJECTS)
    with torch.no_grad():
        features = model.backbone(images.tensors)
        expected, _ = model.rpn(images, features)
        proposals, losses, counts = ours.rpn(images, features)
        logits, deltas = ours.roi_heads.outputs(features, proposals, images.image_sizes)
        detections, _ = model.roi_heads(features, expected, images.image_sizes)
        boxes, scores, labels = ours.roi_heads.postprocess_detections(logits, deltas, proposals, images.image_sizes)
    assert (losses, counts) == ({}, {})
    assert all(map(torch.equal, proposals, expected))
    for k, found in enumerate(detections):
        assert torch.equal(found["boxes"], boxes[k])
        assert torch.equal(found["scores"], scores[k])
        assert torch.equal(found["labels"], labels[k])
