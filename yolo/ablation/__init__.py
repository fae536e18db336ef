"""Studies: variants of a training, each with several seeds.

study.py         a study: variants times seeds in one folder. No torch
grid.py          what is compared: variants by name, or a grid of axes. No torch
variants.py      the options of every variant, checked before the first run. No torch
driver.py        works through the runs that a study still needs
launch_local.py  runs as processes of this machine
launch_ray.py    runs on a Ray cluster
tethered.py      a command that ends with the process that started it. No torch
console.py       the progress of a study in the terminal
statistics.py    curves, differences, intervals; Student's t, Holm's correction. No torch
detections.py    the images under each variant: detections, AP resampled, sheets
study_plots.py   curves, mean and spread over seeds
tables.py        findings and tables. No torch
study_report.py  report.html and report.md
provenance.py    commit and machine of a report
"""
