"""Detection metrics: COCO's numbers and what explains them, vectorised on the device."""
