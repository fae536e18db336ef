"""Darknet's files, and the network that they describe.

keys.py              typed keys of a section with bounds and refusals; the base classes of sections; shapes
net.py               the [net] section
spatial_sections.py  convolutions, pooling, upsampling, reorg: sections that change height and width
joining_sections.py  route, shortcut, scale_channels, sam, dropout
head_sections.py     yolo and region
sections.py          all layer sections by name
cfg.py               .cfg text <-> frozen typed sections; errors carry file and line
plan.py              sources, shapes, floats and operations of every layer, before anything is allocated
activations.py       darknet's activation functions
weight_gradient.py   a faster gradient of convolutions, for processors without AVX-512
layers.py            the modules that sections become
heads.py             anchors and strides; decode and its exact inverse
network.py           sections -> Darknet module: images -> raw predictions
weights.py           .weights <-> Darknet, every byte accounted for
sound.py             weights that are not finite, and negative variances: refused on loading
safetensors_file.py  safetensors <-> Darknet, with names, input size and letterbox
transfer.py          weights of a network for one with other classes
between.py           pooling and additions of an inference copy on a CPU, with fewer bytes moved
inference.py         the inference copy: batch norm folded, channels_last, prepacked, float32 or bfloat16
replays.py           passes of the inference copy on a GPU as CUDA graphs
compiled.py          an inference copy as a faster function, on request
current_copy.py      a network with its inference copy, which is never older than the network
"""
