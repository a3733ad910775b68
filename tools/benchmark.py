"""See benchmarks/main.py."""

import pathlib
import sys

# benchmarks/ is no part of what is installed
sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

from benchmarks import main

if __name__ == "__main__":
    main.run()
