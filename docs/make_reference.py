"""Writes the reference pages of settings, columns and commands from the code: python docs/make_reference.py"""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from typer.testing import CliRunner

from crystalscope.cli import app
from crystalscope.config import AnalyzeConfig
from crystalscope.core import FRAME_COLUMNS, PARTICLE_COLUMNS, Column

HERE = Path(__file__).parent / "reference"


def configuration() -> str:
    """All tables and settings with type, default and meaning."""
    out = [
        "# Configuration",
        "",
        "`crystalscope analyze --config FILE.toml` reads these tables; unknown keys are refused. The resolved settings",
        "stand in RUN/run.toml. `segmenter` (default `threshold`) stands outside the tables.",
    ]
    for table, field in AnalyzeConfig.model_fields.items():
        model = field.annotation
        if not hasattr(model, "model_fields"):
            continue
        lines = inspect.getsource(model).splitlines()
        out += [
            "",
            f"## [{table}]",
            "",
            inspect.getdoc(model) or "",
            "",
            "| setting | default | meaning |",
            "|---|---|---|",
        ]
        for name, setting in model.model_fields.items():
            at = next(i for i, line in enumerate(lines) if re.match(rf"\s+{name}:", line))
            text = "\n".join(lines[at + 1 :])
            meaning = re.match(r'\s+"""(.*?)"""', text, re.DOTALL)
            words = " ".join(meaning[1].split()) if meaning else ""
            kind = lines[at].split(":", 1)[1].rsplit("=", 1)[0].strip()
            literal = re.findall(r'"([^"]+)"', kind) if kind.startswith("Literal") else []
            words = f"{words} One of: {', '.join(literal)}." if literal else words
            out.append(f"| `{name}` | `{setting.default!r}` | {words} |")
    return "\n".join(out) + "\n"


def columns() -> str:
    """Files and columns of a run."""

    def table(entries: tuple[Column, ...]) -> list[str]:
        unit = {None: "", 0: "", 1: "_um or _px", 2: "_um2 or _px2"}
        rows = [f"| `{c.name}` | {unit[c.dimension]} | {c.dtype} | {c.meaning} |" for c in entries]
        return ["| column | ending | type | meaning |", "|---|---|---|---|", *rows]

    return "\n".join(
        [
            "# The folder of a run",
            "",
            "`crystalscope analyze` writes",
            "",
            "- `run.toml`: resolved settings, version, SHA-256 of every input; written last: where it is, the run is whole",
            "- `frames.parquet`: the ledger, a row for every frame, empty, rejected and failed ones too",
            "- `particles.parquet`: a row for every particle found; those with `in_focus` count",
            "- `annotations.coco.json`: counted particles; polygons on pixel corners (a pixel covers [x, x+1)), RLE where a",
            "  mask has holes; id = particle",
            "- `sizes.csv`: size, q0, Q0, q3, Q3 at every particle, corrected",
            "- `summary.json`: counts, figures with intervals, corrected and uncorrected, warnings",
            "- `report.html`: one file, opens offline",
            "",
            "While it goes on, finished chunks of 32 frames lie in `.parts`; the same command goes on from there after a",
            "crash. The same pictures, settings and machine give the same bytes.",
            "",
            "## particles.parquet",
            "",
            *table(PARTICLE_COLUMNS),
            "",
            "## frames.parquet",
            "",
            *table(FRAME_COLUMNS),
            "",
        ]
    )


def commands() -> str:
    """The help of every command."""
    out = ["# Command line", ""]
    for command in app.registered_commands:
        name = command.callback.__name__
        text = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "110", "NO_COLOR": "1", "TERM": "dumb"}).output
        out += [
            f"## crystalscope {name}",
            "",
            "```text",
            *(line.rstrip() for line in text.strip().splitlines()),
            "```",
            "",
        ]
    return "\n".join(out)


if __name__ == "__main__":
    for name, page in (("configuration", configuration()), ("run-folder", columns()), ("command-line", commands())):
        (HERE / f"{name}.md").write_text(page, encoding="utf-8")
