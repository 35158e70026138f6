"""What a component is written against: no Hydra, no MLflow, no submitit."""
