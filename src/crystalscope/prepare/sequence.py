"""What only several frames can tell: a background of frames, and what stays in place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from crystalscope.errors import InputError, MissingExtraError

FramesBackground = Literal["frames_mean", "frames_median", "mog", "mog2", "knn", "gmg"]


def frames_background(frames: Sequence[NDArray[np.float32]], *, method: FramesBackground) -> NDArray[np.float32]:
    """Background of a fixed camera from several frames.

    Parameters
    ----------
    frames
        Greys of one shape (rows, columns), full scale 1, in order of time.
    method
        ``frames_mean``, ``frames_median``, or one of OpenCV's subtractors: the background is then the mean,
        per pixel, of the frames in which the subtractor calls the pixel background (the median where it
        never does).

    Returns
    -------
    Shape (rows, columns), float32.

    Raises
    ------
    InputError
        With fewer than two frames or frames of several shapes.

    Notes
    -----
    A particle that stays longer than half of the frames becomes background in the median, and leaves a trace
    in the mean at once. Sources: Zivkovic 2004 (MOG2, KNN), KaewTraKulPong and Bowden 2001 (MOG), Godbehere
    et al. 2012 (GMG).
    """
    if len(frames) < 2 or len({f.shape for f in frames}) != 1:
        raise InputError(
            f"expected at least 2 frames of one shape for a background of frames, got "
            f"{len(frames)} of shapes {sorted({f.shape for f in frames})}; use background = 'flat_field'"
        )
    stack = np.stack(frames)
    if method == "frames_mean":
        return np.asarray(stack.mean(axis=0), dtype=np.float32)
    median = np.median(stack, axis=0).astype(np.float32)
    if method == "frames_median":
        return median
    subtractor = _subtractor(method, len(frames))
    total = np.zeros(median.shape, dtype=np.float64)
    count = np.zeros(median.shape, dtype=np.int32)
    # Two rounds: in the first the subtractor learns the scene.
    for learning in (True, False):
        for frame in frames:
            foreground = subtractor.apply(np.clip(frame * 255, 0, 255).astype(np.uint8))
            if not learning:
                calm = foreground == 0
                total[calm] += frame[calm]
                count += calm
    return np.where(count > 0, total / np.maximum(count, 1), median).astype(np.float32)


def _subtractor(method: str, frames: int):  # type: ignore[no-untyped-def]
    if method == "mog2":
        return cv2.createBackgroundSubtractorMOG2(history=frames, detectShadows=False)
    if method == "knn":
        return cv2.createBackgroundSubtractorKNN(history=frames, detectShadows=False)
    if not hasattr(cv2, "bgsegm"):
        raise MissingExtraError(
            f"expected OpenCV with its contrib modules for background = '{method}'; install "
            "opencv-contrib-python-headless, or use mog2 or knn"
        )
    if method == "mog":
        return cv2.bgsegm.createBackgroundSubtractorMOG(history=frames)
    return cv2.bgsegm.createBackgroundSubtractorGMG(initializationFrames=max(2, frames // 2))


def static_mask(
    frames: Sequence[NDArray[np.float32]],
    *,
    cover: Callable[[NDArray[np.float32]], NDArray[np.bool_]],
    min_share: float,
) -> NDArray[np.bool_]:
    """Pixels covered by something in most frames: dust and deposits on the window.

    Parameters
    ----------
    frames
        Greys of one shape, spread over the run.
    cover
        Gives the mask of what stands out of the background in one frame.
    min_share
        Share of the frames in which a pixel must be covered, 0 to 1.

    Returns
    -------
    Shape (rows, columns) bool, grown by one px.

    Notes
    -----
    Deposits that grow are found where they stood for `min_share` of the run; a crystal that sits still that
    long counts as a deposit. Crowds so dense that a pixel is covered most of the time by changing particles
    are told from deposits by the median frame: only what the median frame shows too is static.
    """
    covered = np.mean([cover(f) for f in frames], axis=0)
    median = np.median(np.stack(frames), axis=0).astype(np.float32)
    static = (covered >= min_share) & cover(median)
    return np.asarray(cv2.dilate(static.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0)


def lasting_coverage(covers: NDArray[np.bool_], *, looked: NDArray[np.bool_], window: int = 11) -> NDArray[np.float64]:
    """Share of the field that stays covered while pictures go by: what sits on the window.

    Parameters
    ----------
    covers
        (n, rows, columns) cells that are covered in each frame.
    looked
        (n,) frames that could be analysed; the others do not count.
    window
        Frames, about each one, over which a cell must be covered in all but one.

    Returns
    -------
    (n,) share of the cells; NaN for frames that could not be analysed, and for all where there are fewer than `window`.

    Notes
    -----
    Bias: crystals that settle on the window stay too, which is fouling; in a crowd that covers a share c of the field
    at random, a share of about 11 c^10 seems to stay (0.1 % at c = 0.4, 1 % at 0.5). A deposit counts from half a
    window before it is there for long.
    """
    out = np.full(len(covers), np.nan)
    seen = np.flatnonzero(looked)
    if len(seen) < window:
        return out
    shape = covers.shape[1:]
    total = np.zeros(shape, dtype=np.int32)
    for i in seen[:window]:
        total += covers[i]
    share = np.empty(len(seen))
    half = window // 2
    share[: half + 1] = float((total >= window - 1).mean())
    for k in range(half + 1, len(seen)):
        last = k + half
        if last < len(seen):
            total += covers[seen[last]].astype(np.int32) - covers[seen[last - window]]
        share[k] = float((total >= window - 1).mean())
    out[seen] = share
    return out
