"""Training: one experiment, sweeps, studies, and their callbacks and loggers."""
