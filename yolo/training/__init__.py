"""The training loop and all that it needs. `engine` knows a Detector, never which.

engine.py      the training loop
assemble.py    options -> a whole run
validation.py  the evaluation between epochs
schedule.py    learning-rate schedules, pure functions of the step. No torch
optimizer.py   the optimizer, its weight decay, frozen layers
ema.py         the exponential moving average of a network
precision.py   float32, bfloat16 or float16
checkpoint.py  last.pt: written whole or not at all, nothing unpickled; random numbers
run_folder.py  the folder of a run: options, metrics line by line, TensorBoard
readback.py    numbers of a step on their way from the device
interrupt.py   Ctrl-C and SIGTERM between two steps
progress.py    the bar, the lines, what limits the speed
diagnose.py    where the first non-finite number appeared
allocator.py   glibc's memory allocator, told to keep what training frees
probe.py       what a network makes of its labels
glance.py      AP50 as many curves are drawn
totals.py      what an epoch adds up to; the best epoch so far
watch.py       watchers of steps and evaluations
"""
