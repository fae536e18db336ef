"""The `[net]` section of a darknet `.cfg`. No torch."""

from __future__ import annotations

from dataclasses import dataclass

from yolo.darknet.keys import Section, SectionError, integer, integers, real, reals, training, word

POLICIES = ["random", "poly", "constant", "step", "exp", "sigmoid", "sig", "steps", "sgdr"]


@dataclass(frozen=True, kw_only=True)
class Net(Section):
    """`[net]`. Only width, height and channels affect the network. The other keys are read and kept."""

    NAMES = ("net", "network")
    width: int = integer(0, 1)
    height: int = integer(0, 1)
    channels: int = integer(0, 1)
    inputs: int = integer(0, refuse="the input is an image: set width, height and channels")
    batch: int = training(integer(1, 1))
    subdivisions: int = training(integer(1, 1))
    learning_rate: float = training(real(0.001))
    momentum: float = training(real(0.9))
    decay: float = training(real(0.0001))
    policy: str = training(word("constant", POLICIES))
    steps: tuple[int, ...] = training(integers())
    scales: tuple[float, ...] = training(reals())
    seq_scales: tuple[float, ...] = training(reals())
    step: int = training(integer(1))
    scale: float = training(real(1.0))
    gamma: float = training(real(1.0))
    power: float = training(real(4.0))
    burn_in: int = training(integer(0))
    max_batches: int = training(integer(0))
    learning_rate_min: float = training(real(1e-5))
    sgdr_cycle: int = training(integer(0))
    sgdr_mult: int = training(integer(2))
    adam: int = training(integer(0))
    B1: float = training(real(0.9))
    B2: float = training(real(0.999))
    eps: float = training(real(1e-6))
    angle: float = training(real(0.0))
    aspect: float = training(real(1.0))
    saturation: float = training(real(1.0))
    exposure: float = training(real(1.0))
    hue: float = training(real(0.0))
    flip: int = training(integer(1))
    blur: int = training(integer(0))
    gaussian_noise: int = training(integer(0))
    mixup: int = training(integer(0))
    cutmix: int = training(integer(0))
    mosaic: int = training(integer(0))
    mosaic_bound: int = training(integer(0))
    letter_box: int = integer(0)
    resize_step: int = training(integer(32))
    label_smooth_eps: float = training(real(0.0))
    ema_alpha: float = training(real(0.0))
    adversarial_lr: float = training(real(0.0))
    attention: int = training(integer(0))
    weights_reject_freq: int = training(integer(0))
    equidistant_point: int = training(integer(0))
    badlabels_rejection_percentage: float = training(real(0.0))
    num_sigmas_reject_badlabels: float = training(real(0.0))
    track: int = training(integer(0))
    augment_speed: int = training(integer(2))
    time_steps: int = training(integer(1))
    sequential_subdivisions: int = training(integer(1))
    contrastive: int = integer(0, refuse="contrastive learning is out of scope")
    contrastive_jit_flip: int = training(integer(0))
    contrastive_color: int = training(integer(0))
    unsupervised: int = training(integer(0))
    try_fix_nan: int = training(integer(0))
    loss_scale: float = training(real(1.0))
    use_cuda_graph: int = training(integer(0))
    dynamic_minibatch: int = training(integer(0))
    optimized_memory: int = training(integer(0))
    workspace_size_limit_MB: int = training(integer(1024))  # noqa: N815, darknet's spelling
    max_chart_loss: float = training(real(20.0))
    show_receptive_field: int = training(integer(0))
    max_crop: int = training(integer(0))
    min_crop: int = training(integer(0))
    max_ratio: float = training(real(0.0))
    min_ratio: float = training(real(0.0))
    center: int = training(integer(0))
    clip: float = training(real(0.0))
    random: int = training(integer(0))
    notruth: int = training(integer(0))

    def check(self) -> None:
        """Require the three sizes."""
        for key in ("width", "height", "channels"):
            if getattr(self, key) < 1:
                raise SectionError(key, "", "expected the input size: width, height and channels")

    def remarks(self) -> list[tuple[str, str]]:
        """Remark on another number of `scales` than `steps`."""
        if self.policy != "steps" or len(self.steps) == len(self.scales):
            return []
        return [("scales", f"scales={len(self.scales)} numbers: expected one for each of the {len(self.steps)} steps")]
