"""See tfreuse/cli/study.py."""

from tfreuse.cli import study

if __name__ == "__main__":
    study.run()
