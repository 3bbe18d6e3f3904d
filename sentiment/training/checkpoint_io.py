"""Checkpoints: written atomically, those for inference without what only training needs."""

from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins import TorchCheckpointIO

from sentiment.runtime.files import atomic_write

# What inference needs, and what the epoch was. The rest, such as the optimizer's state, is for resuming.
INFERENCE_KEYS = (
    "state_dict",
    "hyper_parameters",
    "metrics",
    "epoch",
    "global_step",
    "pytorch-lightning_version",
)


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a temporary file and renames it, on the same disk; only `last.ckpt` gets what resuming needs."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Save `checkpoint` at `path`, which never holds a partial one."""
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.stem != "last":
            checkpoint = {key: checkpoint[key] for key in INFERENCE_KEYS if key in checkpoint}
        try:
            with atomic_write(target) as temporary, open(temporary, "wb") as file:
                torch.save(checkpoint, file)
        except RuntimeError as error:
            if isinstance(
                error.__context__, OSError
            ):  # the error of the disk, which torch hides behind its own
                raise error.__context__ from None
            raise
