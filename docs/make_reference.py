"""Writes the reference pages of settings, columns and commands from the code: python docs/make_reference.py"""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any, get_args

from typer.testing import CliRunner

from crystalscope.cli import app
from crystalscope.config import AnalyzeConfig, SignalMap
from crystalscope.core import EVENT_FIELDS, FRAME_COLUMNS, LABELS, PARTICLE_COLUMNS, TRUTH_COLUMNS, Column
from crystalscope.design.system import Attribute, Factor, PlantSettings, Profile, System
from crystalscope.events import MSZW_COLUMNS
from crystalscope.phase import POINT_COLUMNS
from crystalscope.plant.batch import Numerics
from crystalscope.plant.kinetics import (
    Agglomeration,
    Amorphous,
    Breakage,
    Charge,
    Dissolution,
    Growth,
    Kinetics,
    Law,
    Nucleation,
    Seeds,
    Solubility,
)
from crystalscope.plant.kinetics import preset as plant_preset
from crystalscope.plant.kinetics import preset_names as plant_names
from crystalscope.scenes import Batch, Instrument, Population, Recipe, Window, preset, preset_names

HERE = Path(__file__).parent / "reference"


def settings_table(model: type[Any], *, skip: set[str] | frozenset[str] = frozenset()) -> list[str]:
    """Rows of the settings of a model: name, default, meaning from the text below it; those to `skip` are inherited."""
    lines = inspect.getsource(model).splitlines()
    out = ["| setting | default | meaning |", "|---|---|---|"]
    for name, setting in model.model_fields.items():
        if name in skip:
            continue
        at = next(i for i, line in enumerate(lines) if re.match(rf"\s+{name}:", line))
        end = next((i for i in range(at, len(lines)) if lines[i].count("[") == lines[i].count("]")), at)
        meaning = re.match(r'\s+"""(.*?)"""', "\n".join(lines[end + 1 :]), re.DOTALL)
        words = " ".join(meaning[1].split()) if meaning else ""
        kind = lines[at].split(":", 1)[1].rsplit("=", 1)[0].strip()
        literal = re.findall(r'"([^"]+)"', kind) if kind.startswith("Literal") else []
        words = f"{words} One of: {', '.join(literal)}." if literal else words
        default = "required" if setting.is_required() else f"`{setting.get_default(call_default_factory=True)!r}`"
        out.append(f"| `{name}` | {default} | {words.strip()} |")
    return out


def configuration() -> str:
    """All tables and settings with type, default and meaning."""
    out = [
        "# Configuration",
        "",
        "`crystalscope analyze --config FILE.toml` reads these tables; unknown keys are refused. The resolved settings",
        "stand in RUN/run.toml. `segmenter` (default `crystals`) stands outside the tables.",
    ]
    for table, field in AnalyzeConfig.model_fields.items():
        model = field.annotation
        if hasattr(model, "model_fields"):
            out += ["", f"## [{table}]", "", inspect.getdoc(model) or "", "", *settings_table(model)]
    out += ["", "## Map of a table of signals", "", inspect.getdoc(SignalMap) or "", "", *settings_table(SignalMap)]
    return "\n".join(out) + "\n"


def scenes() -> str:
    """Settings of recipes of rendered pictures, and the presets."""
    names = ", ".join(get_args(Population.model_fields["body"].annotation))
    out = [
        "# Recipes of rendered pictures",
        "",
        'A TOML file for `crystalscope scenes render FILE.toml`. `base = "PRESET"` takes over all that the file does not',
        "say. Settings of `[instrument]` and `[window]` may be a value, `[low, high]` (drawn evenly), `{log = [low, high]}`",
        "or `{choice = [a, b]}`; settings of populations a value or `[low, high]`. Unknown keys are refused.",
        "",
        "## Presets",
        "",
        "| name | what |",
        "|---|---|",
        *(f"| `{n}` | {preset(n).description or preset(n).title} |" for n in preset_names()),
    ]
    for title, model in (
        ("The file", Recipe),
        ("[instrument]", Instrument),
        ("[window]", Window),
        ("[populations.NAME]", Population),
        ("[batch]", Batch),
    ):
        out += ["", f"## {title}", "", inspect.getdoc(model) or "", "", *settings_table(model)]
        if model is Population:
            out += ["", f"Bodies: {names}."]
    out += [
        "",
        "## particles.csv",
        "",
        "`frame`, `file`, `particle` (the id in the COCO file), then, with the unit in the name (`_um`, `_px`):",
        "",
        "| column | meaning |",
        "|---|---|",
        *(f"| `{c.name}` | {c.meaning} |" for c in TRUTH_COLUMNS),
        "",
    ]
    return "\n".join(out)


PLANT_MODELS: tuple[tuple[str, type[Any]], ...] = (
    ("The file of kinetics", Kinetics),
    ("[solubility]", Solubility),
    ("Every law", Law),
    ("[growth]", Growth),
    ("[dissolution]", Dissolution),
    ("[primary], [heterogeneous], [secondary]", Nucleation),
    ("[agglomeration]", Agglomeration),
    ("[breakage]", Breakage),
    ("[amorphous]", Amorphous),
    ("The file of a charge", Charge),
    ("[seeds] of a charge", Seeds),
    ("Numerics (in Python)", Numerics),
)


