"""LSTM sentiment experiments: from word embeddings to a tested classifier in one command."""
