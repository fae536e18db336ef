"""Networks that give one box per image, together with a class or the presence of an object.

Each returns `(logits, boxes)`. `boxes` `[B, 4]` are (xmin, ymin, xmax, ymax) as fractions of the input; the losses and
thresholds apply the sigmoid or softmax of the logits. Switches such as `norm` and `dropout` do not change the names of
the layers.

Letters: `B` images, `C` classes, `h, w` height and width of the input in pixels.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import batch_norm


class Norm(nn.BatchNorm1d):
    """Batch norm of `[B, C]` that uses its running statistics for a batch of one, which has no variance."""

    def forward(self, x: Tensor) -> Tensor:
        """Return `[B, C]`, normalised."""
        if not self.training or len(x) > 1:  # in this order, since an exporter would fix the length
            return super().forward(x)
        return batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)


class LocalizationNet(nn.Module):
    """Presence and box from features: two branches of two fully connected layers, which share nothing but their input.

    Args:
        inputs: the number of features of an image.
        hidden: the width of the first layer of each branch.
        norm: batch norm after the first layer of each branch.
        dropout: the share of hidden values that training drops.
    """

    def __init__(self, inputs: int, hidden: int = 128, *, norm: bool = True, dropout: float = 0.0) -> None:
        super().__init__()

        def branch(outputs: int, *last: nn.Module) -> nn.Sequential:
            between = Norm(hidden) if norm else nn.Identity()
            first, second = nn.Linear(inputs, hidden), nn.Linear(hidden, outputs)
            return nn.Sequential(nn.Flatten(), first, between, nn.ReLU(), nn.Dropout(dropout), second, *last)

        self.presence = branch(1)
        self.box = branch(4, nn.Sigmoid())

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits of presence `[B]` and boxes `[B, 4]` in (0, 1) of features `[B, ...]`, which are flattened."""
        return self.presence(features).squeeze(1), self.box(features)


class SimpleDetector(nn.Module):
    """Class and box from pixels: two convolutions, each with ReLU and pooling, and one linear layer for each output.

    Args:
        classes: the number of classes.
        size: height and width of the input in pixels, at least 4 each.
        dropout: the share of values that training drops after each convolution block.
        sigmoid: whether the boxes end with a sigmoid. Without it they can leave the image.
    """

    def __init__(
        self, classes: int = 10, size: tuple[int, int] = (256, 256), *, dropout: float = 0.0, sigmoid: bool = False
    ) -> None:
        super().__init__()
        if min(size) < 4:
            raise ValueError(
                f"size={size}: two poolings need at least 4 pixels of height and width; give a larger size"
            )

        def block(channels: int, filters: int) -> list[nn.Module]:
            return [nn.Conv2d(channels, filters, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(dropout)]

        self.size = tuple(size)
        self.features = nn.Sequential(*block(3, 16), *block(16, 32), nn.Flatten())
        inputs = 32 * (size[0] // 4) * (size[1] // 4)
        self.classifier = nn.Linear(inputs, classes)
        self.box = nn.Sequential(nn.Linear(inputs, 4), nn.Sigmoid() if sigmoid else nn.Identity())

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits `[B, C]` and boxes `[B, 4]` of images, floating point `[B, 3, h, w]` in [0, 1].

        Raises ValueError for images of another size than that of the network.
        """
        if images.shape[2:] != self.size:
            raise ValueError(
                f"images are {list(images.shape)}, expected [B, 3, {self.size[0]}, {self.size[1]}]: resize"
            )
        features = self.features(images)
        return self.classifier(features), self.box(features)


class LargestHead(nn.Module):
    """Class and box from the maps of a backbone, from one hidden layer: the head of fast.ai's 2018 course (lesson 9).

    Args:
        inputs: the number of values of the maps of an image, channels x rows x columns.
        classes: the number of classes.
    """

    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(inputs, 256),
            nn.ReLU(),
            Norm(256),
            nn.Dropout(0.5),
            nn.Linear(256, classes + 4),
        )

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits `[B, C]` and boxes `[B, 4]` in (0, 1) of maps `[B, ...]`, which are flattened."""
        outputs = self.layers(maps)
        return outputs[:, :-4], outputs[:, -4:].sigmoid()
