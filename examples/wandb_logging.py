"""Log a training to Weights & Biases. Needs: pip install wandb

python examples/wandb_logging.py trains on the embedded shapes.
"""

from __future__ import annotations

from typing import Any

import wandb

import yolo


def main(**options: Any) -> yolo.Trained:
    """Train with these words of `train.py`; log every epoch, the best one, and the weights."""
    with wandb.init(project="exact-yolov3", config=options) as logged:

        def log(epoch: int, numbers: dict[str, Any]) -> None:
            # A metric that the data does not define is None.
            logged.log({name: value for name, value in numbers.items() if value is not None}, step=numbers["step"])

        run = yolo.train(**options, on_epoch_end=log)
        logged.summary.update({f"best/{name}": value for name, value in run.best.items()})
        weights = wandb.Artifact(f"run-{logged.id}-weights", type="model")
        weights.add_file(str(run.folder / "best.safetensors"))
        logged.log_artifact(weights)
    return run


if __name__ == "__main__":
    main(data="shapes", epochs=10)
