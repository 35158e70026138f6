"""Runs: config, folder and record; the only package that imports both training and evaluation."""
