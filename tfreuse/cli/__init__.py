"""The commands: flags in, specs out, one library call, plain words about what came of it.

Only this layer knows absl.flags. `tools/study.py`, `tfreuse-study` and
`python -m tfreuse.cli.study` are the same code.
"""
