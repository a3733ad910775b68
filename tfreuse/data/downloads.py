"""Downloads data sets and weights; fails at once if there is no network.

    downloads.fetch(DataSpec(dataset="tfds:oxford_iiit_pet"))
    downloads.fetch_weights(["hf://timm/resnet18.a1_in1k"])

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
from collections.abc import Iterable

from tfreuse import checkpoints
from tfreuse.checkpoints import folder, hub, sharded
from tfreuse.checkpoints.source import MissingFileError
from tfreuse.errors import InputError, printable, reason
from tfreuse.specs import DataSpec

HOST = ("storage.googleapis.com", 443)  # TFDS contacts it first for every data set
HUB = ("huggingface.co", 443)
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
    _check_network(
        HOST,
        f"Prepare {printable(spec.dataset)} on a machine that has one, and copy "
        "~/tensorflow_datasets from there, or give its path as --data_dir.",
    )
    name = spec.dataset.removeprefix("tfds:")
    command = [sys.executable, "-c", _CODE, name, spec.data_dir]
    if subprocess.run(command, check=False).returncode:
        raise InputError(
            f"TFDS could not prepare {printable(spec.dataset)}; its output is above."
        )


def fetch_weights(paths: Iterable[str]) -> None:
    """Downloads the models of the Hugging Face Hub among `paths` that its cache lacks.

    Raises:
        InputError: no path is hf://ORG/NAME, there is no network, huggingface_hub is not
            installed, or the Hub does not give the file.
    """
    addresses = [path for path in paths if hub.is_address(path)]
    if not addresses:
        raise InputError("--download is for models hf://ORG/NAME; no path is one.")
    for address in addresses:
        try:
            checkpoints.open(address).close()
        except MissingFileError:
            _fetch_weights(hub.parse(address))


def _fetch_weights(address: hub.Address) -> None:
    try:
        import huggingface_hub
    except ImportError as error:
        raise InputError(
            "--download of hf://ORG/NAME needs the package huggingface_hub: "
            "pip install 'tfreuse[hub]'."
        ) from error
    url = urllib.parse.urlsplit(os.environ.get("HF_ENDPOINT", ""))
    _check_network(
        (url.hostname, url.port or HUB[1]) if url.hostname else HUB,
        f"Download {printable(address)} on a machine that has one, and copy {printable(hub.cache())} from "
        "there.",
    )
    options = {"repo_id": address.repo, "revision": address.revision}
    try:
        names = huggingface_hub.list_repo_files(**options)
        name = pathlib.PurePosixPath(address.file)
        if str(name) not in names:
            inside = {
                path.name
                for n in names
                if (path := pathlib.PurePosixPath(n)).parent == name
            }
            name /= folder.choose(inside, printable(address))[0]
        path = huggingface_hub.hf_hub_download(filename=str(name), **options)
        if name.suffix == ".json":
            for shard in sharded.shard_names(pathlib.Path(path)):
                shard = str(name.with_name(shard))
                huggingface_hub.hf_hub_download(filename=shard, **options)
    except InputError:
        raise
    except Exception as error:  # the package's errors have no class in common
        raise InputError(
            f"{printable(address)} cannot be downloaded: {reason(error)}. The address, and for models with "
            "conditions `hf auth login`, are what the Hub asks for."
        ) from error


def _on_disk(spec: DataSpec) -> bool:
    """Returns whether TFDS has prepared any version, by the layout of its folders."""
    root = pathlib.Path(spec.data_dir or "~/tensorflow_datasets").expanduser()
    name = spec.dataset.removeprefix("tfds:").split(":")[0]
    return any((root / name).glob("**/dataset_info.json"))


def _check_network(host: tuple[str, int], remedy: str) -> None:
    """Raises InputError if the host, or the proxy before it, is not reached."""
    address = _proxy_or(host)
    if not _reachable(address):
        raise InputError(
            f"--download needs a network, and {address[0]} is not reached within "
            f"{PATIENCE:g} s. {remedy}"
        )


def _proxy_or(host: tuple[str, int]) -> tuple[str, int]:
    """Returns the address of the environment's proxy, or else of the host itself."""
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        proxy = urllib.parse.urlsplit(os.environ.get(name, ""))
        if proxy.hostname:
            return proxy.hostname, proxy.port or host[1]
    return host


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
