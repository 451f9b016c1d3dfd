"""`python -m audiojax.cli` is the `audiojax` command."""

import sys

from audiojax.cli import main

if __name__ == "__main__":
    sys.exit(main())
