"""Reviews, from where they lie to padded batches."""
