"""Nets that timm lacks; a file here and a yaml in configs/model is all that a net needs."""
