"""What runs beside the training."""

from sentiment.callbacks.baseline import Baseline

__all__ = ["Baseline"]
