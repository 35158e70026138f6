"""The library that components build on: no Hydra, no MLflow, no submitit."""
