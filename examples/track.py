"""Follow objects through a video: every object gets a number that it keeps, and both are drawn.

    pip install '.[examples]'   # here: supervision and trackers
    python examples/track.py clip.mp4 tracked.mp4 --weights yolov4-tiny

Any tracker of the package trackers takes the detections; ByteTrack also uses the doubtful ones to continue a track.
"""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict

import supervision as sv
from trackers import ByteTrackTracker

import yolo


def track(model: yolo.Detector, video: str, drawn: str) -> dict[int, Counter[str]]:
    """Write the video `drawn`, and return for each object, by its number, how many frames gave it which class."""
    info = sv.VideoInfo.from_video_path(video)
    tracker = ByteTrackTracker(frame_rate=info.fps)
    annotators = [kind(color_lookup=sv.ColorLookup.TRACK) for kind in (sv.BoxAnnotator, sv.TraceAnnotator)]
    texts = sv.LabelAnnotator(color_lookup=sv.ColorLookup.TRACK)
    seen: defaultdict[int, Counter[str]] = defaultdict(Counter)
    with sv.VideoSink(drawn, info) as sink:
        for found in model.stream(video, confidence=0.1):
            tracked = tracker.update(found.to_supervision())
            tracked = tracked[tracked.tracker_id >= 0]  # those below 0 have no track yet
            rows = list(zip(tracked.tracker_id.tolist(), tracked["class_name"].tolist(), strict=True))
            for number, name in rows:
                seen[number][name] += 1

            frame = found.image()[..., ::-1].copy()  # OpenCV, and so supervision, has BGR
            for annotator in annotators:
                annotator.annotate(frame, tracked)
            texts.annotate(frame, tracked, labels=[f"{number} {name}" for number, name in rows])
            sink.write_frame(frame)
    return seen


def main() -> None:
    """Read the command line, and print each object with the number of its frames."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", help="the file to read")
    parser.add_argument("drawn", help="the .mp4 file to write")
    parser.add_argument("--weights", default="yolov4-tiny", help="as for yolo.load: a published name, a run, a file")
    options = parser.parse_args()
    for number, names in track(yolo.load(options.weights), options.video, options.drawn).items():
        print(f"{number}: {names.most_common(1)[0][0]}, {names.total()} frames")


if __name__ == "__main__":
    main()
