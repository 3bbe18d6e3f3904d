"""Files of reviews: which ones are read, and how."""
