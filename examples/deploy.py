"""Detect with an exported file, without this program: `python examples/deploy.py model.onnx image.jpg`.

Needs: pip install onnxruntime opencv-python numpy. The file is made by `python -m yolo convert SOURCE model.onnx`.
onnxruntime reports its use to its maker unless the environment has ORT_DISABLE_TELEMETRY=1.
"""

import json
import sys

import cv2
import numpy as np
import onnxruntime


class Model:
    """An exported file: RGB images of any size in, class names, scores and boxes in their pixels out."""

    def __init__(self, path: str) -> None:
        self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        self.about = self.session.get_modelmeta().custom_metadata_map
        self.names, self.size = json.loads(self.about["names"]), json.loads(self.about["size"])

    def placed(self, image: np.ndarray) -> np.ndarray:
        """Return an image uint8 [height, width, 3] as the network saw its images in training."""
        (h, w), (height, width) = self.size, image.shape[:2]
        if self.about["letterbox"] == "false":
            return np.asarray(cv2.resize(image, (w, h)))
        wide = width * h > height * w
        new_h, new_w = (max(height * w // width, 1), w) if wide else (h, max(width * h // height, 1))
        top, left = (h - new_h) // 2, (w - new_w) // 2
        canvas = np.full((h, w, 3), int(self.about["grey"]), np.uint8)
        canvas[top : top + new_h, left : left + new_w] = cv2.resize(image, (new_w, new_h))
        return canvas

    def detect(self, image: np.ndarray) -> list[tuple[str, float, list[float]]]:
        """Return name, score and x1, y1, x2, y2 of every detection, the best first."""
        feeds = {"images": self.placed(image)[None], "sizes": np.array([image.shape[:2]])}
        boxes, scores, labels, count = self.session.run(None, feeds)
        rows = zip(labels[0], scores[0], boxes[0].tolist(), strict=True)
        return [(self.names[label], float(score), box) for label, score, box in list(rows)[: count[0]]]


if __name__ == "__main__":
    file, picture = sys.argv[1:]
    pixels = cv2.imread(picture)
    if pixels is None:
        sys.exit(f"{picture}: OpenCV cannot read this image")
    for name, score, box in Model(file).detect(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)):
        print(f"{name:<16} {score:.3f}  " + " ".join(f"{side:7.1f}" for side in box))
