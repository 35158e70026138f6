"""A run: its config, its folder, its record; the only room that knows both training and evaluation."""
