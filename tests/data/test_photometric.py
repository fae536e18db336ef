"""Photometric distortion: colours change in its share of the images, boxes and all other random numbers never."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2

from tests.data.test_batches import EVERYTHING, SIZE, Drawn, equal
from yolo.data.loader import Batch, Loader
from yolo.data.order import Draw, chance, torch_chance
from yolo.data.sampler import Batches
from yolo.data.transforms import Augmented
from yolo.options.augment import PLAIN, Augment


@pytest.mark.parametrize("options", [replace(PLAIN, flip=1), Augment(), EVERYTHING])
def test_it_is_torchvisions_after_all_else(options: Augment) -> None:
    """A sample is the one without it, put through torchvision's transform; the least share leaves every bit alone."""
    data = Drawn(6, empty=False)
    without, never, always = (
        Augmented(data, replace(options, photometric=share), seed=2) for share in (0, 1e-12, 1)
    )  # fmt: skip
    changed = 0
    for draw in (Draw(epoch, k, SIZE) for epoch in range(4) for k in range(6)):
        (image, target), (same, _), (distorted, after) = without[draw], never[draw], always[draw]
        assert torch.equal(image, same)
        own = chance(2, draw.epoch, draw.image, use=5)
        own.random()
        with torch_chance(int(own.integers(2**63))):
            assert torch.equal(v2.RandomPhotometricDistort()(image), distorted)
        assert all(torch.equal(torch.as_tensor(target[key]), torch.as_tensor(after[key])) for key in target)  # type: ignore[literal-required]
        assert distorted.dtype == torch.uint8
        assert distorted.permute(1, 2, 0).is_contiguous()
        changed += not torch.equal(image, distorted)
    assert changed > 12


def test_its_share() -> None:
    """About that share of the images changes, in each epoch others."""
    without, some = (Augmented(Drawn(40), replace(PLAIN, photometric=share), seed=1) for share in (1e-12, 0.3))
    changed = [
        {k for k in range(40) if not torch.equal(some[Draw(epoch, k, SIZE)][0], without[Draw(epoch, k, SIZE)][0])}
        for epoch in range(3)
    ]
    assert 15 < sum(map(len, changed)) < 50
    assert changed[0] != changed[1]


def test_workers_do_not_matter_and_torchs_numbers_stay() -> None:
    """It follows from seed, epoch and image; torch's random state is as before."""

    def batches(workers: int) -> list[Batch]:
        data = Augmented(Drawn(8), Augment(photometric=0.7), seed=7)
        return list(Loader(data, Batches(8, 4, SIZE, seed=7), workers=workers))

    state = torch.get_rng_state()
    first = batches(0)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(equal(a, b) for a, b in zip(first, batches(1), strict=True))


def test_the_last_epochs_are_plain() -> None:
    """It ends with all other augmentation."""
    data = Augmented(Drawn(1), replace(PLAIN, photometric=1, last_plain=1), epochs=2)
    image = Augmented(Drawn(1))[Draw(1, 0, SIZE)][0].as_subclass(Tensor)
    assert torch.equal(data[Draw(1, 0, SIZE)][0], image)
