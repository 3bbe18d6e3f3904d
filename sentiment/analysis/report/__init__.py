"""Comparison of runs: tables and tests of significance."""
