"""One file per dataset; to add a dataset, add a file here and a yaml in configs/data."""
