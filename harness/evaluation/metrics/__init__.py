"""One file per metric; to add a metric, add a file here and an entry in a protocol."""
