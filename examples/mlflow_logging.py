"""Log a training to MLflow. Needs: pip install mlflow

python examples/mlflow_logging.py trains on the embedded shapes; `mlflow ui` shows it.
"""

from __future__ import annotations

from typing import Any

import mlflow

import yolo


def log(epoch: int, numbers: dict[str, Any]) -> None:
    """Log the numbers of an epoch; a metric that the data does not define is None."""
    mlflow.log_metrics({name: value for name, value in numbers.items() if value is not None}, step=numbers["step"])


def main(**options: Any) -> yolo.Trained:
    """Train with these words of `train.py`; log every epoch, all options, and the weights."""
    mlflow.set_experiment("exact-yolov3")
    with mlflow.start_run():
        mlflow.log_params(options)
        run = yolo.train(**options, on_epoch_end=log)
        for name in ("options.yaml", "best.safetensors"):
            mlflow.log_artifact(str(run.folder / name))
    return run


if __name__ == "__main__":
    main(data="shapes", epochs=10)
