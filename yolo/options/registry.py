"""The models by name: for each its options, and what builds it. No torch: a builder is imported when it is needed.

A file or a command line only chooses among these names; nothing that a file names is ever imported.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, NamedTuple

from yolo.names import did_you_mean
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


MODELS: dict[str, Model] = {
    "yolo": Model(
        "yolo.models.build:build_yolo", Train, "yolo.models.load:restore_yolo", ["yolo.training.probe:watchers"]
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
) -> None:
    """Add a model, so that every command knows it under this name.

    Args:
        name: what `--model` and the metadata of saved files say.
        builder: `builder(options, names) -> Detector`, on the CPU, with initial weights or those of `options.weights`.
        options: a subclass of `Training`; its additional fields become options of the command line and of YAML files.
        restore: `restore(path, metadata) -> Detector` of a saved file; by default the builder is called with the
            options in the metadata, and the tensors of the file are loaded into the network.
        watchers: each `watcher(detector, options, validation, arithmetic) -> {name: Watcher}`, of the training.

    Raises ValueError for a name that is taken.
    """
    if name in MODELS:
        raise ValueError(f"a model {name!r} is registered already; choose another name")
    MODELS[name] = Model(builder, options, restore, watchers)


def find_model(name: str, source: str = "model") -> Model:
    """Return the model of that name. Raises ValueError that lists the names if there is none; `source` says where."""
    if name not in MODELS:
        hint = did_you_mean(name, MODELS) or "a model of your own has to be registered first"
        raise ValueError(f"{source} {name!r}: expected one of {', '.join(MODELS)}; {hint}")
    return MODELS[name]


def resolve(builder: Builder) -> Callable[..., Any]:
    """Return the function itself, importing its module if it was given in words."""
    if callable(builder):
        return builder
    module, _, function = builder.partition(":")
    found: Callable[..., Any] = getattr(import_module(module), function)
    return found
