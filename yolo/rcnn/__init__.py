"""torchvision's Faster R-CNN: what its network needs around it.

builder.py  options -> torchvision's network, with its weights and with the classes of the data
pyramid.py  a small Faster R-CNN on EfficientNet-Lite0
frozen.py   which stages of a backbone are trained, and batch norm with fixed statistics
network.py  the parts of that network, on images of one size
heads.py    proposals, and the class and box of each, with their losses
losses.py   losses of boxes; hard negatives
static.py   the network with shapes that do not depend on the image, for an exported file
targets.py  the targets as torchvision counts them, and its detections as this program counts them
perfect.py  what the network would predict if it had learned its targets
plain.py    what a plain training loop needs: collate_fn, boxes of masks, COCO's annotations as tensors
"""
