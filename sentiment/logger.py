"""TensorBoard, where the HParams tab shows first what a sweep or a study varies."""

from argparse import Namespace
from collections.abc import Sequence
from typing import Any

from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.utilities import rank_zero_only
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from torch.utils.tensorboard.summary import hparams


class TensorBoard(TensorBoardLogger):
    """Lightning's logger; of many settings the tab shows five at first, and those ought to be the ones that differ.

    Args:
        save_dir: where the event files go.
        name: of a folder in between; None for none.
        version: of a folder below that; empty for none.
        default_hp_metric: whether to log a metric of Lightning's own.
        first: settings that differ between the runs to compare.
    """

    def __init__(
        self, save_dir: str, name: str | None, version: str, default_hp_metric: bool, first: Sequence[str] = ()
    ) -> None:
        super().__init__(save_dir, name, version, default_hp_metric=default_hp_metric)
        self.first = set(first)

    @rank_zero_only
    def log_hyperparams(
        self, params: dict[str, Any] | Namespace, metrics: dict[str, Any] | None = None, step: int | None = None
    ) -> None:
        """Records settings and, once they are known, final metrics beside them."""
        if metrics and self.first:  # TensorBoard keeps the first description that it reads
            settings = self._sanitize_params(params if isinstance(params, dict) else vars(params))
            description, *_ = hparams(settings, metrics)  # type: ignore[no-untyped-call]
            plugin = description.value[0].metadata.plugin_data
            content = HParamsPluginData.FromString(plugin.content)
            for info in content.experiment.hparam_infos:
                info.differs = info.name in self.first
            plugin.content = content.SerializeToString()
            self.experiment._get_file_writer().add_summary(description, step)
        super().log_hyperparams(params, metrics, step)
