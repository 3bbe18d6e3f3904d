"""Lightning's loggers: curves by epoch, final figures under tags of their own, plots and texts."""

import contextlib
import io
import logging
import re
from argparse import Namespace
from collections.abc import Collection, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from filelock import FileLock
from matplotlib.figure import Figure
from omegaconf import DictConfig
from PIL import Image
from pytorch_lightning.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from pytorch_lightning.utilities import rank_zero_only
from torch.utils.tensorboard.summary import hparams

from sentiment.runtime.cache import cache_dir
from sentiment.runtime.config import instantiate_checked, named_settings
from sentiment.runtime.errors import InputError, one_line
from sentiment.runtime.files import fingerprint

LAST = (
    "z_"  # TensorBoard sorts groups by name and opens the first two, which are to be train and val
)
FINAL = f"{LAST}final/"
PLOTTING = (TensorBoardLogger, WandbLogger, MLFlowLogger)  # loggers that take plots and texts
MAX_PLOT_NAME = 50  # characters of a file name; loggers add more
_EXTRAS = ("wandb", "mlflow")  # loggers that need a package of that name
_CHARTS = {
    "training and validation": {
        "accuracy": ["Multiline", ["train/accuracy", "val/accuracy"]],
        "loss": ["Multiline", ["train/loss", "val/loss"]],
    }
}


