"""The network and its training."""

from sentiment.model.lstm import LSTMClassifier
from sentiment.model.module import SentimentModule

__all__ = ["LSTMClassifier", "SentimentModule"]
