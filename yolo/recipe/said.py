"""What a cfg asks of a training that is not done here, in sentences, and what cannot be trained. No torch.

Three things happen to a key. Most are done. Some would change darknet's training and are not done: `remarks` names
those that are set, before the first step. Some make a training meaningless: `check` refuses them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from yolo.darknet.cfg import Cfg
from yolo.darknet.head_sections import Yolo
from yolo.darknet.keys import Layer, Section, shown
from yolo.darknet.net import Net
from yolo.darknet.plan import make_plan
from yolo.names import did_you_mean

_CLASSIFIER = "darknet reads it for classifiers only; it has no effect on a detector, here either"
_ORIGINAL = "only the original darknet reads it, and only AlexeyAB's is followed: without effect"
_UNKNOWN = "an experiment of darknet that this program does not know; without effect here"

_TOLD: dict[type[Section], dict[str, str]] = {
    Net: {
        "adam": "darknet's GPU build trains with Adam, its CPU build ignores the key; here it is ignored: momentum SGD",
        "adversarial_lr attention":
            "darknet's GPU build changes images against the network in half of the updates; here images stay",
        "weights_reject_freq equidistant_point badlabels_rejection_percentage num_sigmas_reject_badlabels":
            "darknet leaves out gradients late in training that it mistrusts; here all of them count",
        "track time_steps sequential_subdivisions":
            "darknet trains on sequences of video frames; here every image is trained on its own",
        "seq_scales": "darknet changes the length of video sequences at its steps; here there are no sequences",
        "unsupervised": _UNKNOWN,
        "try_fix_nan": "darknet's GPU build replaces numbers that are not finite; here such a step ends the training",
        "loss_scale": "darknet scales gradients for float16; here they are float32 and need no scale",
        "dynamic_minibatch": "darknet enlarges the mini-batch at small input sizes; here it always has its own size",
        "blur gaussian_noise": "darknet blurs images or adds noise; no published cfg uses it, and it is not done here",
        "angle aspect": "darknet does not apply it to the images of detectors, and neither does this program",
        "cutmix max_crop min_crop": _CLASSIFIER,
        "label_smooth_eps": f"{_CLASSIFIER}. The key of the [yolo] sections counts",
        "max_ratio min_ratio center clip notruth": _ORIGINAL,
        "random": f"{_ORIGINAL}. Varying input sizes are the key of the [yolo] sections",
    },
    Yolo: {"delta_normalizer": "darknet's GPU build multiplies gradients by it, as here; its CPU build does not"},
    Layer: {
        "clip": "darknet's GPU build limits the weights of this layer; here they are not limited",
        "onlyforward": "darknet computes this layer forward only; here it is trained (dont_update=1 freezes a layer)",
        "burnin_update": "darknet has a rule of its own for this layer during the burn-in; here there is none",
        "dropblock dropblock_size_rel dropblock_size_abs":
            "darknet drops blocks of values, a number that grows during training; here single values are dropped",
        "assisted_excitation": "darknet amplifies this layer where labels are, less and less; here it is not changed",
        "grad_centr": "darknet's GPU build subtracts the mean of each filter's gradient; here gradients stay",
        "reverse": _UNKNOWN,
    },
}  # fmt: skip

SAID = {kind: {key: text for keys, text in table.items() for key in keys.split()} for kind, table in _TOLD.items()}
"""Keys that are not done: what darknet does, and what happens here. A value that is the default is not mentioned."""


def remarks(cfg: Cfg) -> list[str]:
    """Return a sentence for every key that is set and not done, in the order of the file.

    Each names file, line, section and value, what darknet would do, and what happens here. A key that several layers
    set is named once, at its first place.
    """
    found: dict[tuple[str, str, str], list[tuple[int, str]]] = {}
    for index, key, sentence in (*_set_and_not_done(cfg), *_combinations(cfg)):
        section = _section(cfg, index)
        line = dict(section.source.keys).get(key, section.source.line)
        place = str(cfg.error(index, f"{key}={_text(getattr(section, key))}: {sentence}", key))
        found.setdefault((section.name, key, sentence), []).append((line, place))
    lines = []
    for (name, _, _), places in found.items():
        more = f" (so in {len(places) - 1} more [{name}] sections)" if len(places) > 1 else ""
        lines.append((places[0][0], f"{places[0][1]}{more}"))
    return [line for _, line in sorted(lines, key=lambda line: line[0])]


def check(cfg: Cfg) -> None:
    """Raise CfgError, with file and line, where a cfg cannot be trained as darknet would train it.

    Refused are heads that are not `[yolo]`, values that cannot be read, and numbers without a meaning: darknet stops at
    some of them, and trains something else than what is written at others.
    """
    if not cfg.heads:
        raise cfg.error(-1, "no [yolo] section follows, so there is no detector to train")
    for index in range(-1, len(cfg.layers)):
        section = _section(cfg, index)
        done = {f.name: f for f in section.fields() if f.name not in _not_done(section)}
        for key, text in section.source.unknown:  # the reader keeps what it could not read, and uses the default
            try:
                _ = text and key in done and done[key].metadata["parse"](text)
            except ValueError as problem:
                raise cfg.error(index, f"{key}={shown(text)}: {problem}", key) from None
    heads = [(index, _yolo(cfg, index)) for index in cfg.heads]
    every = [*((index, head, _head_rules(head)) for index, head in heads), (-1, cfg.net, _net_rules(cfg))]
    for index, section, rules in every:
        for key, fits, expected in rules:
            if not fits:
                raise cfg.error(index, f"{key}={_text(getattr(section, key))}: expected {expected}", key)


def _net_rules(cfg: Cfg) -> Iterator[tuple[str, bool, str]]:
    """Yield a key of `[net]`, whether its value has a meaning, and what was expected."""
    net, last = cfg.net, _yolo(cfg, cfg.heads[-1])
    once = "cfgs for detection have 1; their lines for training are often there as comments"
    policy = f"with policy={net.policy}"
    yield "max_batches", net.max_batches >= 1, "the number of updates of the training, at least 1"
    yield "batch", net.batch >= 2, f"at least 2 images per update, as darknet does ({once})"
    yield "subdivisions", net.subdivisions <= net.batch, f"at most batch={net.batch}: a mini-batch has images"
    for key in ("saturation", "exposure"):
        yield key, getattr(net, key) > 0, "a factor above 0; 1 changes nothing"
    yield "learning_rate", 0 < net.learning_rate < math.inf, "a rate above 0"
    yield "momentum", 0 <= net.momentum < 1, "a share of the last update, from 0 and below 1"
    yield "decay", 0 <= net.decay < math.inf, "a number from 0"
    yield "ema_alpha", 0 <= net.ema_alpha < 1, "a share of the average that is kept, from 0 (off) and below 1"
    if net.policy == "steps":
        yield "steps", len(net.steps) > 0, f"the updates at which the rate changes {policy}, such as 8000,9000"
        yield "scales", len(net.steps) == len(net.scales), f"{len(net.steps)} factors, one for each of steps"
    if net.policy == "step":
        yield "step", net.step >= 1, f"at least 1 {policy}"
    if net.policy == "sgdr":
        yield "sgdr_cycle", net.sgdr_cycle >= 0, f"a number of updates {policy}; without the key it is max_batches"
        yield "sgdr_mult", net.sgdr_mult >= 1, f"at least 1 {policy}"
    if last.random:  # sizes of the input vary, and have to fit the strides
        layers = make_plan(cfg).layers
        whole = math.lcm(*(math.ceil(stride) for index in cfg.heads for stride in layers[index].stride))
        expected = f"a multiple of {whole}, the stride of the heads, since random={_text(last.random)} makes inputs of"
        yield "resize_step", net.resize_step >= 1 and net.resize_step % whole == 0, f"{expected} other sizes"


def _head_rules(head: Yolo) -> Iterator[tuple[str, bool, str]]:
    """Yield a key of a `[yolo]` section, whether its value has a meaning, and what was expected."""
    kinds = ["iou", "giou", "diou", "ciou"]
    for key, words in (("iou_loss", ["mse", *kinds]), ("iou_thresh_kind", kinds)):
        hint = did_you_mean(getattr(head, key), words)
        yield key, getattr(head, key) in words, f"one of {', '.join(words)}{f'; {hint}' if hint else ''}"
    fits = len(head.counters_per_class) in (0, head.classes)
    yield "counters_per_class", fits, f"a number for each of the {head.classes} classes"
    for key, fits in (("resize", head.resize > 0), ("random", head.random >= 0)):
        yield key, fits, "a factor above 0; 1 is the default"


def _yolo(cfg: Cfg, index: int) -> Yolo:
    """Return the head that is layer `index`. Raises CfgError for a `[region]`."""
    head = cfg.layers[index]
    if isinstance(head, Yolo):
        return head
    raise cfg.error(
        index,
        "the head of YOLOv2 is there for detection only and cannot be trained, with --recipe ours neither; "
        "train a cfg with [yolo] sections, such as yolov3-tiny.cfg, and keep this one for its weights",
    )


def _set_and_not_done(cfg: Cfg) -> Iterator[tuple[int, str, str]]:
    """Yield layer, key and sentence of what is in the table and not at its default."""
    for index in range(-1, len(cfg.layers)):
        section = _section(cfg, index)
        for field in section.fields():
            sentence = _not_done(section).get(field.name)
            if sentence and getattr(section, field.name) != field.default:
                yield index, field.name, sentence


def _combinations(cfg: Cfg) -> Iterator[tuple[int, str, str]]:
    """Yield layer, key and sentence of values that are without effect, or mean less, because of others."""
    net = cfg.net
    if net.subdivisions and net.batch % net.subdivisions:
        mini = net.batch // net.subdivisions
        used = f"{net.subdivisions} mini-batches of {mini}, so an update has {mini * net.subdivisions} images"
        yield -1, "batch", f"subdivisions={net.subdivisions} does not divide it. As in darknet, there are {used}"
    if net.ema_alpha and net.max_batches <= 2000:
        when = "averages from max_batches/2 on and applies it 1000 updates before the end"
        yield -1, "ema_alpha", f"darknet {when}; with max_batches={net.max_batches} that is never, here either"
    if net.mosaic and net.letter_box:
        yield -1, "mosaic", "darknet stops with letter_box=1; here each of the four images is letterboxed"
    heads = [(k, head) for k in cfg.heads if isinstance(head := cfg.layers[k], Yolo)]
    for index, head in heads:
        if head.cls_normalizer != 1 and not head.counters_per_class:
            yield index, "cls_normalizer", "it has no effect without counters_per_class, in darknet as here"
        for key in ("jitter", "resize", "random", "max"):
            if (value := getattr(heads[-1][1], key)) != getattr(head, key):
                yield index, key, f"darknet takes it from the last head, so {_text(value)} counts, here as well"


def _not_done(section: Section) -> dict[str, str]:
    """Return the keys of a section that are not done, each with its sentence."""
    return {key: text for kind, table in SAID.items() if isinstance(section, kind) for key, text in table.items()}


def _section(cfg: Cfg, index: int) -> Section:
    """Return layer `index`, -1 for `[net]`."""
    return cfg.layers[index] if index >= 0 else cfg.net


def _text(value: object) -> str:
    """Return a value as it is in a cfg."""
    if isinstance(value, tuple):
        return ",".join(map(_text, value))
    return f"{value:.7g}" if isinstance(value, float) else str(value)
