"""The `[net]` section of a darknet `.cfg`. No torch."""

from __future__ import annotations

from dataclasses import dataclass

from yolo.darknet.keys import Section, SectionError, integer, integers, real, reals, word


@dataclass(frozen=True, kw_only=True)
class Net(Section):
    """`[net]`. Only width, height and channels affect the network. The other keys are read and kept."""

    NAMES = ("net", "network")
    width: int = integer(0, 1)
    height: int = integer(0, 1)
    channels: int = integer(0, 1)
    inputs: int = integer(0, refuse="the input is an image: set width, height and channels")
    batch: int = integer(1, 1)
    subdivisions: int = integer(1, 1)
    learning_rate: float = real(0.001)
    momentum: float = real(0.9)
    decay: float = real(0.0001)
    policy: str = word("constant", ["random", "poly", "constant", "step", "exp", "sigmoid", "steps", "sgdr"])
    steps: tuple[int, ...] = integers()
    scales: tuple[float, ...] = reals()
    seq_scales: tuple[float, ...] = reals()
    step: int = integer(1)
    scale: float = real(1.0)
    gamma: float = real(1.0)
    power: float = real(4.0)
    burn_in: int = integer(0)
    max_batches: int = integer(0)
    learning_rate_min: float = real(1e-5)
    sgdr_cycle: int = integer(0)
    sgdr_mult: int = integer(2)
    adam: int = integer(0)
    B1: float = real(0.9)
    B2: float = real(0.999)
    eps: float = real(1e-6)
    angle: float = real(0.0)
    aspect: float = real(1.0)
    saturation: float = real(1.0)
    exposure: float = real(1.0)
    hue: float = real(0.0)
    flip: int = integer(1)
    blur: int = integer(0)
    gaussian_noise: int = integer(0)
    mixup: int = integer(0)
    cutmix: int = integer(0)
    mosaic: int = integer(0)
    mosaic_bound: int = integer(0)
    letter_box: int = integer(0)
    resize_step: int = integer(32)
    label_smooth_eps: float = real(0.0)
    ema_alpha: float = real(0.0)
    adversarial_lr: float = real(0.0)
    attention: int = integer(0)
    weights_reject_freq: int = integer(0)
    equidistant_point: int = integer(0)
    badlabels_rejection_percentage: float = real(0.0)
    num_sigmas_reject_badlabels: float = real(0.0)
    track: int = integer(0)
    augment_speed: int = integer(2)
    time_steps: int = integer(1)
    sequential_subdivisions: int = integer(1)
    contrastive: int = integer(0, refuse="contrastive learning is out of scope")
    contrastive_jit_flip: int = integer(0)
    contrastive_color: int = integer(0)
    unsupervised: int = integer(0)
    try_fix_nan: int = integer(0)
    loss_scale: float = real(1.0)
    use_cuda_graph: int = integer(0)
    dynamic_minibatch: int = integer(0)
    optimized_memory: int = integer(0)
    workspace_size_limit_MB: int = integer(1024)  # noqa: N815, darknet's spelling
    max_chart_loss: float = real(20.0)
    show_receptive_field: int = integer(0)
    max_crop: int = integer(0)
    min_crop: int = integer(0)
    max_ratio: float = real(0.0)
    min_ratio: float = real(0.0)
    center: int = integer(0)
    clip: float = real(0.0)
    random: int = integer(0)
    notruth: int = integer(0)

    def check(self) -> None:
        """Require the three sizes, and as many `scales` as `steps`."""
        for key in ("width", "height", "channels"):
            if getattr(self, key) < 1:
                raise SectionError(key, "", "expected the input size: width, height and channels")
        if self.policy == "steps" and len(self.steps) != len(self.scales):
            got = f"{len(self.scales)} numbers"
            raise SectionError("scales", got, f"expected one for each of the {len(self.steps)} steps")
