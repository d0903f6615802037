"""Run ``python -m app.local``."""

import sys

from app.local.serve import main

if __name__ == "__main__":
    sys.exit(main())
