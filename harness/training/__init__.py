"""One stage of training: from batches to weights. It knows no run and no config."""
