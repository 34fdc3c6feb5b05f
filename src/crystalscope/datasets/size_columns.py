"""What the headings of a size table say: size, class edges, how a value is weighted and counted."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Weight = Literal["0", "3", ""]
"""Index r of Q_r (ISO 9276-1): 0 number, 3 volume; empty where the table does not say."""

Kind = Literal["undersize", "oversize", "cumulative", "frequency", "density", "count"]

_VALUE = re.compile(
    r"%|percent|fraction|frequency|cumul|\bcum\b|undersize|oversize|passing|finer|retained|below|less than|"
    r"greater than|count|number|\bno\b|volume|\bvol\b|mass|density|\bq[03]?\b|#|surface|area",
    re.IGNORECASE,
)
_SIZE = re.compile(
    r"size|diameter|diam\b|channel|\bclass|\bbins?\b|lower|upper|(?<![a-z])[uµμ]m\b|micron|\bmm\b|\bnm\b|"
    r"particle|\bx\b|\bd\b|midpoint|length|width",
    re.IGNORECASE,
)
_LOWER = re.compile(r"\blower|\bfrom\b|\bmin(?:imum)?\b|\bstart\b|\blow\b|\bleft\b", re.IGNORECASE)
_UPPER = re.compile(r"\bupper|\bto\b|\bmax(?:imum)?\b|\bend\b|\bhigh\b|\bright\b", re.IGNORECASE)
_MIDDLE = re.compile(r"\bmid|\bcent(?:re|er)|\bmean\b|\bgeometric", re.IGNORECASE)
_STATISTIC = re.compile(r"\bstd\b|deviation|error|\brsd\b|uncertainty|\bci\b|confidence", re.IGNORECASE)
_DEFINITIONS = (
    (r"\bce\b|circle|circular equivalent|\becd\b|equivalent", "ecd"),
    (r"feret|max(?:imum)? distance|caliper", "feret_max"),
    (r"\blength\b", "length"),
    (r"\bwidth\b|breadth", "width"),
    (r"laser|mastersizer|diffraction|refractive", "laser diffraction"),
    (r"sieve|mesh", "sieve"),
    (r"coulter|multisizer", "electrical sensing zone"),
)
_LOADING = re.compile(r"\d+(?:[.,]\d+)?\s*(?:wt\s*%?|%\s*(?:wt|solids?)|w/w)", re.IGNORECASE)
_NOISE = re.compile(
    r"cumulative|cumul\.?|\bcum\b\.?|undersize|oversize|passing|finer|frequency|\(compatible\)|compatible|differential|"
    r"distribution|\bpsd\b|fraction|density|weighted|based|percent|volume|\bvol\b\.?|mass|number|count(?:s)?|\bof\b|"
    r"particles?|classes|size|diameter|\b[qQ][03]\b|\[?\(?(?<![a-z])[uµμ]m\b\)?\]?|\bin\b|\bby\b|\bthan\b|\bless\b|%",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Role:
    """What a column is.

    Parameters
    ----------
    role
        size (one column of sizes), lower, upper, value, statistic or other.
    to_um
        Factor of a size to um.
    unit_stated
        Whether the heading names the unit.
    """

    role: Literal["size", "lower", "upper", "value", "statistic", "other"]
    to_um: float = 1.0
    unit_stated: bool = False


def role_of(heading: str) -> Role:
    """What a column is by its heading; an empty heading is ``other``."""
    last = heading.rsplit(" | ", 1)[-1]
    plain = _LOADING.sub(" ", heading)
    if _STATISTIC.search(last):
        return Role("statistic")
    # "CE Diameter (um)" is a size although its upper heading may say "Volume distribution": the last row decides.
    own = _LOADING.sub(" ", last)
    if _SIZE.search(own) and not re.search(
        r"%|percent|density|fraction|frequency|cumul|undersize|oversize|\bq[03]\b|count|number|1/", own, re.IGNORECASE
    ):
        factor, stated = _unit(last)
        if not stated:
            factor, stated = _unit(heading)
        lower, upper = _LOWER.search(own), _UPPER.search(own)
        if bool(lower) != bool(upper):
            return Role("lower" if lower else "upper", factor, stated)
        return Role("size", factor, stated)
    if _VALUE.search(plain):
        return Role("value")
    return Role("other")


def _unit(text: str) -> tuple[float, bool]:
    if re.search(r"(?<![a-z])[uµμ]m\b|micron|micromet", text, re.IGNORECASE):
        return 1.0, True
    if re.search(r"\bmm\b|millimet", text, re.IGNORECASE):
        return 1000.0, True
    if re.search(r"\bnm\b|nanomet", text, re.IGNORECASE):
        return 0.001, True
    return 1.0, False


def place_of(heading: str) -> Literal["lower", "upper", "middle", ""]:
    """Which edge of its class the only size column holds; empty where the heading does not say."""
    if _MIDDLE.search(heading):
        return "middle"
    lower, upper = _LOWER.search(heading), _UPPER.search(heading) or re.search(r"<|undersize|passing", heading)
    if bool(lower) == bool(upper):
        return ""
    return "lower" if lower else "upper"


def weight_of(*texts: str) -> Weight | None:
    """How a value is weighted, by the first text that says so.

    Returns
    -------
    ``3`` (volume or mass), ``0`` (number), None for area (which nothing here uses), or empty.
    """
    for text in texts:
        plain = _LOADING.sub(" ", text)
        if re.search(r"\bvol(?:ume)?\b|\bmass\b|weight(?!ed)|\b[qQ]3\b|\bdv\b", plain, re.IGNORECASE):
            return "3"
        if re.search(r"number|\bnum\b|\bcounts?\b|\b[qQ]0\b|#|\bdn\b|\bno\.?(?=\s*%|$)", plain, re.IGNORECASE):
            return "0"
        if re.search(r"\bsurface\b|\barea\b|\b[qQ]2\b", plain, re.IGNORECASE):
            return None
    return ""


def kind_of(heading: str) -> Kind | None:
    """How a value is counted, by its heading; None where the heading does not say."""
    last = heading.rsplit(" | ", 1)[-1]
    for text in (last, heading):
        if re.search(r"oversize|retained|greater than|coarser|above|(?<!\|)>", text, re.IGNORECASE):
            return "oversize"
        if re.search(r"undersize|passing|finer|below|less than|smaller than|<", text, re.IGNORECASE):
            return "undersize"
        if re.search(r"cumul|\bcum\b|\bQ[03]?\b", text) or re.search(r"cumul|\bcum\b", text, re.IGNORECASE):
            return "cumulative"
        if re.search(r"1\s*/\s*[uµμ]m|[uµμ]m\s*\^?\s*-1|per [uµμ]m|\bq[03]\b", text):
            return "density"
        if re.search(r"%|percent|fraction|frequency|density|differential", text, re.IGNORECASE):
            return "frequency"
        if re.search(r"\bcounts?\b|number of|#", text, re.IGNORECASE):
            return "count"
    return None


def definition_of(*texts: str) -> str:
    """What size means, by the first text that says so: ecd, feret_max, length, width …, or ``not stated``."""
    for text in texts:
        for pattern, name in _DEFINITIONS:
            if re.search(pattern, text, re.IGNORECASE):
                return name
    return "not stated"


def sample_of(heading: str) -> str:
    """What is left of a heading without the words of the trade: the name of the sample; may be empty."""
    parts = [_NOISE.sub(" ", _LOADING.sub(lambda m: m.group().replace("%", "§"), p)) for p in heading.split(" | ")]
    cleaned = [re.sub(r"\s+", " ", p.replace("§", "%")).strip(" -_:,;()[]/") for p in parts]
    seen: list[str] = []
    for p in cleaned:
        if p and p.lower() not in (s.lower() for s in seen):
            seen.append(p)
    return " ".join(seen)
