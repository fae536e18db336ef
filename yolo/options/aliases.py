"""Names that older versions of this program used, and other programs use, with ours. No torch.

Command lines, YAML files of options and checkpoints with old names are still read. The words of darknet and of other
detectors' command lines are answered with ours, as they may mean something slightly different.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

OPTIONS = {"conf": "confidence", "iou": "nms", "max_det": "max_detections", "pictures": "images"}
"""Options of command lines and YAML files. The first three are also short forms of today."""

PRESETS: dict[str, str] = {}
"""Presets. None has been renamed so far."""

CHECKPOINT = {"pictures": "images", "watcher": "watchers.glance", "memory": "watchers.probe"}
"""Keys of a checkpoint. In a new name, the part before a dot is a dictionary and the part after it a key there."""

_WITH_MODEL = "IMAGE --cfg FILE.cfg --weights FILE.weights --names FILE.names"

VERBS = {
    "detector test": f"detect {_WITH_MODEL}",
    "detector demo": f"detect VIDEO{_WITH_MODEL.removeprefix('IMAGE')}",
    "detector map": "eval --data FILE.data --cfg FILE.cfg --weights FILE.weights --confidence 0.005 --nms 0.45",
    "detector valid": "eval --data FILE.data --cfg FILE.cfg --weights FILE.weights",
    "detector recall": "eval --data FILE.data --cfg FILE.cfg --weights FILE.weights",
    "detector train": "train --recipe cfg --data FILE.data --cfg FILE.cfg --weights FILE.conv.N",
    "detector calc_anchors": "anchors --data FILE.data --cfg FILE.cfg --darknet --placement stretch",
    "partial": "convert FILE.weights NAME.conv.N --cfg FILE.cfg",
    "predict": f"detect {_WITH_MODEL}",
    "test": "detect for images, eval for figures",
    "val": "eval",
    "validate": "eval",
    "evaluate": "eval",
    "export": "convert",
    "download": "get",
    "benchmark": "detect, whose last line has the median time",
}
"""Verbs of darknet and of other programs -> what to write."""

_WORDS = {
    "--confidence N": "-thresh --thresh --threshold --conf-thres --conf-thresh --conf-threshold --score-thr "
    "--score-thresh --score-threshold --confidence-threshold",
    "--nms N": "-nms --iou-thres --iou-thresh --iou-threshold --nms-thres --nms-thresh --nms-threshold",
    "--size N or WIDTHxHEIGHT": "--imgsz --img-size --img --image-size --input-size -width -height",
    "--placement letterbox": "-letter_box --letterbox",
    "--out FOLDER": "--project --name --output --output-dir --save-dir -out_filename",
    "--json-format darknet --out FOLDER": "-out",
    "--json": "--save-json",
    "--txt": "-save_labels --save-txt",
    "--txt-score": "--save-conf",
    "--crops": "--save-crop",
    "--agnostic": "--agnostic-nms",
    "--max-detections N": "--max-dets --max-boxes",
    "--weights FILE": "--weight --weights-path --checkpoint --ckpt --pretrained-weights",
    "--clear": "-clear",
    "--cfg FILE": "--config --config-file --model-def",
    "--names FILE": "--class-names --classes-path --names-file --class-path",
    "--data PATH": "--data-config --dataset",
    "--device cpu, cuda or cuda:N": "-i -gpu -gpus --gpu --gpus --gpu-id --cuda",
    "--precision bf16": "--half --fp16",
    "--batch-size N": "--batch -b",
    "--epochs N": "--max-epochs",
    "--lr N": "--lr0 --learning-rate",
    "--workers N": "--n-cpu --num-workers",
    "--eval-every N": "-map",
    "--preset NAME or --options FILE": "--hyp",
    "the image, folder, glob, video, address or camera number, without an option": "--source --input --image "
    "--image-folder --image-path --video --webcam -c",
    "nothing: the corners of every box are printed": "-ext_output",
    "nothing: AP is COCO's, at 101 points and IoUs from 0.5 to 0.95": "-points -iou_thresh",
    "--no-draw": "--nosave",
    "nothing: no window is opened": "-dont_show --show --view-img",
}

WORDS = {word: ours for ours, words in _WORDS.items() for word in words.split()}
"""Options of darknet and of other programs -> what to write. None of them is an option of ours."""


def foreign(arguments: Sequence[str]) -> str:
    """Return what to write for the words of other programs in a command line; empty if it has none.

    Underscores count as hyphens in words with two hyphens, and `imgsz=640`, if it is not a file, as `--imgsz 640`.
    """
    answers = [f"{verb}: write {VERBS[verb]}" for verb in (" ".join(arguments[:2]), *arguments[:1]) if verb in VERBS][
        :1
    ]
    for argument in arguments:
        word, equals, _ = argument.partition("=")
        if equals and not word.startswith("-") and not Path(argument).exists():
            word = f"--{word}"
        known = word if word in WORDS else word.replace("_", "-")
        if known in WORDS and (word.startswith("--") or known == word):
            answers.append(f"{argument}: write {WORDS[known]}")
    return "; ".join(dict.fromkeys(answers))


def keyword(word: str) -> str:
    """Return our option for a keyword argument of another program, such as `nms` for `iou_thres`; else the word."""
    flag = WORDS.get(f"--{word.replace('_', '-')}", "").partition(" ")[0]
    return OPTIONS.get(word) or flag.removeprefix("--").replace("-", "_") or word


def spellings(option: str) -> list[str]:
    """Return the short or old flags of an option, such as `--conf` for `confidence`."""
    return [f"--{old.replace('_', '-')}" for old, new in OPTIONS.items() if new == option]


def renamed(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return a checkpoint with the keys of today; dictionaries within it are unchanged."""
    found: dict[str, Any] = {}
    for key, value in state.items():
        *folders, name = CHECKPOINT.get(key, key).split(".")
        place = found
        for folder in folders:
            place = place.setdefault(folder, {})
        place[name] = value
    return found
