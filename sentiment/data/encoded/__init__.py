"""Encoded reviews: written to disk once, read in padded batches."""
