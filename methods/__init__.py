"""One file per method; a file here and a yaml in configs/method is all that a method needs."""