def plant() -> str:
    """Settings of the population balance, and the presets."""
    out = [
        "# Kinetics of a plant",
        "",
        "TOML files for `crystalscope plant run --kinetics FILE --charge FILE`. Unknown keys are refused. Rates are",
        "k exp(-E/R (1/T - 1/T_ref)) times a power of the driving force; amounts are per kg of solvent (or L of solution).",
        "",
        "## Presets",
        "",
        "| name | what | source |",
        "|---|---|---|",
        *(f"| `{n}` | {plant_preset(n).name} | {' '.join(plant_preset(n).source.split())} |" for n in plant_names()),
    ]
    for title, model in PLANT_MODELS:
        inherited = set(Law.model_fields) if issubclass(model, Law) and model is not Law else set()
        out += ["", f"## {title}", "", inspect.getdoc(model) or "", "", *settings_table(model, skip=inherited)]
    return "\n".join(out) + "\n"


def design() -> str:
    """Settings of the system of a design."""
    out = [
        "# The system of a design",
        "",
        "The TOML file for `crystalscope design DOE.csv --system FILE`. Unknown keys are refused.",
    ]
    for title, model in (
        ("The file", System),
        ("[[factors]]", Factor),
        ("[profile]", Profile),
        ("[[attributes]]", Attribute),
        ("[plant]", PlantSettings),
    ):
        out += ["", f"## {title}", "", inspect.getdoc(model) or "", "", *settings_table(model)]
    out += ["", "`[solubility]`: as in [kinetics](plant.md).", ""]
    return "\n".join(out)


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
            "- `run.toml`: resolved settings, version, SHA-256 of the weights and of every input; written last: where it is, the run is whole",
            "- `frames.parquet`: the ledger, a row for every frame, empty, rejected and failed ones too",
            "- `particles.parquet`: a row for every particle found; those with `in_focus` count",
            "- `annotations.coco.json`: counted particles; polygons on pixel corners (a pixel covers [x, x+1)), RLE where a",
            "  mask has holes; id = particle",
            "- `sizes.csv`: size, q0, Q0, q3, Q3 at every particle, corrected",
            "- `summary.json`: counts, figures with intervals, corrected and uncorrected, warnings",
            "- `labels.csv`: file, time_s, a confidence for each of the ten labels, and is_LABEL, 1 or 0 by the threshold in",
            "  force, empty for frames that could not be read; not with `--no-labels`",
            "- `outcome.csv`: experiments (the folders of the pictures) x labels, 1 where a label holds in a run of frames that",
            "  is long enough (`label.min_run`); then for each label its share of the frames, first and last time, longest run",
            "- `events.json`: where times and temperatures are known, see [events](events.md)",
            "- `report.html`: one file, opens offline",
            "",
            "`crystalscope label` writes `frames.parquet`, `labels.csv`, `outcome.csv` and `events.json`.",
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
            "Where pictures are labelled, a column per label with its confidence follows: " + ", ".join(LABELS) + ".",
            "",
        ]
    )


def events() -> str:
    """Fields of events.json, and columns of solubility.csv and mszw.csv."""
    return "\n".join(
        [
            "# Events and solubility",
            "",
            "## events.json",
            "",
            "Written by `crystalscope events`, `analyze` and `label`: a list of entries, one for every event that was looked for, also those that did",
            "not happen.",
            "",
            "| field | meaning |",
            "|---|---|",
            *(f"| `{name}` | {meaning} |" for name, meaning in EVENT_FIELDS),
            "",
            "| flag | meaning |",
            "|---|---|",
            "| `as_filled` | first dissolution of the solid as it was filled in, not of crystals grown in the vial |",
            "| `in_hold` | dissolved on the hold after the heating: the temperature is an upper bound of the clear point |",
            "| `freezing` | the solvent freezes: clear and cloud points that do not rise with the concentration |",
            "| `gap` | happened between samples more than 10 min apart |",
            "",
            "## solubility.csv",
            "",
            "Written by `crystalscope solubility`. `what` = measured: a point (`kind` clear, cloud, oiling_out, or given in a",
            "table; `used` in the fit or not); fitted: the curve with its band (`lower`, `upper`) in its valid range. Columns:",
            "",
            ", ".join(f"`{c}`" for c in POINT_COLUMNS) + ".",
            "",
            "## mszw.csv",
            "",
            "A row for every cooling that started clear. Where nothing came on the way down, `status` is not_reached and",
            "`mszw_c` the width to which the vial was watched. Columns:",
            "",
            ", ".join(f"`{c}`" for c in MSZW_COLUMNS) + ".",
            "",
            "`fits.json` holds the parameters of all curves with intervals, AICc, errors at points left out, transition",
            "temperatures with the reason where there is none, and the fits of the zone width.",
            "",
        ]
    )


def command_names(group: Any, prefix: str = "") -> list[str]:
    """Names of all commands, those of groups as ``group command``."""
    names = [prefix + (c.name or c.callback.__name__) for c in group.registered_commands]
    for inner in group.registered_groups:
        names += command_names(inner.typer_instance, f"{prefix}{inner.name} ")
    return names


def commands() -> str:
    """The help of every command."""
    out = ["# Command line", ""]
    for name in command_names(app):
        arguments = [*name.split(), "--help"]
        text = CliRunner().invoke(app, arguments, env={"COLUMNS": "110", "NO_COLOR": "1", "TERM": "dumb"}).output
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
    for name, page in (
        ("configuration", configuration()),
        ("run-folder", columns()),
        ("command-line", commands()),
        ("scenes", scenes()),
        ("plant", plant()),
        ("design", design()),
        ("events", events()),
    ):
        (HERE / f"{name}.md").write_text(page, encoding="utf-8")
