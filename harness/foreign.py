"""python -m harness.foreign FILE NEW: the name of `python -m harness convert` in version 0.1."""

import sys

from harness.cli.main import main

if __name__ == "__main__":
    sys.argv.insert(1, "convert")
    main()
