"""See tfreuse/cli/train.py."""

from tfreuse.cli import train

if __name__ == "__main__":
    train.run()
