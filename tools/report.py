"""See tfreuse/cli/report.py."""

from tfreuse.cli import report

if __name__ == "__main__":
    report.run()
