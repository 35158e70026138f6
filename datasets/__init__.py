"""One file per dataset; a file here and a yaml in configs/data is all that a dataset needs."""
