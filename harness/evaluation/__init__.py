"""The evaluation of one model under one protocol; it is independent of runs."""
