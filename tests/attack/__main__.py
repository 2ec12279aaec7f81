"""`make attack`; in a module of its own, so that `tests.attack.attacks` can be imported."""

import sys

from tests.attack.attacks import main

if __name__ == "__main__":
    sys.exit(main())
