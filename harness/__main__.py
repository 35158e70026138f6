"""python -m harness: the command line, which harness/cli holds."""

from harness.cli.main import main

if __name__ == "__main__":
    main()
