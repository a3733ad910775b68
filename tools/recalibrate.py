"""See tfreuse/cli/recalibrate.py."""

from tfreuse.cli import recalibrate

if __name__ == "__main__":
    recalibrate.run()
