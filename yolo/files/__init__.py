"""Files: those of others, read with limits and one kind of error; our own, written whole. No torch.

reading.py     regular files of a bounded size, and parsers' errors that name the file
text.py        text of any encoding
members.py     files in zip and tar archives of others
shown.py       text of others on a terminal
harmless.py    names of others as files, folders and cells of a csv file
atomic.py      files that are written whole or not at all, by one process at a time
disk.py        room on a disk
user_cache.py  the folder for what can be had again
"""
