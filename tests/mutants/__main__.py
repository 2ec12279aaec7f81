"""`make mutants`; in a module of its own, because what runs in a fork has to be found by name."""

import sys

from tests.mutants.lab import main

if __name__ == "__main__":
    sys.exit(main())
