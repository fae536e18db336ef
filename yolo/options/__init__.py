"""Every option once: default, unit, reason. The command line is generated from these dataclasses. No torch.

detection.py  which predictions become detections
augment.py    how training images are changed
loss.py       the loss of YOLO
train.py      training: learning rate, data, hardware
commands.py   all other commands
yaml_file.py  YAML files of differences <-> dataclasses
presets.py    options of training: defaults < preset < file < command line
shipped.py    the files of config/, installed or in a clone
"""
