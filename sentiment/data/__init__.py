"""Reviews, from where they lie to padded batches."""

from sentiment.data.datamodule import ReviewDataModule

__all__ = ["ReviewDataModule"]
