"""The models by name, each with its options and its builder. No torch: a builder is imported when it is needed.

Files and command lines only choose among these names: no module is ever imported because a file names it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, NamedTuple

from yolo.names import did_you_mean
from yolo.options.faster_rcnn import FasterRcnn
from yolo.options.single import Largest, Localizer, Simple
from yolo.options.train import Train
from yolo.options.training import Training

Builder = Callable[..., Any] | str
"""A function, or "module:function" of this program, imported at its first use."""


class Model(NamedTuple):
    """A registered model; see `register_model`."""

    builder: Builder
    options: type[Training]
    restore: Builder | None = None
    watchers: Sequence[Builder] = ()
    view: Builder | None = None


MODELS: dict[str, Model] = {
    "yolo": Model(
        "yolo.models.build:build_yolo",
        Train,
        "yolo.models.load:restore_yolo",
        ["yolo.training.probe:watchers", "yolo.training.darknet_files:watchers"],
    ),
    **{
        name: Model(f"yolo.models.{file}:build_{name}", options, "yolo.models.single:restore", view=view)
        for name, file, options, view in (
            ("localizer", "localizer", Localizer, "yolo.localize.view:presence"),
            ("simple", "single", Simple, "yolo.localize.view:largest"),
            ("largest", "largest", Largest, "yolo.localize.view:largest"),
        )
    },
    "faster-rcnn": Model(
        "yolo.models.faster_rcnn:build_faster_rcnn", FasterRcnn, watchers=["yolo.training.rcnn_probe:watchers"]
    ),
}
"""The models that `--model` chooses among. A model of one's own is added with `register_model`."""


def register_model(
    name: str,
    builder: Builder,
    options: type[Training],
    *,
    restore: Builder | None = None,
    watchers: Sequence[Builder] = (),
    view: Builder | None = None,
) -> None:
    """Add a model, so that every command accepts its name.

    Args:
        name: the name for `--model`, which is also in the metadata of saved files.
        builder: `builder(options, names) -> Detector`, on the CPU, with initial weights or those of `options.weights`.
        options: a subclass of `Training`; its additional fields become options of the command line and of YAML files.
        restore: `restore(path, metadata) -> Detector` of a saved file; by default the builder is called with the
            options in the metadata, and the tensors of the file are loaded into the network.
        watchers: for training, each `watcher(detector, options, validation, arithmetic) -> {name: Watcher}`.
        view: `view(index, options, split) -> Index`, the images and objects of a data set that the model is about, in
            training and evaluation; by default all of them.

    Raises ValueError for a name that is registered already.
    """
    if name in MODELS:
        raise ValueError(f"a model {name!r} is registered already; choose another name")
    MODELS[name] = Model(builder, options, restore, watchers, view)


def find_model(name: str, source: str = "model") -> Model:
    """Return the model of that name.

    Raises ValueError with the names of all models for an unknown one. The message begins with `source`.
    """
    if name not in MODELS:
        hint = did_you_mean(name, MODELS) or "a model of your own has to be registered first"
        raise ValueError(f"{source} {name[:60]!r}: expected one of {', '.join(MODELS)}; {hint}")
    return MODELS[name]


def resolve(builder: Builder) -> Callable[..., Any]:
    """Return the function, after importing its module if `builder` is a text."""
    if callable(builder):
        return builder
    module, _, function = builder.partition(":")
    return getattr(import_module(module), function)
