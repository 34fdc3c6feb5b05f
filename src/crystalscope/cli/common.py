"""What commands share: errors in one line, a progress bar."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

from crystalscope.errors import CrystalscopeError

if TYPE_CHECKING:
    from crystalscope.core import Figure


class errors:
    """Turns the project's errors into one line and exit status 2."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, CrystalscopeError):
            typer.echo(f"Error: {error}", err=True)
            raise typer.Exit(2) from None
        if isinstance(error, KeyboardInterrupt):
            typer.echo("Stopped. The same command goes on where it was.", err=True)
            raise typer.Exit(130) from None


@contextmanager
def progress(what: str, total: int | None = None) -> Iterator[Callable[..., None]]:
    """A bar with an estimate on stderr; yields a function of the number done and, where it changes, the total."""
    with stages() as report:
        yield lambda done, of=None: report(what, done, total if of is None else of)


@contextmanager
def stages() -> Iterator[Callable[[str, int, int | None], None]]:
    """A bar with an estimate on stderr; yields a function of what is done, the number done and the total."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        current = ""

        def report(what: str, done: int, of: int | None) -> None:
            nonlocal current
            if what != current:
                # A stage has an estimate of its own.
                bar.reset(task, description=what)
                current = what
            bar.update(task, completed=done, total=of)

        yield report


def figure_text(figure: Figure) -> str:
    """A figure with its interval, or the reason why it has none."""
    import math

    if not math.isfinite(figure.value):
        return f"not defined ({figure.reason})"
    bounds = f" [{figure.lower:.4g}, {figure.upper:.4g}]" if math.isfinite(figure.lower) else f" ({figure.reason})"
    return f"{figure.value:.4g}{bounds}"
