"""What runs beside the training."""
