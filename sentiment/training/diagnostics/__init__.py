"""What TensorBoard shows besides loss and metrics."""
