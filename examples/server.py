"""A detection server: POST an image, get its objects as JSON.

    pip install '.[examples]'   # here: fastapi, uvicorn, python-multipart
    python examples/server.py yolov4-tiny
    curl -F image=@dog.jpg 'http://127.0.0.1:8000/detect?confidence=0.4'

http://127.0.0.1:8000/docs tries it in a browser. Requests run in threads, which share the model.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Annotated

import uvicorn
from fastapi import FastAPI, HTTPException, Query, UploadFile

import yolo
from yolo.images.files import decode_image


@dataclass
class Item:
    """One object: its class, its score, its box (left, top, right, bottom) in pixels."""

    name: str
    score: float
    box: tuple[float, float, float, float]


def app_of(model: yolo.Detector) -> FastAPI:
    """Return the application that detects with a model."""
    app = FastAPI(title="Exact YOLOv3")

    # `def` and not `async def`, so FastAPI calls it in a thread, and a long detection does not stop the others.
    @app.post("/detect")
    def detect(image: UploadFile, confidence: Annotated[float, Query(ge=0, le=1)] = 0.25) -> list[Item]:
        try:
            pixels = decode_image(image.file.read(), image.filename or "image")
        except ValueError as problem:
            raise HTTPException(400, str(problem)) from problem
        return [Item(name, score, box) for name, _, score, box in model.detect(pixels, confidence=confidence)]

    return app


if __name__ == "__main__":
    uvicorn.run(app_of(yolo.load(sys.argv[1] if sys.argv[1:] else "yolov4-tiny")))
