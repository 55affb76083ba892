"""Downloading by torchvision's own means: its addresses, its mirrors, its checksums.

Runs in a child process (see `grader.data.jobs`), since torchvision takes seconds to import. What is added here:
the network is probed first, so that offline fails at once; and a file that was cut off is fetched again.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from grader.data import preparing
from grader.data.prepared import OnProgress
from grader.errors import PracticeError

Say = Callable[[str], None]

PROBE_SECONDS = 5.0
STALL_SECONDS = 30.0  # a connection that says nothing for so long has gone
INSTEAD = (
    "With the files on this machine: `practice data import PATH`. "
    "Without any: every exercise works on the embedded data, which needs no network."
)


def download(name: str, datasets_dir: Path, on_progress: OnProgress, say: Say) -> None:
    """Fetch and prepare "mnist", "cifar10" or "resnet18". Raises `PracticeError` saying what to do instead."""
    on_progress(0, 0, "Looking for the network")
    socket.setdefaulttimeout(STALL_SECONDS)
    fetch = {"mnist": _mnist, "cifar10": _cifar10, "resnet18": _resnet18}[name]
    with preparing.friendly_errors(datasets_dir):
        datasets_dir.mkdir(parents=True, exist_ok=True)
        try:
            fetch(datasets_dir, on_progress, say)
        except (RuntimeError, urllib.error.URLError, TimeoutError, ConnectionError) as error:
            reason = str(error).strip().splitlines()
            raise PracticeError(
                f"The download of {name} failed: {reason[-1] if reason else type(error).__name__}",
                hint=f"Run the same command again: what is complete isn't fetched twice.\n{INSTEAD}",
            ) from error


def _mnist(datasets_dir: Path, on_progress: OnProgress, say: Say) -> None:
    from torchvision.datasets import MNIST
    from torchvision.datasets.utils import check_integrity

    raw = datasets_dir / "MNIST" / "raw"
    broken = [each for each, md5 in MNIST.resources if not check_integrity(raw / each, md5)]
    if broken:
        mirrors = _reachable([(mirror, f"{mirror}{broken[0]}") for mirror in MNIST.mirrors])
        for each in broken:  # torchvision would take an unpacked file for whole, whatever it holds
            (raw / each).unlink(missing_ok=True)
            (raw / each).with_suffix("").unlink(missing_ok=True)
        # A class of the same name, since torchvision names the folder after it.
        near = type("MNIST", (MNIST,), {"mirrors": mirrors})
        with _watched(raw, "*.gz", 11_594_722, "Downloading MNIST", on_progress):
            near(datasets_dir, download=True)
    _prepare(raw, datasets_dir, on_progress, say)


def _cifar10(datasets_dir: Path, on_progress: OnProgress, say: Say) -> None:
    from torchvision.datasets import CIFAR10
    from torchvision.datasets.utils import check_integrity

    archive, folder = datasets_dir / CIFAR10.filename, datasets_dir / CIFAR10.base_folder
    unpacked = all(check_integrity(folder / each, md5) for each, md5 in CIFAR10.train_list + CIFAR10.test_list)
    if not unpacked and not check_integrity(archive, CIFAR10.tgz_md5):
        _reachable([(CIFAR10.url, CIFAR10.url)])
        with _watched(datasets_dir, CIFAR10.filename, 170_498_071, "Downloading CIFAR-10", on_progress):
            CIFAR10(datasets_dir, download=True)
        unpacked = True
    _prepare(folder if unpacked else archive, datasets_dir, on_progress, say)


def _resnet18(datasets_dir: Path, on_progress: OnProgress, say: Say) -> None:
    from torch.hub import download_url_to_file
    from torchvision.models import ResNet18_Weights

    from grader.data.prepared import sha256

    url = ResNet18_Weights.IMAGENET1K_V1.url
    expected = Path(urlsplit(url).path).stem.rpartition("-")[2]  # published file names end in their hash
    weights = datasets_dir / "weights" / "resnet18.pth"
    if weights.exists() and sha256(weights).startswith(expected):
        say("The ImageNet weights of ResNet-18 are there already, checksum verified.")
        return
    _reachable([(url, url)])
    weights.parent.mkdir(parents=True, exist_ok=True)
    with _watched(weights.parent, "resnet18.pth.*.partial", 46_830_571, "Downloading ResNet-18", on_progress):
        download_url_to_file(url, str(weights), hash_prefix=expected, progress=False)
    say("Fetched the ImageNet weights of ResNet-18, checksum verified.")


def _prepare(source: Path, datasets_dir: Path, on_progress: OnProgress, say: Say) -> None:
    from grader.data.importing import import_path

    import_path(source, datasets_dir, on_progress, say, origin="download")


def _reachable(addresses: Sequence[tuple[Any, str]]) -> list[Any]:
    """The first of each pair whose address answers at all, within seconds; none raises `PracticeError`."""
    answering, reasons = [], []
    for each, url in addresses:
        reason = _probe(url)
        if reason is None:
            answering.append(each)
        else:
            reasons.append(f"{urlsplit(url).hostname}: {reason}")
    if not answering:
        raise PracticeError(f"No network, or the server is away ({'; '.join(reasons)}).", hint=INSTEAD)
    return answering


def _probe(url: str) -> str | None:
    """None when the server answers; else why it doesn't. Proxies are used as for the download itself."""
    request = urllib.request.Request(url, method="HEAD", headers={"User-Agent": "pytorch/vision"})
    try:
        with urllib.request.urlopen(request, timeout=PROBE_SECONDS):
            return None
    except urllib.error.HTTPError as error:
        return None if error.code < 500 and error.code != 404 else f"HTTP {error.code}"
    except urllib.error.URLError as error:
        return str(error.reason)
    except (OSError, ValueError) as error:
        return str(error) or type(error).__name__


@contextlib.contextmanager
def _watched(folder: Path, pattern: str, expected: int, text: str, on_progress: OnProgress) -> Iterator[None]:
    """Report how much has arrived while the body downloads, seen from the sizes of the files in `folder`."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.2):
            with contextlib.suppress(OSError):
                arrived = sum(each.stat().st_size for each in folder.glob(pattern))
                on_progress(min(arrived, expected), expected, text)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
