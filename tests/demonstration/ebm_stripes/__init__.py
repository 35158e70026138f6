"""Parts for the harness: label smoothing, stripes, a perceptron, and the margin of predictions."""
