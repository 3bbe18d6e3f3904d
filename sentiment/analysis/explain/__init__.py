"""Explanations of a prediction, and neighbors of words."""
