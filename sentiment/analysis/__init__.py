"""What models and runs say: explanations, statistics, comparisons of runs, figures."""
