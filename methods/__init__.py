"""One file per method; to add a method, add a file here and a yaml in configs/method."""