class CurvesLogger(TensorBoardLogger):
    """Lightning's logger for TensorBoard without its `epoch` curve, with the final figures in the HParams tab.

    Args:
        save_dir: directory of the event files.
        name: subdirectory; None for none.
        version: directory below that; empty for none.
        default_hp_metric: log Lightning's placeholder metric `hp_metric`.
        shown: keys of the settings that the HParams tab shows; empty for all.
        purge_step: TensorBoard ignores what earlier event files of the run hold from this step on.
    """

    def __init__(
        self,
        save_dir: str,
        name: str | None,
        version: str,
        default_hp_metric: bool,
        shown: Collection[str] = (),
        purge_step: int | None = None,
    ) -> None:
        super().__init__(
            save_dir, name, version, default_hp_metric=default_hp_metric, purge_step=purge_step
        )
        self.shown = {*shown}

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log points of curves."""
        super().log_metrics({tag: value for tag, value in metrics.items() if tag != "epoch"}, step)

    @rank_zero_only
    def log_hyperparams(
        self,
        params: dict[str, Any] | Namespace,
        metrics: dict[str, Any] | None = None,
        step: int | None = None,
    ) -> None:
        """Log the settings before the training; after it, log them with the final figures for the HParams tab."""
        if not metrics:
            super().log_hyperparams(params)
            self.experiment.add_custom_scalars(_CHARTS)
            return
        final = {f"{FINAL}{tag}": value for tag, value in metrics.items()}
        self.log_metrics(final, step)
        params = params if isinstance(params, dict) else vars(params)
        shown = params.keys() & self.shown or params.keys()
        # TensorBoard would show 32 as 32.000, and False as 0.0000.
        settings = {
            key: value if isinstance(value, float | str) else str(value)
            for key, value in params.items()
            if key in shown
        }
        for summary in hparams(settings, final):  # type: ignore[no-untyped-call]
            self.experiment.file_writer.add_summary(summary, step)


@contextlib.contextmanager
def open_loggers(
    cfg: DictConfig, purge_step: int = 0, varied: Collection[str] = (), hide_fixed: bool = False
) -> Iterator[list[Logger]]:
    """The loggers of a run; their files, threads and runs end with it.

    Args:
        cfg: the composed configuration, of which `logger` holds the settings of each logger by its name.
        purge_step: see `CurvesLogger`.
        varied: keys of the settings in which the run differs from those that it is compared with.
        hide_fixed: leave the other settings out of TensorBoard's HParams tab.

    Raises:
        InputError: a package is missing, or a setting is invalid.
    """
    name = Path(cfg.output_dir).name
    of_run: dict[str, dict[str, Any]] = {
        "tensorboard": {"purge_step": purge_step, "shown": varied if hide_fixed else ()},
        "wandb": {"name": name},
        "mlflow": {"run_name": name},
    }
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(_open_logger(key, settings, of_run.get(key, {})))
            for key, settings in named_settings(cfg, "logger")
        ]


@contextlib.contextmanager
def _open_logger(name: str, settings: DictConfig, arguments: Mapping[str, Any]) -> Iterator[Logger]:
    if name in _EXTRAS and not find_spec(name):
        raise InputError(f"logger={name}: needs the package {name}; install it: pip install {name}")
    if name == "wandb":
        _silence_wandb(settings.offline)
    if name == "mlflow":
        for noisy in (
            "mlflow.store",
            "pytorch_lightning.loggers.mlflow",
        ):  # they report what they create
            logging.getLogger(noisy).setLevel(logging.ERROR)
    with _lock_if(name == "mlflow"):
        missing = {k: v for k, v in arguments.items() if k not in settings}
        logger: Logger = instantiate_checked(settings, f"logger.{name}", **missing)
    if not isinstance(logger, Logger):
        raise InputError(
            f"logger.{name}._target_={settings._target_}: not a pytorch_lightning Logger; derive it"
        )
    status = "failed"
    try:
        yield logger
        status = "finished"
    finally:
        logger.finalize(status)
        if isinstance(logger, WandbLogger):
            import wandb

            wandb.finish(
                exit_code=int(status == "failed")
            )  # else the next job of a sweep would continue this run


def _silence_wandb(offline: bool) -> None:
    import wandb

    mode: dict[str, Any] = (
        {"mode": "offline"} if offline else {}
    )  # which Lightning sets too late for this
    wandb.setup(wandb.Settings(silent=True, **mode))


def _lock_if(is_mlflow: bool) -> contextlib.AbstractContextManager[Any]:
    """MLflow fails if two processes create its database or an experiment at the same time."""
    if not is_mlflow:
        return contextlib.nullcontext()
    return FileLock(cache_dir() / "mlflow.lock")


def log_settings(loggers: Sequence[Logger], settings: Mapping[str, Any]) -> None:
    """Start the run in every logger, with its hyperparameters.

    Raises:
        InputError: a logger cannot start a run.
    """
    for logger in loggers:
        try:
            with _lock_if(isinstance(logger, MLFlowLogger)):
                logger.log_hyperparams(dict(settings))
        except OSError:
            raise
        except Exception as error:  # of wandb and MLflow, which have many
            raise InputError(f"logger: {type(logger).__name__}: {one_line(error)}") from error


def log_final_figures(
    loggers: Sequence[Logger], settings: Mapping[str, Any], metrics: Mapping[str, float], step: int
) -> None:
    """Log figures of the whole run: never under the tag of a curve, where they would be a false point at its end."""
    for logger in loggers:
        if isinstance(logger, CurvesLogger):
            logger.log_hyperparams(dict(settings), dict(metrics), step)
        else:
            logger.log_metrics(
                {f"{FINAL.removeprefix(LAST)}{tag}": value for tag, value in metrics.items()}, step
            )
        logger.save()


def log_plot(loggers: Sequence[Logger], tag: str, figure: Figure, step: int) -> None:
    """Log a figure to all loggers of `PLOTTING`, to MLflow as an artifact."""
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_figure(f"{LAST}{tag}", figure, step)
        elif isinstance(logger, WandbLogger):
            buffer = io.BytesIO()
            figure.savefig(buffer)
            logger.log_image(_to_path(tag), [Image.open(buffer)], step)
        elif isinstance(logger, MLFlowLogger):
            logger.experiment.log_figure(logger.run_id, figure, f"{_to_path(tag)}.png")


def log_markdown(loggers: Sequence[Logger], tag: str, text: str, step: int) -> None:
    """Log a text to all loggers of `PLOTTING`, to MLflow as an artifact."""
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_text(tag, text, step)
        elif isinstance(logger, WandbLogger):
            import wandb

            logger.log_metrics({_to_path(tag): wandb.Html(_render(text))}, step)
        elif isinstance(logger, MLFlowLogger):
            logger.experiment.log_text(logger.run_id, _render(text), f"{_to_path(tag)}.html")


def _render(markdown: str) -> str:
    """The page that TensorBoard makes of a text."""
    from tensorboard.plugin_util import (
        markdown_to_safe_html,
    )  # warns that its own code is deprecated

    return f'<meta charset="utf-8">\n{markdown_to_safe_html(markdown)}'


def _to_path(tag: str) -> str:
    """A tag `group/name` as the path of a file; the name of a class, which may be part of it, can hold anything."""
    group, _, name = tag.partition("/")
    safe = re.sub(r"[^\w ,.-]+", "-", name)
    if safe != name or len(name) > MAX_PLOT_NAME:
        safe = f"{safe[:MAX_PLOT_NAME]}-{fingerprint(name)}"  # the names `a/b` and `a-b` differ
    return f"{group}/{safe}"
