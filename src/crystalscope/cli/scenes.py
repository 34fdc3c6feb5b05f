"""crystalscope scenes: pictures with exact truth from the virtual instrument."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from crystalscope.cli.common import errors, progress

app = typer.Typer(
    help="Rendered pictures with exact truth: the virtual instrument.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command("list")
def list_() -> None:
    """Names of the presets."""
    from crystalscope.scenes import preset, preset_names

    for name in preset_names():
        typer.echo(f"{name:20} {preset(name).title}")


@app.command()
def render(
    recipe: Annotated[str, typer.Argument(help="A preset (see `scenes list`) or a TOML file.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the set: a dataset with its truth.")],
    frames: Annotated[int, typer.Option("--frames", "-n", min=0, help="Pictures; 0: the whole of a batch.")] = 10,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same bytes.")] = 0,
    instrument: Annotated[
        Path | None, typer.Option("--instrument", help="TOML of one's own instrument (`scenes fit` writes one).")
    ] = None,
    suffix: Annotated[str, typer.Option(help="Of the files: .png or .tif.")] = ".png",
    workers: Annotated[int | None, typer.Option(min=1, help="Threads; the result does not depend on it.")] = None,
) -> None:
    """Render a set of pictures with COCO, particles, size distributions and its recipe."""
    with errors():
        from crystalscope.errors import ConfigError
        from crystalscope.scenes import load_recipe, preset

        chosen = load_recipe(recipe) if recipe.endswith(".toml") else preset(recipe)
        if instrument:
            own = load_recipe(instrument, base=None if recipe.endswith(".toml") else recipe)
            chosen = chosen.changed(instrument=own.instrument, window=own.window, vary=own.vary)
        if not frames and chosen.batch is None:
            raise ConfigError("expected --frames of at least 1 for pictures that are no batch, got 0")
        if suffix not in (".png", ".tif", ".tiff"):
            raise ConfigError(f"expected .png or .tif, got {suffix!r}")
        name = Path(recipe).stem
        rendered = render_set(chosen, out, name=name, frames=frames, seed=seed, suffix=suffix, workers=workers)
        typer.echo(f"{rendered} pictures of {name} in {out}: pictures in images/, truth beside them")


def render_set(
    recipe: Any, out: Path, *, name: str, frames: int, seed: int, suffix: str = ".png", workers: int | None = None
) -> int:
    """Render a recipe into a folder, with a bar; returns the number of pictures."""
    import pandas as pd

    from crystalscope import __version__
    from crystalscope.datasets import write_scenes
    from crystalscope.io.manifest import Manifest
    from crystalscope.io.tables import to_toml, write_json, write_text
    from crystalscope.scenes import scenes_of, true_events

    total = len(recipe.batch.states(frames=frames, seed=seed)) if recipe.batch else frames
    manifest = Manifest(
        name=name,
        title=recipe.title,
        description=f"{recipe.description} Seed {seed}.",
        version=__version__.split(".dev")[0],
        licence="CC0-1.0",
        creators=("crystalscope",),
        instrument=f"virtual instrument, recipe {name}",
        solids_loading="see coverage in frames.csv",
        annotated_by="exact truth of the renderer",
        annotation_rules="every body that reaches into the picture; those out of focus carry ignore = 1",
        limits=("rendered, not recorded",),
    )
    with progress("pictures", total) as report:
        write_scenes(
            scenes_of(recipe, frames=frames, seed=seed, suffix=suffix, workers=workers),
            out,
            manifest=manifest,
            progress=report,
        )
    if recipe.batch is not None:
        states = recipe.batch.states(frames=frames, seed=seed)
        seen = pd.read_csv(out / "frames.csv")["n_crystals"].tolist()
        write_json(out / "events.json", true_events(states, seen))
    write_text(out / "recipe.toml", to_toml(recipe.model_dump(exclude_none=True)))
    return total


@app.command()
def fit(
    folder: Annotated[Path, typer.Argument(help="Pictures of one's own instrument.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for instrument.toml and the comparison.")],
    scale: Annotated[float | None, typer.Option(help="Pixel size in um per px.")] = None,
    look: Annotated[
        str | None, typer.Option(help="backlit, reflected, flow-cell or polars instead of a guess.")
    ] = None,
) -> None:
    """Estimate brightness, noise, gradient and blur from a laboratory's own frames."""
    with errors():
        from crystalscope.datasets import fit_instrument, write_fit

        with progress("pictures") as report:
            found = fit_instrument(folder, pixel_size_um=scale, look=look, progress=report)
        for path in write_fit(found, out):
            typer.echo(f"Wrote {path}")
        for line in found.lines():
            typer.echo(line)
