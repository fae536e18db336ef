"""Data sets: from files, official addresses or a seed to samples and batches."""
