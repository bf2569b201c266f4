"""Reads images of a source by index, in parallel, and keeps those that fit in memory."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from pipeline.data import memory
from pipeline.data.pixels import UnreadableImageError, quiet_pillow
from pipeline.data.spec import ImageShape, ReadSettings
from pipeline.errors import PipelineError

if TYPE_CHECKING:
    import numpy.typing as npt

    Pixels = npt.NDArray[np.uint8]
    Integers = npt.NDArray[np.int64]
    Flags = npt.NDArray[np.bool_]

LOG = logging.getLogger(__name__)
MAX_REPLACEMENTS = 1000
"""Number of unreadable images in a row after which the data are considered gone."""
SETTLE_SECS = 0.2
"""Seconds without a call after which, at exit, TensorFlow is considered to be done."""
MAX_SETTLE_SECS = 10.0


class Source(Protocol):
    """Images by index."""

    def __len__(self) -> int: ...

    def path(self, index: int) -> str:
        """The image's name for the user."""
        ...

    def file(self, index: int) -> Path | None:
        """The image's file; None where it is part of an array."""
        ...

    def read(self, index: int, shape: ImageShape) -> Pixels:
        """(height, width, channels) uint8. Raises OSError or UnreadableImageError if it cannot be read."""
        ...

    def whole(self, shape: ImageShape) -> Pixels | None:
        """All images, if they are in memory in this shape already; otherwise None."""
        ...


@dataclass(frozen=True)
class _Kept:
    """Resized images of one shape, (n, height, width, channels), and which of them are filled in."""

    rows: Pixels
    filled: Flags


class Reader:
    """A source's images in any shape. Thread-safe."""

    def __init__(self, source: Source, settings: ReadSettings) -> None:
        self.failure: PipelineError | None = None
        self._source = source
        self._settings = settings
        self._kept: dict[ImageShape, _Kept | None] = {}
        self._unreadable: set[int] = set()
        self._lock = threading.Lock()
        self._num_active = 0
        self._last_call = 0.0
        self._threads = ThreadPoolExecutor(
            settings.num_threads or os.cpu_count() or 1, thread_name_prefix="read-images"
        )
        quiet_pillow()
        _READERS.add(self)

    def is_busy(self) -> bool:
        """Whether it is being called, or was within the last SETTLE_SECS."""
        return self._num_active > 0 or time.monotonic() - self._last_call < SETTLE_SECS

    def read(self, indices: Integers, shape: ImageShape) -> tuple[Pixels, Flags]:
        """Pixels (n, height, width, channels) uint8, 0 where an image was not read, and which were read."""
        with self._lock:
            self._num_active += 1
        try:
            return self._read(indices, shape)
        finally:
            with self._lock:
                self._num_active -= 1
                self._last_call = time.monotonic()

    def read_replacing(
        self, indices: Integers, shape: ImageShape, *, spare: Integers
    ) -> tuple[Pixels, Integers]:
        """The pixels, unreadable images replaced by the next readable ones in `spare`, and their indices."""
        rows, good = self.read(indices, shape)
        if good.all():
            return rows, indices
        chosen = indices.copy()
        for place in np.flatnonzero(~good):
            start = int(np.flatnonzero(spare == indices[place])[0])
            for step in range(1, min(len(spare), MAX_REPLACEMENTS)):
                other = spare[[(start + step) % len(spare)]]
                row, readable = self.read(other, shape)
                if readable[0]:
                    rows[place], chosen[place] = row[0], other[0]
                    break
            else:
                raise self._gone(int(indices[place]))
        return rows, chosen

    def _read(self, indices: Integers, shape: ImageShape) -> tuple[Pixels, Flags]:
        rows = np.zeros((len(indices), *shape), np.uint8)
        if not threading.main_thread().is_alive():
            # the program is ending: nobody will see the pixels, and an error would only be printed
            return rows, np.ones(len(indices), np.bool_)
        kept = self._keep(shape)
        if kept is None:
            good = np.zeros(len(indices), np.bool_)
            self._fill(rows, good, range(len(indices)), indices, shape)
            return rows, good
        missing = [index for index in indices.tolist() if not kept.filled[index]]
        if missing:
            self._fill(kept.rows, kept.filled, missing, missing, shape)
        return kept.rows[indices], kept.filled[indices]

    def names(self, indices: Integers) -> tuple[str, ...]:
        """The images' absolute paths, or their places in an array; without those that cannot be read."""
        good = self.readable(indices).tolist()
        files = [self._source.file(index) for index in good]
        return tuple(
            self._source.path(index) if file is None else str(file.absolute())
            for index, file in zip(good, files, strict=True)
        )

    def is_of_file(self, index: int) -> bool:
        """Whether the image has its own file."""
        return self._source.file(index) is not None

    def readable(self, indices: Integers) -> Integers:
        """Those without the ones that could not be read."""
        return np.array([index for index in indices.tolist() if index not in self._unreadable], np.int64)

    def check_not_gone(self, indices: Integers) -> None:
        """Raises the failure if none of these images could be read."""
        if self._unreadable.issuperset(indices.tolist()):
            raise self._gone(int(indices[0]))

    def _gone(self, index: int) -> PipelineError:
        self.failure = PipelineError(
            f"the images are gone: neither {self._source.path(index)} nor the others can be read any more. "
            "Put them back, then start again."
        )
        return self.failure

    def _keep(self, shape: ImageShape) -> _Kept | None:
        """The store for this shape, made on first use; None if the data set does not fit."""
        whole = self._source.whole(shape)
        if whole is not None:
            return _Kept(rows=whole, filled=np.ones(len(whole), np.bool_))
        if shape not in self._kept:
            every = (len(self._source), *shape)
            limit = memory.available_bytes() * self._settings.cache_fraction
            fits = np.prod(every, dtype=np.int64) <= limit
            self._kept.setdefault(
                shape,
                _Kept(rows=np.zeros(every, np.uint8), filled=np.zeros(len(self._source), np.bool_))
                if fits
                else None,
            )
        return self._kept[shape]

    def _fill(
        self,
        rows: Pixels,
        good: Flags,
        places: list[int] | range,
        indices: list[int] | Integers,
        shape: ImageShape,
    ) -> None:
        def one(place: int, index: int) -> None:
            try:
                rows[place] = self._source.read(index, shape)
                good[place] = True
                self._unreadable.discard(index)
            except (OSError, UnreadableImageError) as error:
                self._warn(index, error)

        pairs = list(zip(places, map(int, indices), strict=True))
        try:
            for done in [self._threads.submit(one, *pair) for pair in pairs]:
                done.result()
        except RuntimeError:
            # no thread can be started, as when the program is ending: read them all in this one
            for pair in pairs:
                one(*pair)

    def _warn(self, index: int, error: Exception) -> None:
        if index in self._unreadable:
            return
        self._unreadable.add(index)
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        LOG.warning("%s cannot be read any more (%s); going on without it", self._source.path(index), reason)


_READERS: weakref.WeakSet[Reader] = weakref.WeakSet()


@atexit.register
def _settle() -> None:
    """Waits until TensorFlow's threads no longer call back: a call while Python exits would hang forever.

    This happens if an iterator over batches is still alive at exit, as after an interrupted training.
    """
    readers = list(_READERS)
    begun = time.monotonic()
    while any(reader.is_busy() for reader in readers) and time.monotonic() - begun < MAX_SETTLE_SECS:
        time.sleep(SETTLE_SECS / 10)
