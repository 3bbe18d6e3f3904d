"""Figures; they draw, and know neither files nor checkpoints."""
