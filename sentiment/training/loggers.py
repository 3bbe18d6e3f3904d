"""TensorBoard's logger, with a HParams tab that shows first what a sweep or study varies."""

from argparse import Namespace
from collections.abc import Sequence
from typing import Any

from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.utilities import rank_zero_only
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from torch.utils.tensorboard.summary import hparams


class HighlightingTensorBoardLogger(TensorBoardLogger):
    """Lightning's logger; the HParams tab, which shows only a few settings at first, starts with `highlight`.

    Args:
        save_dir: directory of the event files.
        name: subdirectory; None for none.
        version: directory below that; empty for none.
        default_hp_metric: log Lightning's placeholder metric `hp_metric`.
        highlight: keys of the settings that differ between the runs to compare.
    """

    def __init__(
        self, save_dir: str, name: str | None, version: str, default_hp_metric: bool, highlight: Sequence[str] = ()
    ) -> None:
        super().__init__(save_dir, name, version, default_hp_metric=default_hp_metric)
        self.highlight = set(highlight)

    @rank_zero_only
    def log_hyperparams(
        self, params: dict[str, Any] | Namespace, metrics: dict[str, Any] | None = None, step: int | None = None
    ) -> None:
        """Log settings and, once they are known, the final metrics with them."""
        if metrics and self.highlight:  # TensorBoard keeps the first experiment summary that it reads
            settings = self._sanitize_params(params if isinstance(params, dict) else vars(params))
            summary, *_ = hparams(settings, metrics)  # type: ignore[no-untyped-call]
            plugin = summary.value[0].metadata.plugin_data
            content = HParamsPluginData.FromString(plugin.content)
            for info in content.experiment.hparam_infos:
                info.differs = info.name in self.highlight
            plugin.content = content.SerializeToString()
            self.experiment._get_file_writer().add_summary(summary, step)
        super().log_hyperparams(params, metrics, step)
