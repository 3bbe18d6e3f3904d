"""Lightning's loggers: curves by epoch, final figures under tags of their own, plots and texts."""

import contextlib
import io
import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from filelock import FileLock
from matplotlib.figure import Figure
from PIL import Image
from pytorch_lightning import Trainer
from pytorch_lightning.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from pytorch_lightning.utilities import rank_zero_only
from tensorboard.plugins.text.summary_v2 import text_pb

from sentiment.model.metrics import METRICS_BY_CLASS
from sentiment.runtime.cache import cache_dir
from sentiment.runtime.config import instantiate_checked
from sentiment.runtime.errors import InputError, check_kind, quote_errors
from sentiment.runtime.files import fingerprint

FINAL = "result/"
PLOTTING = (TensorBoardLogger, WandbLogger, MLFlowLogger)  # loggers that take plots and texts
MAX_PLOT_NAME = 50  # characters of a file name; loggers add more
# TensorBoard opens the first two groups by name, those of accuracy and loss.
TENSORBOARD_TAGS = {
    f"{split}/{metric}": f"{metric}/{split}"
    for metric in ("accuracy", "loss")
    for split in ("train", "val")
}
# A run's curves have one colour: the line is the validation, the band reaches to the training.
_CHARTS = {
    "validation, shaded to the training": {
        metric: ["Margin", [f"{metric}/val", f"{metric}/val", f"{metric}/train"]]
        for metric in ("accuracy", "loss")
    }
}


class CurvesLogger(TensorBoardLogger):
    """Lightning's logger for TensorBoard without its `epoch` curve, and with its curves grouped by metric."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        curves = {TENSORBOARD_TAGS.get(tag, tag): value for tag, value in metrics.items()}
        curves.pop("epoch", None)
        super().log_metrics(curves, step)


@contextlib.contextmanager
def open_loggers(
    loggers: Iterable[tuple[str, Mapping[str, Any]]], name: str, purge_step: int
) -> Iterator[list[Logger]]:
    """The loggers of the run `name`, whose files, threads and runs end with it.

    TensorBoard ignores what earlier event files of the run hold from `purge_step` on.
    """
    of_run: dict[str, dict[str, Any]] = {
        "tensorboard": {"purge_step": purge_step},
        "wandb": {"name": name},
        "mlflow": {"run_name": name},
    }
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(_open_logger(key, settings, of_run.get(key, {})))
            for key, settings in loggers
        ]


@contextlib.contextmanager
def _open_logger(
    name: str, settings: Mapping[str, Any], of_run: Mapping[str, Any]
) -> Iterator[Logger]:
    if name in ("wandb", "mlflow") and not find_spec(name):
        raise InputError(f"logger={name}: needs the package {name}; install it: pip install {name}")
    if name == "wandb":
        import wandb

        mode: dict[str, Any] = {"mode": "offline"} if settings["offline"] else {}
        wandb.setup(wandb.Settings(silent=True, **mode))  # Lightning sets the mode too late
    for noisy in ("mlflow.store", "pytorch_lightning.loggers.mlflow"):  # report what they create
        logging.getLogger(noisy).setLevel(logging.ERROR)
    with _lock_if(name == "mlflow"):
        missing = {key: value for key, value in of_run.items() if key not in settings}
        logger: Logger = instantiate_checked(settings, f"logger.{name}", **missing)
    check_kind(Logger, **{f"logger.{name}": logger})
    status = "failed"
    try:
        yield logger
        status = "finished"
    finally:
        logger.finalize(status)
        if isinstance(logger, WandbLogger):  # else the next job of a sweep would continue this run
            import wandb

            wandb.finish(exit_code=int(status == "failed"))


def _lock_if(is_mlflow: bool) -> contextlib.AbstractContextManager[Any]:
    """MLflow fails if two processes create its database or an experiment at the same time."""
    return FileLock(cache_dir() / "mlflow.lock") if is_mlflow else contextlib.nullcontext()


def log_settings(loggers: Sequence[Logger], settings: Mapping[str, Any]) -> None:
    """Start the run in every logger, with its hyperparameters."""
    for logger in loggers:
        is_mlflow = isinstance(logger, MLFlowLogger)
        with quote_errors(f"logger: {type(logger).__name__}"), _lock_if(is_mlflow):
            logger.log_hyperparams(dict(settings))
        if isinstance(logger, CurvesLogger):
            logger.experiment.add_custom_scalars(_CHARTS)


def log_final_figures(
    trainer: Trainer,
    settings: Mapping[str, Any],
    metrics: Mapping[str, Any],
    objective: str,
    shown: Sequence[str] = (),
) -> None:
    """Log figures of the whole run, but not those of single classes.

    Never under the tag of a curve, where they would be a false point at its end. TensorBoard's HParams tab shows them
    beside the settings `shown`, by default all, the test accuracy and the objective first.
    """
    settings = {key: settings[key] for key in shown if key in settings} or settings
    first = [tag for tag in ("test/accuracy", objective) if tag in metrics]
    others = [tag for tag in metrics if tag not in first and not tag.startswith(METRICS_BY_CLASS)]
    # TensorBoard would show 32 as 32.000, and False as 0.0000.
    texts = {key: v if isinstance(v, float | str) else str(v) for key, v in settings.items()}
    final = {f"{FINAL}{tag}": metrics[tag] for tag in [*first, *others]}
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.log_hyperparams(texts, final, trainer.global_step - 1)
        else:
            logger.log_metrics(final, trainer.global_step - 1)
        logger.save()


def log_plot(loggers: Sequence[Logger], tag: str, figure: Figure, step: int) -> None:
    """Log a figure to all loggers of `PLOTTING`, to MLflow as an artifact."""
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_figure(tag, figure, step)
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
            # torch's add_text would end the tag in /text_summary.
            logger.experiment._get_file_writer().add_summary(text_pb(tag, text), step)
        elif isinstance(logger, WandbLogger):
            import wandb

            logger.log_metrics({_to_path(tag): wandb.Html(_render(text))}, step)
        elif isinstance(logger, MLFlowLogger):
            logger.experiment.log_text(logger.run_id, _render(text), f"{_to_path(tag)}.html")


def _render(markdown: str) -> str:
    """The page that TensorBoard makes of a text."""
    from tensorboard.plugin_util import markdown_to_safe_html  # warns of its own code

    return f'<meta charset="utf-8">\n{markdown_to_safe_html(markdown)}'


def _to_path(tag: str) -> str:
    """A tag `group/name` as the path of a file; the name of a class, which may be part of it, can hold anything."""
    group, _, name = tag.partition("/")
    safe = re.sub(r"[^\w ,.-]+", "-", name)
    if safe != name or len(name) > MAX_PLOT_NAME:
        safe = f"{safe[:MAX_PLOT_NAME]}-{fingerprint(name)}"  # the names `a/b` and `a-b` differ
    return f"{group}/{safe}"
