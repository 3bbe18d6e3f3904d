"""A callback of one's own."""

from typing import cast

from pytorch_lightning import Callback, LightningModule, Trainer

from sentiment.model.module import SentimentModule


class EmbeddingNorm(Callback):
    """Logs the mean norm of the word embeddings after every epoch: a curve next to those of the training."""

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        vectors = cast(SentimentModule, pl_module).net.embedding.weight.detach()  # (V, E)
        pl_module.log("train/embedding_norm", vectors.norm(dim=1).mean())
