"""The training loop and everything it needs. `engine` works with any Detector and never asks which one.

engine.py      the training loop
assemble.py    builds a whole run from its options
batches.py     the batches of a run: augmented images and their order
sets.py        the data sets of a run: to train on, to evaluate on
validation.py  the evaluation between epochs
schedule.py    learning-rate schedules: pure functions of the step, without torch
optimizer.py   the optimizer, its weight decay, frozen layers
ema.py         the exponential moving average of a network
full_batches.py  the network by torch.compile or as CUDA graphs, for full batches
precision.py   training in float32, bfloat16 or float16
checkpoint.py  last.pt, written completely or not at all, read without unpickling; random numbers
fitting.py     whether a checkpoint has every part that a resume needs, of the right kind and shape
run_folder.py  the folder of a run: options, metrics line by line, TensorBoard
room.py        what a run needs on the disk
owner.py       one training per folder: the lock, and who has it
record.py      the images, labels and classes of a run as data.json, and what changed in them
kept.py        the cfg and the data that a run trusts, compared when it is resumed
readback.py    copies the numbers of a step from the device without waiting
interrupt.py   stops after a complete step at Ctrl-C, SIGTERM or SIGHUP
heartbeat.py   the processes of a training watch each other: none waits for a dead one
progress.py    the progress bar, a line per epoch, what limits the speed
diagnose.py    finds where the first non-finite number appeared
allocator.py   makes glibc's memory allocator keep the blocks that training frees
darknet_files.py  darknet's own files of a run: weights at its moments, a line for each iteration
probe.py       how well a network fits its labels: positives, near misses, sure detections
rcnn_probe.py  how rare objects are among the anchors and proposals of Faster R-CNN
glance.py      AP50 right after a step, as many published curves are made
trend.py       what a loss does over the epochs: falls, flat, wild, rises; overfitting
curves.py      the losses and metrics of a run as a figure, and a line on the loss
totals.py      sums and means of an epoch; the best epoch so far
watch.py       watchers, which see every step and evaluation
callback.py    the user's function that is called after every epoch
transform.py   the user's transform and its name, which a resume compares
trained.py     a run that has ended, as Python sees it
"""
