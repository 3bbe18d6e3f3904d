"""What a run leaves when it ends, fails or is interrupted."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from omegaconf import DictConfig
from pytorch_lightning.utilities import rank_zero_only

from sentiment.runtime.config import config_fingerprint
from sentiment.runtime.errors import InputError
from sentiment.runtime.run_folder import RunFolder, provenance
from sentiment.training.resuming import Resumption


@contextmanager
def record_outcome(
    cfg: DictConfig, run: RunFolder, resumption: Resumption | None
) -> Iterator[dict[str, Any]]:
    """Write the configuration and the log of a run, and at its end what the caller puts into the dict.

    A resumed run that fails before it has trained an epoch is left as it was.
    """
    metrics: dict[str, Any] = {}
    origin = _describe_origin(cfg)  # before the training, since somebody may commit meanwhile
    with run.log_to("train.log"):
        if not resumption:
            rank_zero_only(run.write_config)(cfg)
        try:
            yield metrics
        except (KeyboardInterrupt, Exception) as error:
            if resumption and not resumption.recorded:
                resumption.remove_events()
            else:
                record_failure(cfg, run, error, origin)
            raise
        if not cfg.lr_find:
            rank_zero_only(run.write_config)(cfg)
            rank_zero_only(run.write_metrics)(metrics | {"status": "finished"} | origin)


def record_failure(
    cfg: DictConfig, run: RunFolder, error: BaseException, origin: Mapping[str, Any] | None = None
) -> None:
    """Add the error to the figures that a run has written, with the commit of its start or of now."""
    if not run.path.exists():  # somebody moved or removed it
        return
    status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
    record = {"status": status, "error": f"{type(error).__name__}: {error}"}
    with suppress(OSError, InputError):  # if the disk is full, the first error is the one to report
        if not run.config_file.exists():
            rank_zero_only(run.write_config)(cfg)
        metrics = {**run.read_metrics(), **record, **(origin or _describe_origin(cfg))}
        rank_zero_only(run.write_metrics)(metrics)


def _describe_origin(cfg: DictConfig) -> dict[str, Any]:
    return {"config_fingerprint": config_fingerprint(cfg), **provenance()}
