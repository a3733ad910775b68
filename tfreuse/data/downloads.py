"""Gets a data set of TensorFlow Datasets, if a network is there; tells at once if none is.

    downloads.fetch(DataSpec(dataset="tfds:oxford_iiit_pet"))

TFDS itself tries for minutes before it says that it reached nobody. It runs in a process of
its own, so that nothing here waits for TensorFlow to be imported.
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

HOST = ("storage.googleapis.com", 443)  # where TFDS looks first, whatever the data set
PATIENCE = 1.5  # seconds
_CODE = (
    "import sys, tensorflow_datasets as tfds\n"
    "name, folder = sys.argv[1:]\n"
    "tfds.builder(name, **({'data_dir': folder} if folder else {})).download_and_prepare()\n"
)


def fetch(spec: DataSpec) -> None:
    """Downloads and prepares `spec.dataset`; at once if it is on this disk already.

    Raises:
        InputError: it is none of TFDS, there is no network, or TFDS failed.
    """
    if not spec.dataset.startswith("tfds:"):
        raise InputError(
            f"--download is for --dataset=tfds:NAME; got {printable(spec.dataset)}."
        )
    if _on_disk(spec):
        return
    host = _reached_through()
    if not _reachable(host):
        raise InputError(
            f"--download needs a network, and {host[0]} is not reached within {PATIENCE:g} s. "
            f"Prepare {printable(spec.dataset)} on a machine that has one, and copy "
            "~/tensorflow_datasets from there, or give its place as --data_dir."
        )
    name = spec.dataset.removeprefix("tfds:")
    command = [sys.executable, "-c", _CODE, name, spec.data_dir]
    if subprocess.run(command, check=False).returncode:
        raise InputError(
            f"TFDS could not prepare {printable(spec.dataset)}; its own words are above."
        )


def _on_disk(spec: DataSpec) -> bool:
    """Whether TFDS has prepared it, any version; read from its folders, as TFDS lays them."""
    root = pathlib.Path(spec.data_dir or "~/tensorflow_datasets").expanduser()
    name = spec.dataset.removeprefix("tfds:").split(":")[0]
    return any((root / name).glob("**/dataset_info.json"))


def _reached_through() -> tuple[str, int]:
    """The proxy that the environment names, else the host itself."""
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        proxy = urllib.parse.urlsplit(os.environ.get(name, ""))
        if proxy.hostname:
            return proxy.hostname, proxy.port or HOST[1]
    return HOST


def _reachable(address: tuple[str, int]) -> bool:
    """Whether somebody answers; in a thread, since looking up a name knows no time limit."""
    answered = threading.Event()

    def call() -> None:
        try:
            socket.create_connection(address, PATIENCE).close()
            answered.set()
        except OSError:  # nobody: what the caller is told
            pass

    threading.Thread(target=call, daemon=True).start()
    return answered.wait(PATIENCE)
