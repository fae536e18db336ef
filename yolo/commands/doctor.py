"""`python -m yolo doctor`: what is wrong with a data set, and what looks wrong."""

from __future__ import annotations

from yolo.doctor.against_model import CONFIRMED, gather, label_errors
from yolo.doctor.finding import KINDS, ordered
from yolo.doctor.labels import label_findings
from yolo.doctor.opened import open_all
from yolo.doctor.report import as_text, write
from yolo.doctor.twins import copy_findings
from yolo.models.load import load_trained
from yolo.options.commands import Doctor


def run(options: Doctor) -> int:
    """Examine all splits, write what was found and print it. Returns 1 if something must be mended, else 0.

    Raises ValueError or OSError if there is no data set or no model, or if the results would lie among the images.
    """
    parts, findings, notes = open_all(options.path, options.split, options.data_format, options.model.names)
    folders = {part.data.path(k).resolve().parent for part in parts for k in range(len(part.data))}
    if options.out.resolve() in folders:
        raise ValueError(f"{options.out} holds images of the data set; give another folder with --out")
    findings += label_findings(parts)
    if options.model.weights is not None:
        model = load_trained(options.model)
        evidence = [gather(model, part, options.batch_size) for part in parts]
        # What is odd about a box does not matter where the model agrees with the label.
        support = {(e.part.name, n): score for e in evidence for n, score in enumerate(e.support.tolist())}
        findings = [
            finding
            for finding in findings
            if not KINDS[finding.kind].clears
            or any(support[s.split, n] < CONFIRMED for s in finding.shown for n in s.objects)
        ]
        findings += label_errors(evidence)
    findings = ordered(findings + copy_findings(parts))
    title = f"{options.path.resolve().name}: what the doctor found"
    files = write(options.out, title, parts, findings, notes)
    print(f"{as_text(parts, findings, notes)}\n\nwritten: {', '.join(map(str, files))}")
    return int(any(KINDS[finding.kind].mend for finding in findings))
