"""Downloads a data set of TensorFlow Datasets; fails at once if there is no network.

    downloads.fetch(DataSpec(dataset="tfds:oxford_iiit_pet"))

TFDS itself retries for minutes before it reports an unreachable host. It runs in a separate
process, so that this module need not import TensorFlow.
"""

import os
import pathlib
import socket
import subprocess
import sys
import threading
import urllib.parse

from tfreuse.errors import InputError, printable
from tfreuse.specs import DataSpec

HOST = ("storage.googleapis.com", 443)  # TFDS contacts it first for every data set
PATIENCE = 1.5  # seconds
_CODE = (
    "import sys, tensorflow_datasets as tfds\n"
    "name, folder = sys.argv[1:]\n"
    "tfds.builder(name, **({'data_dir': folder} if folder else {})).download_and_prepare()\n"
)


def fetch(spec: DataSpec) -> None:
    """Downloads and prepares `spec.dataset` unless it is on this disk already.

    Raises:
        InputError: the data set is not TFDS's, there is no network, or TFDS failed.
    """
    if not spec.dataset.startswith("tfds:"):
        raise InputError(
            f"--download is for --dataset=tfds:NAME; got {printable(spec.dataset)}."
        )
    if _on_disk(spec):
        return
    host = _proxy_or_host()
    if not _reachable(host):
        raise InputError(
            f"--download needs a network, and {host[0]} is not reached within {PATIENCE:g} s. "
            f"Prepare {printable(spec.dataset)} on a machine that has one, and copy "
            "~/tensorflow_datasets from there, or give its path as --data_dir."
        )
    name = spec.dataset.removeprefix("tfds:")
    command = [sys.executable, "-c", _CODE, name, spec.data_dir]
    if subprocess.run(command, check=False).returncode:
        raise InputError(
            f"TFDS could not prepare {printable(spec.dataset)}; its output is above."
        )


def _on_disk(spec: DataSpec) -> bool:
    """Returns whether TFDS has prepared any version, by the layout of its folders."""
    root = pathlib.Path(spec.data_dir or "~/tensorflow_datasets").expanduser()
    name = spec.dataset.removeprefix("tfds:").split(":")[0]
    return any((root / name).glob("**/dataset_info.json"))


def _proxy_or_host() -> tuple[str, int]:
    """Returns the address of the environment's proxy, or else of the host itself."""
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        proxy = urllib.parse.urlsplit(os.environ.get(name, ""))
        if proxy.hostname:
            return proxy.hostname, proxy.port or HOST[1]
    return HOST


def _reachable(address: tuple[str, int]) -> bool:
    """Returns whether the address accepts a connection within PATIENCE.

    Connects in a thread, since the DNS lookup has no time limit.
    """
    answered = threading.Event()

    def call() -> None:
        try:
            socket.create_connection(address, PATIENCE).close()
            answered.set()
        except OSError:  # unreachable: the event stays unset
            pass

    threading.Thread(target=call, daemon=True).start()
    return answered.wait(PATIENCE)
