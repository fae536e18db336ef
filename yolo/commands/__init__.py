"""One file per verb of `python -m yolo`.

command_line.py  which verb and options a command line means
detect.py        find objects in images and videos
detect_lines.py  the lines that detect prints
drawing.py       the drawn image or video of a source
result_files.py  detections as json, a data set, csv, crops
growing.py       a file that is whole after each part
result_folder.py the folder of one call, in which no other file is replaced
evaluate.py      metrics of a model or a results file
explain.py       why each object of an image was found or missed
summary.py       layers, shapes, parameters of a cfg
certified.py   the end of `convert` to ONNX: 8 bits, and what the file costs
convert.py       weights from one format to another
of_run.py        what the run of some weights says about its data
show_data.py     what a data set holds
anchors.py       anchors made for a data set, and a cfg that has them
doctor.py        what is wrong with a data set, and what looks wrong
get.py           download weights and data sets
check.py         whether a training would fail, and why
train.py         train, or resume a run
plot_lr.py       draw the learning rate
ablate.py        compare variants of a training
"""
