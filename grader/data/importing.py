"""Finding data sets below a path, in whatever form they came, and preparing them.

A recogniser looks at file names and says what it found; reading and checking follow only for what will be used.
Pixel-exact forms go before folders of images, which may have been through JPEG.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from grader.data import preparing
from grader.data.containers import Container, Folder, gunzip, is_archive, open_container
from grader.data.prepared import SPLITS, OnProgress
from grader.data.sets import SETS, SetInfo, set_info
from grader.errors import PracticeError, UsageProblem

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from grader.data.preparing import Arrays, Images, Labels

Say = Callable[[str], None]

UNDERSTOOD = """What is understood, anywhere below the path, in folders or in .tar, .tar.gz, .tgz and .zip archives:
  MNIST     the four files train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and
            t10k-labels-idx1-ubyte, each with or without .gz (torchvision's layout: MNIST/raw/)
  CIFAR-10  cifar-10-python.tar.gz or its folder cifar-10-batches-py; the binary version as well
  either    a folder of images per class: train/airplane/0001.jpg …, test/airplane/0001.jpg …
            (or train/0/…, test/0/… for MNIST), in the original size, PNG or JPEG
  weights   resnet18-f37072fd.pth, the ImageNet weights of ResNet-18"""

# SHA-256 of the labels, in order, one byte each: other sets (Fashion-MNIST, …) use the same file names.
MNIST_LABELS = {
    "train": "1feba77c54802fa5339a11837ea4b2866434b83314ec45192930f1df69120c13",
    "test": "ddeff807876a9661a1110d45c266c86239a3a1b7d37da0c3716a7a683c852ff5",
}
RESNET18_HASH = "f37072fd"

_IDX = re.compile(r"(train|t10k)-(images|labels)[-.]idx([13])-ubyte(\.gz)?")
_BATCH = re.compile(r"(data_batch_[1-5]|test_batch)(\.bin)?")
_IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff")
_SPLIT_WORDS = {"train": "train", "training": "train", "test": "test", "testing": "test", "t10k": "test"}


@dataclass(frozen=True)
class Found:
    """A data set that is somewhere, not read yet. The lower the rank, the closer to the original."""

    name: str
    form: str
    place: Path
    rank: int
    read: Callable[[OnProgress], Arrays]


@dataclass(frozen=True)
class Survey:
    """What lies below a path: whole sets, weights, and sets of which something is missing."""

    found: Sequence[Found]
    weights: Sequence[tuple[Container, PurePosixPath]]
    missing: Sequence[str]


def import_path(
    path: Path, datasets_dir: Path, on_progress: OnProgress, say: Say, *, origin: str | None = None
) -> list[str]:
    """Prepare every data set found below `path`; return their names.

    Raises `UsageProblem` when there is none, and `PracticeError` when one was found but can't be used; the
    others are prepared all the same.
    """
    if not path.exists():
        raise UsageProblem(f"There is no {path}.", hint=f"`practice data import PATH`.\n{UNDERSTOOD}")
    survey = look(path, on_progress)
    if not survey.found and not survey.weights:
        near = "".join(f"\n{each}" for each in survey.missing)
        raise UsageProblem(f"Nothing below {path} is a data set that could be used.{near}", hint=UNDERSTOOD)
    done: list[str] = []
    failures: list[PracticeError] = []
    for found in _best(survey.found, say):
        try:
            _prepare(found, path, datasets_dir, on_progress, say, origin)
            done.append(found.name)
        except PracticeError as error:
            failures.append(error)
    for container, name in survey.weights[:1]:
        try:
            _import_weights(container, name, datasets_dir, say)
            done.append("resnet18")
        except PracticeError as error:
            failures.append(error)
    for each in survey.missing:
        say(each)
    if failures:
        raise PracticeError("\n".join(each.message for each in failures), hint=failures[0].hint)
    return done


def look(path: Path, on_progress: OnProgress) -> Survey:
    """Find the data sets below `path` by the names of the files."""
    found: list[Found] = []
    weights: list[tuple[Container, PurePosixPath]] = []
    missing: list[str] = []
    for container, files in _containers(path, on_progress, missing.append):
        for recognise in (_find_idx, _find_batches, _find_class_folders):
            sets, lacking = recognise(container, files)
            found += sets
            missing += lacking
        weights += [(container, each) for each in files if re.fullmatch(r"resnet18.*\.pth", each.name)]
    return Survey(found, weights, missing)


def _containers(
    path: Path, on_progress: OnProgress, unusable: Say
) -> Iterator[tuple[Container, Mapping[PurePosixPath, int]]]:
    """The path itself and, when it is a folder, the archives below it, whatever they are.

    One of those that can't be read is passed over with a sentence: it may have nothing to do with data.
    """

    def listed(count: int) -> None:
        on_progress(count, 0, f"Looking through {path.name or path}")

    if path.is_file() and not is_archive(path.name):
        # One of the four IDX files, or the weights: what belongs to it lies beside it.
        files = {PurePosixPath(each.name): each.stat().st_size for each in path.parent.iterdir() if each.is_file()}
        yield Folder(path.parent), files
        return
    container = open_container(path)
    files = dict(container.list(listed))
    yield container, files
    if isinstance(container, Folder):
        for each in sorted(files):
            if is_archive(each.name):
                archive = open_container(container.place / each)
                try:
                    members = archive.list(listed)
                except PracticeError as error:
                    unusable(f"Passed over an archive: {error.message}")
                    continue
                yield archive, members


def _best(found: Sequence[Found], say: Say) -> list[Found]:
    """One of each set: the form closest to the original; the others are named."""
    chosen: dict[str, Found] = {}
    for each in sorted(found, key=lambda one: one.rank):
        if each.name in chosen:
            say(f"Passed over {each.form} in {each.place}: {chosen[each.name].form} is used.")
        else:
            chosen[each.name] = each
    return [chosen[name] for name in SETS if name in chosen]


def _prepare(
    found: Found, path: Path, datasets_dir: Path, on_progress: OnProgress, say: Say, origin: str | None
) -> None:
    info = set_info(found.name)
    say(f"Found {info.title}: {found.form} in {found.place}.")
    with preparing.exclusive(datasets_dir, found.name, "real", on_progress):
        splits = found.read(on_progress)
        on_progress(0, 0, f"Writing {info.title}")
        preparing.write(datasets_dir, found.name, "real", splits, origin=origin or f"import:{path.absolute()}")
    counts = {split: len(splits[split][1]) for split in SPLITS}
    say(f"Prepared {info.title}: {counts['train']:,} training and {counts['test']:,} test images.")
    if counts != dict(info.real_counts):
        official = info.real_counts
        say(
            f"Note: the whole {info.title} has {official['train']:,} and {official['test']:,}; "
            "accuracy bars assume the whole set."
        )


# --- recognisers: (container, files) → whole sets, and a sentence for each that lacks something -------------

Recognised = tuple[list[Found], list[str]]


def _find_idx(container: Container, files: Mapping[PurePosixPath, int]) -> Recognised:
    folders: dict[PurePosixPath, dict[str, PurePosixPath]] = defaultdict(dict)
    for path in sorted(files, reverse=True):  # the .gz first, which carry a checksum; the plain ones only fill in
        if match := _IDX.fullmatch(path.name):
            folders[path.parent].setdefault(f"{match[1]}-{match[2]}", path)
    found, lacking = [], []
    wanted = [f"{split}-{kind}" for split in ("train", "t10k") for kind in ("images", "labels")]
    for folder, parts in folders.items():
        absent = [f"{each}-idx{3 if 'images' in each else 1}-ubyte" for each in wanted if each not in parts]
        if absent:
            lacking.append(f"MNIST in {container.place / folder} lacks {', '.join(absent)}.")
        else:
            found.append(_idx_set(container, folder, parts))
    return found, lacking


def _idx_set(container: Container, folder: PurePosixPath, parts: Mapping[str, PurePosixPath]) -> Found:
    def read(on_progress: OnProgress) -> Arrays:
        from grader.data import formats

        arrays: dict[str, NDArray[np.uint8]] = {}
        names = {path: part for part, path in parts.items()}
        for path, content in container.read(names):
            on_progress(len(arrays), 4, "Reading MNIST")
            where = container.place / path
            plain = gunzip(content, where) if path.suffix == ".gz" else content
            arrays[names[path]] = formats.idx(plain, where, 3 if "images" in names[path] else 1)
        splits: dict[str, tuple[Images, Labels]] = {}
        for split, word in (("train", "train"), ("test", "t10k")):
            labels = arrays[f"{word}-labels"]
            _refuse_other_set(split, labels.tobytes(), container.place / folder)
            splits[split] = (arrays[f"{word}-images"][:, None], labels.astype("int64"))
        return splits

    return Found("mnist", "IDX files", container.place / folder, 0, read)


def _refuse_other_set(split: str, labels: bytes, place: Path) -> None:
    official = SETS["mnist"].real_counts[split]
    if len(labels) == official and hashlib.sha256(labels).hexdigest() != MNIST_LABELS[split]:
        raise PracticeError(
            f"The files in {place} are named as MNIST's, but their {split} labels aren't MNIST's.",
            hint="Fashion-MNIST and others use the same names. Import the folder of MNIST itself.",
        )


def _find_batches(container: Container, files: Mapping[PurePosixPath, int]) -> Recognised:
    folders: dict[tuple[PurePosixPath, bool], dict[str, PurePosixPath]] = defaultdict(dict)
    for path in files:
        if match := _BATCH.fullmatch(path.name):
            folders[path.parent, bool(match[2])][match[1]] = path
    wanted = [*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"]
    found, lacking = [], []
    for (folder, binary), parts in folders.items():
        absent = [each for each in wanted if each not in parts]
        if absent:
            lacking.append(f"CIFAR-10 in {container.place / folder} lacks {', '.join(absent)}.")
        else:
            found.append(_batch_set(container, folder, [parts[each] for each in wanted], binary))
    return found, lacking


def _batch_set(container: Container, folder: PurePosixPath, paths: Sequence[PurePosixPath], binary: bool) -> Found:
    def read(on_progress: OnProgress) -> Arrays:
        import numpy as np

        from grader.data import formats

        decode = formats.cifar_binary if binary else formats.cifar_batch
        batches: dict[PurePosixPath, tuple[Images, Labels]] = {}
        for path, content in container.read(paths):
            on_progress(len(batches), len(paths), "Reading CIFAR-10")
            batches[path] = decode(content, container.place / path)
        training = [batches[path] for path in paths[:-1]]
        images, labels = (np.concatenate([batch[part] for batch in training]) for part in (0, 1))
        return {"train": (images, labels), "test": batches[paths[-1]]}

    form = "the binary batches" if binary else "the original batches"
    return Found("cifar10", form, container.place / folder, 0, read)


def _find_class_folders(container: Container, files: Mapping[PurePosixPath, int]) -> Recognised:
    tree: dict[PurePosixPath, dict[str, dict[str, list[PurePosixPath]]]] = {}
    for path in sorted(files):
        if path.suffix.lower() in _IMAGE_ENDINGS and len(path.parts) >= 3:
            split = _SPLIT_WORDS.get(path.parts[-3].lower())
            if split:
                root = tree.setdefault(path.parent.parent.parent, {each: {} for each in SPLITS})
                root[split].setdefault(path.parts[-2].lower(), []).append(path)
    found, lacking = [], []
    for folder, splits in tree.items():
        info = _by_classes({name for classes in splits.values() for name in classes})
        if info is None:
            continue
        absent = [f"{split}/{each}" for split in SPLITS for each in info.classes if not splits[split].get(each)]
        if absent:
            lacking.append(f"{info.title} in {container.place / folder} lacks images in {_some(absent)}.")
        else:
            found.append(_image_set(container, folder, info, splits))
    return found, lacking


def _by_classes(names: set[str]) -> SetInfo | None:
    """The set whose classes these folders are named for, some of them missing or not, none other among them."""
    for info in SETS.values():
        if len(names & set(info.classes)) >= 2 and names <= set(info.classes):
            return info
    return None


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _image_set(
    container: Container,
    folder: PurePosixPath,
    info: SetInfo,
    tree: Mapping[str, Mapping[str, Sequence[PurePosixPath]]],
) -> Found:
    def read(on_progress: OnProgress) -> Arrays:
        import numpy as np

        from grader.data import formats

        slots: dict[PurePosixPath, tuple[str, int]] = {}
        splits: dict[str, tuple[Images, Labels]] = {}
        for seed, split in enumerate(SPLITS):
            labelled = [(path, label) for label, each in enumerate(info.classes) for path in tree[split][each]]
            # Mixed, always in the same way: whoever takes the first thousand expects all classes among them.
            order = np.argsort(np.random.Generator(np.random.PCG64(seed)).random(len(labelled)))
            shuffled = [labelled[each] for each in order]
            slots.update({path: (split, at) for at, (path, _) in enumerate(shuffled)})
            images = np.zeros((len(shuffled), *info.shape), dtype=np.uint8)
            splits[split] = (images, np.array([label for _, label in shuffled], dtype=np.int64))
        for done, (path, content) in enumerate(container.read(slots)):
            split, at = slots[path]
            splits[split][0][at] = formats.picture(content, container.place / path, info.shape)
            on_progress(done + 1, len(slots), f"Decoding {info.title}")
        return splits

    return Found(info.name, "images in class folders", container.place / folder, 1, read)


def _import_weights(container: Container, name: PurePosixPath, datasets_dir: Path, say: Say) -> None:
    """Copy the published ResNet-18 weights, recognised by their hash, to where exercises look for them."""
    from grader.files import write_atomic

    _, content = next(iter(container.read([name])))
    if not hashlib.sha256(content).hexdigest().startswith(RESNET18_HASH):
        raise PracticeError(
            f"{container.place / name} isn't the published file: its SHA-256 doesn't start with {RESNET18_HASH}.",
            hint="Get resnet18-f37072fd.pth anew, then run the command again.",
        )
    write_atomic(datasets_dir / "weights" / "resnet18.pth", content)
    say(f"Prepared the ImageNet weights of ResNet-18 from {container.place / name}.")
