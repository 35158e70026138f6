"""One model under one protocol. It knows no run."""
