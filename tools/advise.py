"""See tfreuse/cli/advise.py."""

from tfreuse.cli import advise

if __name__ == "__main__":
    advise.run()
