"""One file per metric; a file here and an entry in a protocol is all that a metric needs."""
