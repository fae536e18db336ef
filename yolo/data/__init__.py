"""From files to batches.

index.py       images and objects of a data set as flat arrays
check.py       what a reader found becomes an index: faults, notes
turned.py      sizes of image files; EXIF orientations that do not fit the boxes
sample.py      images with their targets: what a data set yields
decoded.py     every image decoded once and remembered: damaged ones are found before the first epoch
learnable.py   whether a set has objects to learn or to evaluate on
layouts.py     the table of layouts: what lies where in the data sets of every tool
patterns.py    which files and folders have the names of a pattern
recognise.py   from the path that a user gives to the splits of a data set
part.py        what belongs to one split, and where it lies
split_names.py which split `train` or `val` means
paths.py       paths of another machine, found again
elsewhere.py   labels that are not where they belong
holdout.py     a set without validation split, divided by itself
datasets.py    open a data set: read a split, take a subset
transforms.py  augmentation: images as training sees them
warp.py        an image cropped, scaled, moved and mirrored into the network input, with its boxes
marker.py      a drawn image that shows whether boxes follow the pixels
colour.py      hue, saturation and brightness by one matrix
mosaic.py      four images in one
order.py       randomness as a function of seed, epoch and image; the order of images in an epoch
sampler.py     which images a batch holds
loader.py      batches from worker processes; resuming within an epoch
workers.py     worker processes, and how one ended
cache.py       images decoded and shrunk once, shared by all workers
anchors.py     how well anchors fit the boxes, and what anchors made for them would gain
statistics.py  tables of classes, box sizes and anchors
sheet.py       images with their boxes on a contact sheet
"""
