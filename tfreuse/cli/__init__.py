"""Command-line tools: parse flags into specs, make one library call, print a summary.

Only this layer knows absl.flags. `tools/study.py`, `tfreuse-study` and
`python -m tfreuse.cli.study` are the same code.
"""
