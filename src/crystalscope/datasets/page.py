"""What the pages of a dataset are made of: pictures with outlines and plots inside the page, nothing outside of it."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable, Sequence
from importlib.resources import files
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from crystalscope import __version__
from crystalscope.errors import ReadError
from crystalscope.io.coco import polygons_of
from crystalscope.io.regions import decode_region

Polygons = list[NDArray[np.float64]]

COLOURS = ("#1f5f99", "#c8551b", "#4a8c5c", "#8a5aa8", "#b8962e", "#6b7580")
"""Of the classes in plots."""
_STYLE: Any = {
    "svg.fonttype": "none",
    # Shipped with matplotlib, so the layout is the same everywhere; the page then sets its own font.
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#8a949e",
    "axes.linewidth": 0.7,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.formatter.use_mathtext": False,
    "grid.color": "#e8ebee",
    "grid.linewidth": 0.6,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.frameon": False,
    "legend.fontsize": 8,
}


def render(template: str, **context: Any) -> str:
    """A page from one of the templates of this room, in the style of the reports."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("crystalscope", "datasets"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    root = files("crystalscope")
    style = "\n".join(
        root.joinpath(name).read_text(encoding="utf-8") for name in ("report/analysis.css", "datasets/page.css")
    )
    return environment.get_template(template).render(version=__version__, style=style, **context)


def plot(draw: Callable[[Any], None], *, name: str, alt: str, size: tuple[float, float] = (9.2, 3.2)) -> str:
    """SVG of a matplotlib figure for a page; the same data give the same bytes.

    Parameters
    ----------
    draw
        Draws into the figure.
    name
        Of the plot, its own on the page.
    alt
        Alternative text.
    size
        Width and height, inches.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context():
        mpl.rcdefaults()
        # Names in the SVG are hashed with the salt: one salt per plot keeps them apart on one page.
        mpl.rcParams.update({**_STYLE, "svg.hashsalt": name})
        figure = Figure(figsize=size, layout="constrained")
        draw(figure)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    for pattern in (r"<metadata>.*?</metadata>", r"<style .*?</style>", r"<!--.*?-->", r' id="[a-zA-Z]+[\w.]*_\d+"'):
        text = re.sub(pattern, "", text, flags=re.DOTALL)
    box = re.search(r'viewBox="[^"]*"', text)
    head = f'<svg {box.group(0) if box else ""} role="img" aria-label="{alt}">'
    return head + re.sub(r"\n\s*", "\n", text[text.index(">") + 1 :])


def log_axis(axis: Any) -> None:
    """Ticks of a logarithmic x axis as round numbers."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    axis.set_xscale("log")
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.xaxis.set_minor_formatter(NullFormatter())


def eight_bit(data: NDArray[Any]) -> NDArray[np.uint8]:
    """RGB in 8 bit for the screen: 8-bit pictures as they are, others stretched to their 0.1 to 99.9 percentile."""
    if data.dtype != np.uint8:
        low, high = np.percentile(data, [0.1, 99.9])
        data = np.clip((data - low) * (255.0 / max(float(high - low), 1e-9)), 0, 255).astype(np.uint8)
    return np.asarray(data if data.ndim == 3 else np.repeat(data[:, :, None], 3, axis=2))


def jpeg(picture: NDArray[np.uint8], *, quality: int = 80) -> bytes:
    """An RGB picture as JPEG."""
    _, raw = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return bytes(raw.tobytes())


def data_uri(picture: NDArray[np.uint8]) -> str:
    """An RGB picture as text that stands in the page."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg(picture)).decode()


def polygons_to_draw(segmentation: Any) -> Polygons:
    """Outlines (k, 2) of x and y on pixel corners of a COCO segmentation as it stands, faulty ones too."""
    if not segmentation:
        return []
    try:
        if not isinstance(segmentation, dict):
            return [p for p in polygons_of(segmentation) if len(p)]
        region = decode_region(segmentation)
    except ReadError:
        return []
    if region is None:
        return []
    contours, _ = cv2.findContours(region.mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    # They run through the centres of the outermost pixels.
    return [c[:, 0, :].astype(float) + np.array([region.column + 0.5, region.row + 0.5]) for c in contours]


def shown(
    data: NDArray[Any],
    outlines: Sequence[tuple[str, Polygons]] = (),
    *,
    around: Polygons | None = None,
    width: int = 480,
    alt: str,
) -> str:
    """SVG of a picture, or of the part of it around an outline, with outlines drawn.

    Parameters
    ----------
    data
        The picture, as read.
    outlines
        Class of the path (for the style sheet: ``mark`` or ``near``) and outlines, x and y in px of the picture.
    around
        Outlines to cut out, with a margin; beyond the picture the page is white. None: the whole picture.
    width
        Largest width and height in px of the page; larger pictures are made smaller, small parts are enlarged.
    alt
        Alternative text.
    """
    picture = eight_bit(data)
    x0, y0, x1, y1 = 0, 0, picture.shape[1], picture.shape[0]
    if around:
        points = np.concatenate(around)
        margin = max(12.0, 0.6 * float((points.max(axis=0) - points.min(axis=0)).max()))
        x0, y0 = (int(v) for v in np.floor(points.min(axis=0) - margin))
        x1, y1 = (int(v) for v in np.ceil(points.max(axis=0) + margin))
        # An outline far away is not followed to where nothing is.
        reach = max(picture.shape)
        x0, y0 = max(x0, -reach), max(y0, -reach)
        x1, y1 = min(max(x1, x0 + 8), 2 * reach), min(max(y1, y0 + 8), 2 * reach)
    cut = picture[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)]
    pads = (max(0, -y0), max(0, y1 - picture.shape[0]), max(0, -x0), max(0, x1 - picture.shape[1]))
    if not cut.size:
        cut, pads = np.full((y1 - y0, x1 - x0, 3), 255, np.uint8), (0, 0, 0, 0)
    cut = cv2.copyMakeBorder(cut, *pads, cv2.BORDER_CONSTANT, value=(255, 255, 255))
    zoom = width / max(cut.shape[:2])
    zoom = min(zoom, 6.0) if around else min(zoom, 1.0)
    way = cv2.INTER_AREA if zoom < 1 else cv2.INTER_CUBIC
    cut = np.asarray(cv2.resize(cut, None, fx=zoom, fy=zoom, interpolation=way), dtype=np.uint8)
    rows, columns = cut.shape[:2]
    paths = "".join(
        f'<path class="{kind}" d="{"".join(_path((p - np.array([x0, y0])) * zoom) for p in polygons)}"/>'
        for kind, polygons in outlines
        if polygons
    )
    return (
        f'<svg class="picture" viewBox="0 0 {columns} {rows}" role="img" aria-label="{_plain(alt)}">'
        f'<image href="{data_uri(cut)}" width="{columns}" height="{rows}"/>{paths}</svg>'
    )


def _path(points: NDArray[np.float64]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points) + "Z"


def _plain(text: str) -> str:
    """Text for an attribute."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
