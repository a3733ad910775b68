"""The tab "Reusability" of TensorBoard: what the studies in a log directory say, live.

    tensorboard --logdir=runs/quickstart

TensorBoard finds the tab by the entry point `tensorboard_plugins`. The server side finds the
studies (`finding`), follows their records while they are written (`following`, `held`), and
answers small questions in JSON (`routes`). What the answers are and the browser's side, plain
JavaScript modules, are the report's (`tfreuse.report.views`, `tfreuse/report/static`), which
shows the same without a server. Everything is read-only, and what a browser names is looked up
among what was found: nothing else can be read. Imports no TensorFlow.
"""

from tfreuse.report.plugin.routes import Reusability

__all__ = ["Reusability"]
