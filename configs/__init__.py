"""The Hydra configs, as package data."""
