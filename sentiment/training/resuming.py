"""Where a resumed run continues."""

from pathlib import Path
from typing import Any, NamedTuple

from sentiment.model.checkpoint import check_resumable, read_checkpoint, restore_model
from sentiment.runtime.run_folder import RunFolder


class ResumePoint(NamedTuple):
    """What is known of a run from its last checkpoint.

    Attributes:
        path: path of `last.ckpt`.
        epochs: number of finished epochs.
        steps: number of finished optimizer steps.
        stopped_early: whether early stopping had ended the training.
        text_encoder: the encoder that it holds.
    """

    path: Path
    epochs: int
    steps: int
    stopped_early: bool
    text_encoder: dict[str, Any]


def read_resume_point(run: RunFolder) -> ResumePoint | None:
    """Read the last checkpoint of a run; None if there is none yet.

    Raises:
        InputError: training cannot continue from it.
    """
    path = run.checkpoint("last")
    if not path.exists():
        return None
    checkpoint = read_checkpoint(path)
    check_resumable(path, checkpoint)
    restore_model(path, checkpoint)
    return ResumePoint(
        path,
        epochs=checkpoint["epoch"] + 1,
        steps=checkpoint["global_step"],
        stopped_early=any(state.get("stopped_epoch") for state in checkpoint["callbacks"].values()),
        text_encoder=checkpoint["hyper_parameters"]["text_encoder"],
    )
