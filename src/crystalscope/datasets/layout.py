"""What the names of folders and files tell: size, solids loading, class, split, probe, material."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import TypeVar

T = TypeVar("T")

_SPLITS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "validate": "validation",
    "test": "test",
    "testing": "test",
    "calib": "calibration",
    "calibration": "calibration",
    "calibrate": "calibration",
}
_SIZES = {
    "small": "small",
    "fine": "small",
    "fines": "small",
    "s": "small",
    "medium": "medium",
    "mid": "medium",
    "middle": "medium",
    "m": "medium",
    "large": "large",
    "coarse": "large",
    "big": "large",
    "l": "large",
}
_NUMBER = r"(?<![\d.,])(\d+(?:[.,p]\d+)?)"
_LOADING = (
    re.compile(_NUMBER + r"\s*[_-]?\s*(?:wt|w/w|weight|mass|percent|pct|pc\b|%)", re.IGNORECASE),
    re.compile(
        r"(?:wt\s*%?|loading|solids|conc(?:entration)?)[\s_=-]*(\d+(?:[.,p]\d+)?)(?!\d|\s*[uμm])", re.IGNORECASE
    ),
)
_CONCENTRATION = re.compile(_NUMBER + r"\s*[_-]?\s*m?g[\s_-]*(?:per)?[\s_/-]*(ml|l)(?![a-z])", re.IGNORECASE)
_SIZE = re.compile(_NUMBER + r"\s*[_-]?\s*(?:um|μm|microns?|micromet(?:er|re)s?)(?![a-z])", re.IGNORECASE)
_PROBE = re.compile(r"e(?:asy|z)?[\s_-]*v(?:iewer)?[\s_-]*(100|400)(?!\d)", re.IGNORECASE)
_LARGEST_LOADING = 60.0
"""wt%; a slurry with more does not flow, so that a larger number means something else."""


def words(text: str) -> tuple[str, ...]:
    """Lower-case words of a name: ``RawImages_01`` gives raw, images, 01."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", _normal(text))
    return tuple(w for w in re.split(r"[^0-9a-zμ]+", spaced.lower()) if w)


def loading_wt(text: str) -> float | None:
    """Solids loading in wt% that a name states, such as ``100um_5wt%``, ``5 wt``, ``Large 2,5%``, ``wt_5``; or None."""
    for pattern in _LOADING:
        for found in pattern.finditer(_normal(text)):
            value = _float(found.group(1))
            if 0 < value <= _LARGEST_LOADING:
                return value
    return None


def concentration_g_per_l(text: str) -> float | None:
    """Solids concentration in g/L that a name states, such as ``10 mg per mL``, ``10g_L``; or None."""
    found = _CONCENTRATION.search(_normal(text))
    if found is None:
        return None
    milli = "mg" in found.group().lower()
    millilitre = found.group(2).lower() == "ml"
    # mg/mL is g/L; g/mL is 1000 g/L; mg/L is 0.001 g/L.
    return _float(found.group(1)) * {(True, True): 1.0, (False, True): 1000.0, (True, False): 0.001}.get(
        (milli, millilitre), 1.0
    )


def size_um(text: str, *, published: Sequence[float] = ()) -> float | None:
    """Particle size in um that a name states: ``400um``, ``400 micron``; or None.

    Parameters
    ----------
    text
        A name.
    published
        Sizes of the set in um: a whole number without unit counts where it is one of them (``PS400``).
    """
    normal = _normal(text)
    if found := _SIZE.search(normal):
        return _float(found.group(1))
    for number in re.findall(r"(?<![\d.,])[1-9]\d*(?![\d%]|[.,]\d|\s*[_-]?\s*(?:wt|px|pix))", normal, re.IGNORECASE):
        if float(number) in published:
            return float(number)
    return None


