"""What may be wrong with labelled reviews, before a network is trained on them."""
