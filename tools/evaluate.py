"""See tfreuse/cli/evaluate.py."""

from tfreuse.cli import evaluate

if __name__ == "__main__":
    evaluate.run()
