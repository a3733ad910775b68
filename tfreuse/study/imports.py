"""Imports the packages of units of work; the server that workers are forked from runs it once."""

from tfreuse import runtime

runtime.load()

from tfreuse import data, export, models, training  # noqa: F401
from tfreuse.study import finish, labels, measuring, work  # noqa: F401
