"""TensorBoard's logger: curves by epoch, final figures under tags of their own, and a HParams tab of what varies."""

from argparse import Namespace
from collections.abc import Mapping, Sequence
from typing import Any

from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.utilities import rank_zero_only
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from torch.utils.tensorboard.summary import hparams

FINAL = "z_final/"  # TensorBoard sorts groups by name and opens the first two, which are to be train and val
_CHARTS = {
    "training and validation": {
        "accuracy": ["Multiline", ["train/accuracy", "val/accuracy"]],
        "loss": ["Multiline", ["train/loss", "val/loss"]],
    }
}


class CurvesLogger(TensorBoardLogger):
    """Lightning's logger without its `epoch` curve; figures of the test set are final figures.

    Args:
        save_dir: directory of the event files.
        name: subdirectory; None for none.
        version: directory below that; empty for none.
        default_hp_metric: log Lightning's placeholder metric `hp_metric`.
        highlight: keys of the settings that differ between the runs to compare; the HParams tab shows them first.
        hide_fixed: leave the other settings out of the HParams tab, which always shows five.
        purge_step: TensorBoard ignores what earlier event files of the run hold from this step on.
    """

    def __init__(
        self,
        save_dir: str,
        name: str | None,
        version: str,
        default_hp_metric: bool,
        highlight: Sequence[str] = (),
        hide_fixed: bool = False,
        purge_step: int | None = None,
    ) -> None:
        super().__init__(save_dir, name, version, default_hp_metric=default_hp_metric, purge_step=purge_step)
        self.highlight = set(highlight)
        self.hide_fixed = hide_fixed

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log points of curves."""
        curves = {tag: value for tag, value in metrics.items() if tag != "epoch" and not tag.startswith("test/")}
        super().log_metrics(curves, step)

    @rank_zero_only
    def log_hyperparams(
        self, params: dict[str, Any] | Namespace, metrics: dict[str, Any] | None = None, step: int | None = None
    ) -> None:
        """Log the settings before the training; after it, log them with the final figures for the HParams tab."""
        if not metrics:
            super().log_hyperparams(params)
            self.experiment.add_custom_scalars(_CHARTS)
            return
        final = {f"{FINAL}{tag}": value for tag, value in metrics.items()}
        self.log_metrics(final, step)
        settings = self._sanitize_params(params if isinstance(params, dict) else vars(params))
        summary, *session = hparams(settings, final)  # type: ignore[no-untyped-call]
        plugin = summary.value[0].metadata.plugin_data
        content = HParamsPluginData.FromString(plugin.content)
        self._describe(content.experiment)
        plugin.content = content.SerializeToString()
        for part in (summary, *session):
            self.experiment._get_file_writer().add_summary(part, step)

    def _describe(self, experiment: Any) -> None:
        """Say what the HParams tab shows; TensorBoard takes it from one of the runs."""
        for info in experiment.metric_infos:
            info.display_name = info.name.tag.removeprefix(FINAL)
        for info in experiment.hparam_infos:
            info.differs = info.name in self.highlight
        varied = [info for info in experiment.hparam_infos if info.differs]
        if self.hide_fixed and varied:
            del experiment.hparam_infos[:]
            experiment.hparam_infos.extend(varied)

    @staticmethod
    def _sanitize_params(params: dict[str, Any]) -> dict[str, Any]:
        """Whole numbers and truth values become text: TensorBoard would show 32 as 32.000, and False as 0.0000."""
        plain = TensorBoardLogger._sanitize_params(params)
        return {key: str(value) if isinstance(value, int) else value for key, value in plain.items()}
