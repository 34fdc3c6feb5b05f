"""What is known of a particle besides its outline, and how formats that hold texts or nothing keep it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from crystalscope.core import KINDS
from crystalscope.errors import ReadError
from crystalscope.io.coco import Annotated

_OWN = ("id", "kind", "score", "ignore", "in_focus", "attributes")


@dataclass
class Traits:
    """What is known of a particle besides its outline.

    Parameters
    ----------
    label
        Class name.
    id
        Number of the annotation; None: it gets one.
    kind
        One of `core.KINDS`; None: found by the label.
    score
        Confidence, 0 to 1.
    ignore
        Neither right nor wrong.
    in_focus
        Whether it is in focus.
    attributes
        Further properties by name.
    """

    label: str = "crystal"
    id: int | None = None
    kind: str | None = None
    score: float = 1.0
    ignore: bool = False
    in_focus: bool = True
    attributes: dict[str, Any] = field(default_factory=dict)

    def to_text(self) -> dict[str, str]:
        """Everything but the label as texts by name, for formats that hold texts only; defaults are left out."""
        out = {"id": str(self.id), "kind": str(self.kind)}
        if self.score != 1:
            out["score"] = repr(self.score)
        if self.ignore:
            out["ignore"] = "true"
        if not self.in_focus:
            out["in_focus"] = "false"
        plain = {k: v for k, v in self.attributes.items() if k not in _OWN and _is_plain(k) and _is_plain(v)}
        rest = {k: v for k, v in self.attributes.items() if k not in plain}
        return out | plain | ({"attributes": json.dumps(rest, ensure_ascii=False)} if rest else {})

    def to_row(self) -> dict[str, str]:
        """Everything as texts by name, for a table with one column for each."""
        return {
            "label": self.label,
            "id": str(self.id),
            "kind": str(self.kind),
            "score": repr(self.score),
            "ignore": str(self.ignore).lower(),
            "in_focus": str(self.in_focus).lower(),
            "attributes": json.dumps(self.attributes, ensure_ascii=False) if self.attributes else "",
        }

    @staticmethod
    def from_text(label: str, texts: Mapping[str, str]) -> Traits:
        """From texts as `to_text` writes them; what is not understood becomes an attribute."""
        out = Traits(label)
        for name, text in texts.items():
            value = text.strip()
            low = value.casefold()
            if name == "id" and value.removeprefix("-").isdecimal():
                out.id = int(value)
            elif name == "kind" and low in KINDS:
                out.kind = low
            elif name == "score" and 0 <= _number(value) <= 1:
                out.score = float(value)
            elif name == "ignore" and low in _BOOLS:
                out.ignore = _BOOLS[low]
            elif name == "in_focus" and low in _BOOLS:
                out.in_focus = _BOOLS[low]
            elif name == "attributes" and isinstance(rest := _json(value), dict):
                out.attributes |= rest
            elif value and not (name == "id" and value == "None"):
                out.attributes[name] = text
        return out

    @staticmethod
    def of(annotated: Annotated, index: int) -> Traits:
        """Those of one particle of a picture."""
        found = annotated.instances
        return Traits(
            annotated.labels[index],
            int(annotated.ids[index]),
            KINDS[found.kind[index]],
            # The shortest text that gives the same single-precision number.
            float(str(found.score[index])),
            bool(annotated.ignore[index]),
            bool(found.in_focus[index]),
            dict(annotated.attributes[index]),
        )


def _is_plain(value: Any) -> bool:
    """Whether a text survives a line of its own."""
    return isinstance(value, str) and bool(value) and value == value.strip() and ":" not in value and "\n" not in value


_BOOLS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False, "": False}


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


SIDECAR = "particles_more.csv"
"""Table beside annotations in a format that holds no numbers, scores or flags."""


def sidecar(rows: Iterable[Mapping[str, str]], keys: Sequence[str]) -> tuple[str, bytes]:
    """The table of what a format cannot hold: file name and content; `keys` are the columns that tell rows apart."""
    table = pd.DataFrame(list(rows), columns=[*keys, *Traits().to_row()])
    return SIDECAR, table.to_csv(index=False, lineterminator="\n").encode()


def read_sidecar(folder: Path, keys: Sequence[str]) -> dict[tuple[str, ...], dict[str, str]]:
    """Rows of the table beside annotations by the values of their columns `keys`; empty where there is none.

    Raises
    ------
    ReadError
        When there is a file of that name that is no such table.
    """
    path = folder / SIDECAR
    if not path.is_file():
        return {}
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        return {tuple(row[k] for k in keys): row for row in table.to_dict("records")}
    except (OSError, ValueError, KeyError) as e:
        raise ReadError(f"expected a table with {', '.join(keys)} in {path}, got: {e}; restore or remove it") from e
