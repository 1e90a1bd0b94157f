"""``python -m ionian``: the command line."""

import sys

from ionian.cli import main

if __name__ == "__main__":
    sys.exit(main())
