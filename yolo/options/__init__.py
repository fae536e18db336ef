"""All options with default, unit and reason; the command line is generated from these dataclasses. No torch.

bounds.py     which numbers an option accepts
detection.py  which predictions become detections, and the files of a model
augment.py    how training images are changed
loss.py       the loss of YOLO
train.py      training of YOLO
single.py     training of the models of one object in an image
faster_rcnn.py training of Faster R-CNN
ablate.py     studies
check.py      checks before a training
anchors.py    anchors for a data set
convert.py    conversion of weights, exported files and their certificates
commands.py   all other commands
yaml_nodes.py YAML files of others, within limits
yaml_file.py  YAML files <-> dataclasses
keywords.py   options as keywords of Python
presets.py    options of training: defaults < preset < file < command line
shipped.py    the files of config/, installed or in a clone
aliases.py    old names of options, presets and checkpoint keys; other programs' words
schedule.py   the learning rate
training.py   training, whatever the model
registry.py   the models by name: options and builder
"""
