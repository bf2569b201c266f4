"""The folders below one, read once: their files, which of these seem to be images, and what is neither."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from PIL import Image

from pipeline.data.spec import LeftOut
from spelling import some

GENERIC = ("images", "image", "imgs", "img", "jpegimages", "photos", "pictures", "data", "dataset")
"""Names of folders between a split and its classes, or its images."""
LABEL_TABLES = ("metadata.csv", "metadata.jsonl", "val_annotations.txt")
"""Files beside images, or beside a folder of them, that hold their labels."""
LITTER = ("thumbs.db", "desktop.ini", "__macosx", "@eadir", "$recycle.bin", "lost+found", "icon\r")
"""What operating systems leave in folders, besides names that begin with a dot; in lower case."""

_ENDINGS = frozenset({*Image.registered_extensions(), ".heic", ".heif", ".hif", ".avif"})
_MAGIC = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"P5", b"P6")


@dataclass(eq=False)
class Folder:
    path: Path
    folders: list[Folder] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    """The names of the files in it."""
    num_images: int = 0
    """By their names, in it and below."""

    @property
    def name(self) -> str:
        return self.path.name

    @cached_property
    def images(self) -> list[str]:
        """The files whose names may be an image's; where a name has no ending its first bytes say it."""
        return [name for name in self.files if self._may_be_image(name)]

    def _may_be_image(self, name: str) -> bool:
        ending = name.rpartition(".")[2] if "." in name else ""
        return f".{ending.lower()}" in _ENDINGS or (not ending and _begins(self.path / name))

    def paths(self) -> list[str]:
        """The paths of its files."""
        start = str(self.path / "x")[:-1]
        return [start + name for name in self.files]

    @property
    def holders(self) -> list[Folder]:
        """The folders in it that hold images."""
        return [each for each in self.folders if each.num_images]

    @property
    def is_flat(self) -> bool:
        """Whether all its images are directly in it, or in one folder called images."""
        holders = self.holders
        return not holders or (len(holders) == 1 and holders[0].means_nothing and holders[0].is_flat)

    @property
    def means_nothing(self) -> bool:
        """Whether its name only says that it holds images."""
        return self.name.lower() in GENERIC

    @property
    def label_table(self) -> Path | None:
        """The file in it that gives the labels of its images, as Hugging Face and Tiny ImageNet have it."""
        return next((self.path / name for name in self.files if name in LABEL_TABLES), None)

    def below(self) -> Iterator[Folder]:
        """This folder and all below, depth first, in order of their names."""
        waiting = [self]
        while waiting:
            folder = waiting.pop()
            yield folder
            waiting += reversed(folder.folders)


def read_tree(root: Path, left_out: list[LeftOut]) -> Folder:
    """The tree of folders; hidden and other entries are added to `left_out`."""
    whole = Folder(root)
    waiting, seen, every = [whole], {os.path.realpath(root)}, []
    while waiting:
        folder = waiting.pop()
        every.append(folder)
        folder.folders, folder.files = _entries(folder.path, left_out, root)
        new = []
        for each in folder.folders:
            identity = os.path.realpath(each.path)
            if identity in seen:
                reason = "a link to a folder that was read already"
                left_out.append(LeftOut(path=within(root, each.path), reason=reason))
            else:
                seen.add(identity)
                new.append(each)
        folder.folders = new
        waiting += reversed(new)
    for folder in reversed(every):
        folder.num_images = len(folder.images) + sum(each.num_images for each in folder.folders)
    return whole


def shown(path: Path | str) -> str:
    """A path as printable text, even if its name is no valid text."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def in_words(folder: Path) -> str:
    """A folder for a sentence, in which a single dot would be lost."""
    return "the current folder" if folder == Path() else shown(folder)


def names_of(folders: Iterable[Folder]) -> str:
    """The first names, for messages."""
    return some([f"{shown(each.name)}/" for each in folders])


def within(root: Path, path: Path) -> str:
    """A path below root, for messages; another path whole."""
    return shown(path.relative_to(root) if path.is_relative_to(root) else path)


def _entries(folder: Path, left_out: list[LeftOut], root: Path) -> tuple[list[Folder], list[str]]:
    folders, files = [], []
    try:
        with os.scandir(folder) as opened:
            entries = sorted(opened, key=lambda entry: entry.name)
    except OSError as error:
        entries = []
        reason = f"cannot be read ({error.strerror})"
        left_out.append(LeftOut(path=within(root, folder), reason=reason))
    for entry in entries:
        kind = _kind(entry)
        if kind == "folder":
            folders.append(Folder(folder / entry.name))
        elif kind == "file":
            files.append(entry.name)
        else:
            left_out.append(LeftOut(path=within(root, folder / entry.name), reason=kind))
    return folders, files


_SPECIAL = (
    (stat.S_ISFIFO, "a named pipe, not a file"),
    (stat.S_ISSOCK, "a socket, not a file"),
    (stat.S_ISBLK, "a device, not a file"),
    (stat.S_ISCHR, "a device, not a file"),
)


def _kind(entry: os.DirEntry[str]) -> str:
    """'folder', 'file', or why it is neither."""
    if entry.name.startswith(".") or entry.name.lower() in LITTER:
        return "hidden"
    if entry.is_file(follow_symlinks=False):
        return "file"
    try:
        mode = entry.stat().st_mode
    except OSError as error:
        if error.errno == errno.ELOOP:
            return "a link to itself"
        if entry.is_symlink() and error.errno in (errno.ENOENT, errno.ENOTDIR):
            return "a link that leads nowhere"
        return f"cannot be read ({error.strerror})"
    if stat.S_ISDIR(mode):
        return "folder"
    return "file" if stat.S_ISREG(mode) else next(words for is_it, words in _SPECIAL if is_it(mode))


def _begins(file: Path) -> bool:
    try:
        with file.open("rb") as opened:
            start = opened.read(12)
    except OSError:
        return False
    return start.startswith(_MAGIC) or start[8:] == b"WEBP" or start[4:8] == b"ftyp"
