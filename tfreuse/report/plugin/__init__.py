"""The tab "Reusability" of TensorBoard: live views of the studies in a log directory.

    tensorboard --logdir=runs/quickstart

TensorBoard loads the tab through the entry point `tensorboard_plugins`. The server discovers the
studies (`discovery`), follows their records while they are written (`follower`, `live`), and
answers requests in JSON (`routes`). The content of the answers (`tfreuse.report.views`) and the
browser's JavaScript (`tfreuse/report/static`) are shared with the report, which shows the same
views without a server. Everything is read-only, and names from the browser are looked up among
the discovered studies, never turned into paths. Imports no TensorFlow.
"""

from tfreuse.report.plugin.routes import Reusability

__all__ = ["Reusability"]
