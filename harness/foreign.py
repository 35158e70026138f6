"""python -m harness.foreign OLD NEW converts a checkpoint (harness/training/weights.py)."""

from harness.training.weights import main

if __name__ == "__main__":
    main()
