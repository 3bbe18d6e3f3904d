"""The figure of one training: losses and accuracies by epoch."""

import pandas as pd
from matplotlib.ticker import MaxNLocator

from sentiment.analysis.figures.fonts import Figure


def plot_history(history: pd.DataFrame, checkpoint_epoch: int | None) -> Figure:
    """Plot the losses and the accuracies of the training and the validation set.

    Args:
        history: columns `train/loss`, `val/loss`, `train/accuracy` and `val/accuracy`, NaN in epochs without a
            validation; the index is the epoch.
        checkpoint_epoch: epoch of the selected checkpoint, where a line is drawn; None for no line.
    """
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    for axis, name, scale in zip(
        figure.subplots(1, 2), ("loss", "accuracy"), (1, 100), strict=True
    ):
        for split, color in (("train", "0.5"), ("val", "C0")):
            values = scale * history[f"{split}/{name}"].dropna()
            axis.plot(values.index, values, color=color, marker="o", markersize=3, label=split)
        if checkpoint_epoch is not None:
            axis.axvline(
                checkpoint_epoch, color="0.4", linestyle="--", linewidth=1, label="checkpoint"
            )
        axis.set(xlabel="epoch", ylabel="accuracy, %" if name == "accuracy" else name)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.grid(alpha=0.3)
    axis.legend(frameon=False)
    return figure
