"""Why a training would fail: checks before it, and of a run after it.

checks.py     the table of all checks
data.py       boxes, classes and splits, from the labels alone
transform.py  whether boxes follow the pixels through augmentation and placement
roundtrip.py  the predictions of a perfect network, through detection and metrics
learning.py   gradients, the loss at the start, the learning rate, one batch by heart
modes.py      training and evaluation mode, batch statistics, thresholds
resources.py  memory, time and disk
after.py      a run after its end: curves, metrics, overfitting
trial.py      training steps of a copy of the detector, as many as there is time for
line.py       what a check says
subject.py    what the checks look at: a run, its batches, its time
"""
