"""A model as an ONNX file that works without this program, and what that costs.

nodes.py       ONNX nodes written as expressions
tail.py        decoded predictions -> thresholds, NMS, places in the original images, as a graph
export.py      a detector as a file: the graph, its metadata
check.py       a file against its detector, before it is kept
agreement.py   whether two lists of detections are the same
int8.py        an exported file with convolutions in 8 bits
certificate.py what a file costs on a data set: AP, single detections
"""
