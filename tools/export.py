"""See tfreuse/cli/export.py."""

from tfreuse.cli import export

if __name__ == "__main__":
    export.run()
