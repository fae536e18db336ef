"""From files to batches.

index.py       images and objects of a data set as flat arrays, checked
sample.py      what a data set yields
datasets.py    the one way from files to a data set: format, split, subset
transforms.py  what training sees of an image
warp.py        one map from an image into the network input, for pixels and boxes
colour.py      hue, saturation, brightness by one matrix
mosaic.py      four images in one
order.py       randomness as a function of seed, epoch, image
sampler.py     which images a batch holds
loader.py      batches from worker processes; progress within the epoch
cache.py       images decoded and shrunk once, shared by all workers
statistics.py  classes, box sizes, anchors, in numbers
sheet.py       images with their boxes on one sheet
"""
