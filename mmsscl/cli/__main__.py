"""``python -m mmsscl.cli``."""
import sys

from mmsscl.cli.program import main

if __name__ == "__main__":
    sys.exit(main())
