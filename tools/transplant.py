"""See tfreuse/cli/transplant.py."""

from tfreuse.cli import transplant

if __name__ == "__main__":
    transplant.run()
