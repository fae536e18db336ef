"""Localizers: networks that give one class, or presence, and one box per image.

view.py      what they see of a data set: at most one object of a class, or the largest object
features.py  features of a frozen backbone, computed once
heads.py     the three heads: two branches on features, a small network on pixels, a head for maps of a backbone
loss.py      LocalizationLoss: cross entropy, and a box loss on the images with an object
network.py   a head on a backbone, or a head alone
pairs.py     a data set as pairs of an image and its answer
step.py      train_step, one step of a plain training loop
sampler.py   as many images without object as the ratio says
checks.py    what is wrong with targets or a network
metrics.py   how good the answers are: accuracy, precision, recall, IoU of the boxes, intervals over images
figures.py   precision-recall curve of presence, histogram of IoU
"""