def size_label(text: str) -> str | None:
    """Size of a batch in words: small, medium, large, or ``batch 2``; ``L``, ``M`` and ``S`` alone count; or None."""
    found = words(text)
    for i, word in enumerate(found):
        # A single letter further on is more often a unit (g/L) than a size.
        if word in _SIZES and (len(word) > 1 or i == 0):
            return _SIZES[word]
    if match := re.search(r"\b(?:batch|lot|sample)[\s_-]*([a-z0-9]+)", " ".join(found)):
        return f"batch {match.group(1)}"
    return None


def split_of(text: str) -> str | None:
    """train, validation, test or calibration; or None."""
    return next((_SPLITS[w] for w in words(text) if w in _SPLITS), None)


def instrument_of(text: str) -> str | None:
    """EasyViewer-100 or -400 (also ``EV100``, ``easy viewer 400``); or None."""
    found = _PROBE.search(_normal(text))
    return f"EasyViewer-{found.group(1)}" if found else None


def substance_of(text: str) -> str | None:
    """wollastonite or glutamic acid; or None."""
    low = _normal(text).lower()
    if "vansil" in low or "wollaston" in low:
        return "wollastonite"
    if "glutam" in low or "lga" in words(text):
        return "glutamic acid"
    return None


def part_of(text: str) -> str | None:
    """raw or cropped; or None."""
    found = words(text)
    if any(w.startswith("crop") for w in found):
        return "cropped"
    if "raw" in found or "original" in found or "originals" in found:
        return "raw"
    return None


def class_of(text: str) -> str | None:
    """cephalexin or phenylglycine; None where a name has neither, both, or is the title of the whole set."""
    found = set(words(text))
    joined = "".join(words(text))
    if found & {"reactive", "crystallization", "crystallisation", "opencrystaldata", "archive"}:
        return None
    cephalexin = "cephalexin" in joined or "cefalexin" in joined or any(re.fullmatch(r"cex\d*", w) for w in found)
    phenylglycine = "phenylglycine" in joined or any(re.fullmatch(r"pg\d*", w) for w in found)
    if cephalexin == phenylglycine:
        return None
    return "cephalexin" if cephalexin else "phenylglycine"


def from_path(path: PurePosixPath, read: Callable[[str], T | None]) -> tuple[T | None, bool]:
    """What a path tells: the folder next to the file counts first, then those above it, the file's own name last.

    Parameters
    ----------
    path
        Relative to the folder of the set.
    read
        One of the functions above.

    Returns
    -------
    value
        Or None.
    differs
        Whether the file's name says something else than the folders.
    """
    above = _from_folders(path.parent, read)
    own = read(path.stem)
    return (own if above is None else above), above is not None and own is not None and own != above


def from_folders(path: PurePosixPath, read: Callable[[str], T | None]) -> T | None:
    """What the folders of a file tell, the one next to it first; its own name does not count."""
    return _from_folders(path.parent, read)


@lru_cache(maxsize=4096)
def _from_folders(folder: PurePosixPath, read: Callable[[str], T | None]) -> T | None:
    return next((value for name in reversed(folder.parts) if (value := read(name)) is not None), None)


def looks_damaged(path: Path) -> str:
    """Why a file cannot be a whole picture, or an empty text; only its two ends are read, it is not decoded."""
    try:
        size = path.stat().st_size
        if not size:
            return "empty file"
        with path.open("rb") as f:
            head = f.read(16)
            # Cameras append notes behind the end mark.
            f.seek(max(0, size - 65536))
            tail = f.read()
    except OSError as e:
        return f"not readable: {e.strerror}"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "" if b"IEND" in tail else "cut off"
    if head.startswith(b"\xff\xd8"):
        return "" if b"\xff\xd9" in tail else "cut off"
    if head.startswith((b"BM", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return ""
    return "no picture inside"


def _normal(text: str) -> str:
    # NFKC turns the micro sign into the Greek letter, and full-width digits into plain ones.
    return unicodedata.normalize("NFKC", text)


def _float(text: str) -> float:
    return float(text.replace(",", ".").replace("p", "."))
