"""The process: what it gets from the system, and how it ends.

signals.py      signals that end a program
streams.py      standard output and error of a command
failures.py     what a user reads when a command fails
memory.py       memory without a name, which processes share
machine.py      the processor
devices.py      copies to a device
distributed.py  the processes of a training
"""
