"""Figures of models, trainings, sweeps and studies."""
