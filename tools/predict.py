"""See tfreuse/cli/predict.py."""

from tfreuse.cli import predict

if __name__ == "__main__":
    predict.run()
