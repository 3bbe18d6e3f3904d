"""The network, its training, its metrics and its checkpoints."""
