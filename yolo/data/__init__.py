"""From files to batches.

index.py       images and objects of a data set as flat arrays
check.py       what a reader found becomes an index: faults, notes
turned.py      sizes of image files; EXIF orientations that do not fit the boxes
sample.py      images with their targets: what a data set yields
datasets.py    open a data set: find its format and split, take a subset
decoded.py     every image decoded once and remembered: damaged ones are found before the first epoch
learnable.py   whether a set has objects to learn or to evaluate on
transforms.py  augmentation: images as training sees them
warp.py        an image cropped, scaled, moved and mirrored into the network input, with its boxes
colour.py      hue, saturation and brightness by one matrix
mosaic.py      four images in one
order.py       randomness as a function of seed, epoch and image; the order of images in an epoch
sampler.py     which images a batch holds
loader.py      batches from worker processes; resuming within an epoch
cache.py       images decoded and shrunk once, shared by all workers
anchors.py     how well anchors fit the boxes, and what anchors made for them would gain
statistics.py  tables of classes, box sizes and anchors
sheet.py       images with their boxes on a contact sheet
"""
