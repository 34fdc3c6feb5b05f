"""Frames of AVI and MP4 files with their times."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crystalscope.errors import ReadError

VIDEO_SUFFIXES = (".avi", ".mp4")
_KEPT = 64


def video_times(path: Path) -> list[float]:
    """Times of the frames of a video in s from its start, in order of presentation.

    Read from the packets without decoding, so a damaged frame is still counted.

    Raises
    ------
    ReadError
        When the file holds no video that can be opened.
    """
    import av

    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stamps: list[tuple[float, int]] = []
            for packet in container.demux(stream):
                if packet.size == 0:
                    continue
                pts = packet.pts if packet.pts is not None else packet.dts
                step = 1.0 / float(stream.average_rate or 1)
                time = len(stamps) * step if pts is None else float(pts * packet.time_base)
                stamps.append((time, len(stamps)))
    except (av.FFmpegError, OSError, IndexError) as e:
        raise ReadError(f"expected a video in {path.name}: {e}; convert it to MP4 (H.264) or AVI") from e
    times = sorted(t for t, _ in stamps)
    return [t - times[0] for t in times]


class VideoReader:
    """Decodes frames of one file by position; fast in order, right in any order, safe from several threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._container: Any = None
        self._frames: Any = None
        self._next = 0
        self._kept: dict[int, NDArray[np.uint8]] = {}

    def read(self, index: int) -> NDArray[np.uint8]:
        """Frame `index` (from 0), (rows, columns) or (rows, columns, 3) RGB uint8.

        Raises
        ------
        ReadError
            When the video ends before, or the frame is damaged.
        """
        with self._lock:
            if index in self._kept:
                return self._kept[index]
            if self._frames is None or index < self._next:
                self._open()
            while self._next <= index:
                self._step(index)
            return self._kept[index]

    def _open(self) -> None:
        import av

        if self._container is not None:
            self._container.close()
        try:
            self._container = av.open(str(self._path))
            self._frames = self._container.decode(video=0)
        except (av.FFmpegError, OSError, IndexError) as e:
            raise ReadError(f"expected a video in {self._path.name}: {e}; convert it to MP4 or AVI") from e
        self._next = 0

    def _step(self, wanted: int) -> None:
        import av

        try:
            frame = next(self._frames)
        except StopIteration:
            self._frames = None
            raise ReadError(
                f"expected frame {wanted} in {self._path.name}, the video ends after {self._next} frames; copy it again"
            ) from None
        except (av.FFmpegError, OSError) as e:
            self._frames = None
            raise ReadError(f"expected frame {self._next} of {self._path.name} to decode: {e}") from e
        # The conversion to RGB stretches limited range (16-235) to 0-255; reading luma directly would not.
        data = frame.to_ndarray(format="rgb24")
        if np.array_equal(data[..., 0], data[..., 1]) and np.array_equal(data[..., 0], data[..., 2]):
            data = np.ascontiguousarray(data[..., 0])
        self._kept[self._next] = data
        self._kept.pop(self._next - _KEPT, None)
        self._next += 1
