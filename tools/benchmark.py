"""See tfreuse/cli/benchmark.py."""

from tfreuse.cli import benchmark

if __name__ == "__main__":
    benchmark.run()
