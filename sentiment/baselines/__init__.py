"""scikit-learn baselines on the reviews that the network is trained on."""
