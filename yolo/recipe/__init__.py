"""What a cfg says of its own training, beyond its network and its loss: `train --recipe cfg`.

recipe.py      the plan of a training: batches, iterations, epochs, and what follows
rates.py       the learning rate of every update
said.py        what darknet would do with a cfg that is not done here; what is refused
draws.py       which images an epoch draws, and the size of the network input of each batch
augment.py     DarknetAugment: darknet's augmentation of one sample, and its objects
crop.py        margins of a random crop, and the crop of pixels and boxes
colour.py      colours in 8 bits
mosaic.py      four augmented images around a point
cpu_build.py   the network as darknet's CPU build trains it, with its faults
"""
