"""From a source of reviews to padded batches."""
