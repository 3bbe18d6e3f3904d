"""scikit-learn baselines on the reviews that the LSTM is trained on."""
