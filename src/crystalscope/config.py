"""Configuration: frozen models; constructor = schema = TOML table; unknown keys are refused."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from crystalscope.errors import ConfigError

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]


class Table(BaseModel):
    """A TOML table: frozen, with no unknown key."""

    model_config = ConfigDict(frozen=True, extra="forbid")


_Model = TypeVar("_Model", bound=Table)


class InputConfig(Table):
    """Where scale, times and temperatures come from; nothing is guessed.

    The scale is the first of: `pixel_size_um`; `marked_um` over `marked_px` (a distance of known length
    and its extent in the picture); TIFF tags that name a micrometre scale (ImageJ, OME). Without one,
    results are in px.

    The times are the first of: `time_table` (CSV with columns file and time_s); `time_pattern` on the file
    name (a regular expression whose group ``seconds``, ``minutes`` or ``hours`` is a number, or whose group
    ``stamp`` is read by `stamp_format`); `frame_interval_s`; the video clock; EXIF. Without one they are unknown.
    """

    files: str = "*"
    """Pattern of the file names that are read, such as ``frame_*.jpg``."""
    pixel_size_um: Positive | None = None
    marked_um: Positive | None = None
    marked_px: Positive | None = None
    time_table: str | None = None
    time_pattern: str | None = None
    stamp_format: str = "%Y%m%d_%H%M%S"
    frame_interval_s: Positive | None = None
    log: str | None = None
    log_time_column: str = "time_s"
    log_time_unit: Literal["s", "min", "h", "datetime"] = "s"
    log_temperature_column: str = "temperature_c"
    log_offset_s: float = 0.0
    bits: Annotated[int, Field(ge=8, le=16)] | None = None
    """Bits in use of 16-bit pictures; None: the smallest of 10, 12, 14, 16 that holds the first frames."""
    max_pixels: Annotated[int, Field(gt=0)] = 200_000_000
    """Pictures with more pixels are refused (reason in the ledger) instead of filling the memory."""

    @model_validator(mode="after")
    def _pair(self) -> InputConfig:
        if (self.marked_um is None) != (self.marked_px is None):
            raise ValueError("marked_um and marked_px go together: the length and its extent in px")
        if self.marked_um is not None and self.pixel_size_um is not None:
            raise ValueError("give pixel_size_um or a marked distance, not both")
        return self


Background = Literal["none", "flat_field", "rolling_ball", "frames_mean", "frames_median", "mog", "mog2", "knn", "gmg"]


class SignalMap(Table):
    """Which columns of a table hold what: `crystalscope events TABLE --map FILE.toml`.

    The first line that names all columns is the header; what stands before it is passed over. Units in brackets in the
    names of columns, such as ``Temperature [°F]``, count where the setting is left out.
    """

    time: str = "time_s"
    """Column of the times."""
    time_unit: Literal["s", "min", "h", "elapsed", "datetime"] | None = None
    """elapsed: H:MM:SS; datetime: dates."""
    temperature: str = "temperature_c"
    """Column of the measured temperature."""
    temperature_unit: Literal["C", "F", "K"] | None = None
    setpoint: str | None = None
    """Column of the demanded temperature, in the unit of the measured one."""
    signals: dict[str, str] = Field(default_factory=lambda: {"1": "transmissivity"})
    """Column of the transmissivity of every reactor, by its name."""
    signal_unit: Literal["%", "share"] = "%"
    """share: 1 is full transmission."""
    contents: dict[str, str] = Field(default_factory=dict)
    """What is in a reactor, by its name, in words: `5.1 mg/ml paracetamol in ethanol`."""


class PrepareConfig(Table):
    """Background, illumination, static objects."""

    background: Background = "flat_field"
    rolling_ball_radius_px: Positive = 60.0
    background_frames: Annotated[int, Field(ge=2)] = 25
    """Frames, spread over the run, from which a background of frames is made; also the history of MOG … GMG."""
    smooth_sigma_px: NonNegative = 1.0
    """Gaussian before the threshold."""
    field: Literal["auto", "picture", "disc"] = "auto"
    """Field of view: the whole picture, an illuminated disc on black, or found out."""
    static: Literal["auto", "off"] = "auto"
    """Find what stays in place over the run (dust, window deposits) and keep it out of the counts."""
    static_min_frames: Annotated[int, Field(ge=3)] = 10
    """Fewer frames than this say nothing of what is static."""
    static_share: Share = 0.7
    """Share of the frames in which a pixel must be covered to count as static."""


class ThresholdConfig(Table):
    """Classical segmentation."""

    polarity: Literal["auto", "dark", "light", "two_sided"] = "auto"
    rule: Literal["tree", "hysteresis", "otsu", "local"] = "tree"
    """tree: each particle at the level that gives it the sharpest outline; the others: one rule for all."""
    level: Positive | None = None
    """Lowest contrast, relative to the background, of a particle; None: 0.04, or above the noise."""
    min_contrast: Share = 0.15
    """Particles whose outline has less contrast than this are not counted as in focus."""
    local_radius_px: Positive = 51.0
    half_contrast: bool = True
    """Move every outline to half of the contrast of its own edge, so that size does not depend on the threshold."""


class PostConfig(Table):
    """Post-processing in the published order; each step has its own setting (None or 0: off)."""

    min_area_px: NonNegative = 50.0
    """The published value is 20; below 50 px (8 px across) sizes are off by more than a few per cent."""
    closing_radius_px: NonNegative = 2.0
    fill_holes: bool = True
    border: Literal["keep", "drop"] = "keep"
    watershed: bool = True
    watershed_depth: Share = 0.15
    """Two parts are split where the neck is narrower than (1 - depth) times the smaller inscribed diameter."""
    complete_overlaps: bool = True
    """Give split parts with an elliptic outline back what they share, so that overlapping beads keep their size."""
    form_factor_min: Share | None = None
    form_factor_max: Positive | None = None
    """The published gate is 0.85 to 0.95 on 4 pi A / P²; a perfect square (0.785) fails it. Off by default."""
    form_factor_by: Literal["crofton", "boundary"] = "crofton"
    """Perimeter of the gate: Crofton's, or the published one, along the centres of the boundary pixels, which makes
    small objects rounder than a circle."""


class FocusConfig(Table):
    """The gate that keeps out-of-focus particles out of the counts."""

    gate: bool = True
    max_edge_px: Positive = 3.5
    max_edge_share: NonNegative = 0.2
    """A particle is in focus while its edge is at most max_edge_px + max_edge_share * ECD px wide: what blurs
    a small particle beyond measuring leaves a large one measurable."""
    max_edge_limit_px: Positive = 17.7
    """Edges wider than this are out of focus at any size (the measure ends little beyond)."""


class CrystalsConfig(Table):
    """The network `crystals`."""

    weights: str = "crystals"
    """Shipped weights by name, or the path of an .onnx file with its card beside it."""
    precision: Literal["fp32", "openvino-fp32", "openvino-bf16"] = "fp32"
    """By onnxruntime in 32 bit, or by OpenVINO (extra `openvino`) in 32 or 16 bit: part of the result."""
    diameter_px: Positive | None = None
    """Typical diameter of the particles; None: estimated from pictures of the run."""
    least_score: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Particles below this confidence are left out; None: what the card of the weights says, else 0.475."""


class SemanticConfig(Table):
    """The published three-class network `semantic`, and its post-processing as published."""

    weights: str = "semantic"
    """Shipped weights by name, or the path of an .onnx file with its card beside it."""
    save_masks: bool = False
    """Write the class picture of each frame to RUN/semantic (0 black background, 1 light background, 2 crystal)."""
    post: PostConfig = PostConfig(
        min_area_px=20.0,
        border="drop",
        complete_overlaps=False,
        form_factor_min=0.85,
        form_factor_max=0.95,
        form_factor_by="boundary",
    )


class GivenConfig(Table):
    """Particles that another program found, for the segmenter `given`."""

    path: str = ""
    """A COCO file, or a folder of label pictures (NAME.tif, NAME_mask.png, NAME_cp_masks.tif …), one per picture."""


class LabelConfig(Table):
    """The ten labels of a picture and the outcome of an experiment."""

    labeller: str = "network"
    """network (looks at the picture), rules (from the particles found), one that a package brings; none: no labels."""
    weights: str = "label"
    """Shipped weights by name, or the path of an .onnx file with its card beside it."""
    thresholds: dict[str, Share] = Field(default_factory=dict)
    """By label, over those of the card: `thresholds = { ufo = 0.7 }`."""
    hysteresis: Share = 0.1
    """A label holds on until its confidence is below the threshold by more than this."""
    min_run: Annotated[int, Field(ge=1)] = 3
    """Frames that a label must hold for to count in the outcome of an experiment."""


class SizeConfig(Table):
    """From particles to distributions."""

    definition: Literal["ecd", "feret_max", "feret_min", "length", "width"] = "ecd"
    kinds: Annotated[
        tuple[Literal["crystal", "agglomerate", "bubble", "droplet", "other"], ...], Field(min_length=1)
    ] = (
        "crystal",
        "agglomerate",
    )
    """Kinds of particles that are sized; the others stand in the particle table alone."""
    volume_model: Literal["ecd^3", "length*width^2"] = "ecd^3"
    border: Literal["miles-lantuejoul", "drop", "censored"] = "miles-lantuejoul"
    focus_correction: bool = False
    """Weight by the depth in which a particle of its size is in focus (see size.depth)."""
    class_width: Positive = 10.0
    """Width of the classes of q in the unit of the results."""
    level: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    replicates: Annotated[int, Field(ge=100)] = 500
    seed: int = 0
    precision: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """Relative precision for the number of particles that ISO 13322-1 asks for."""

    @property
    def rows(self) -> str:
        """SQL condition of the rows of the particle table that are sized."""
        kinds = ", ".join(f"'{k}'" for k in self.kinds)
        return f"in_focus AND kind IN ({kinds})"


class ReportConfig(Table):
    """What the report shows."""

    overlays: Annotated[int, Field(ge=0, le=48)] = 6
    montage: Annotated[int, Field(ge=0, le=400)] = 48


class AnalyzeConfig(Table):
    """Everything that `crystalscope analyze` can be told; written as resolved to RUN/run.toml."""

    segmenter: str = "crystals"
    input: InputConfig = InputConfig()
    prepare: PrepareConfig = PrepareConfig()
    threshold: ThresholdConfig = ThresholdConfig()
    crystals: CrystalsConfig = CrystalsConfig()
    semantic: SemanticConfig = SemanticConfig()
    given: GivenConfig = GivenConfig()
    post: PostConfig = PostConfig()
    focus: FocusConfig = FocusConfig()
    label: LabelConfig = LabelConfig()
    size: SizeConfig = SizeConfig()
    report: ReportConfig = ReportConfig()


def load_config(path: str | Path | None = None, **overrides: Any) -> AnalyzeConfig:
    """Configuration from a TOML file and overrides by table, e.g. ``input={"pixel_size_um": 2.0}``.

    Raises
    ------
    ConfigError
        Where the file is missing or no TOML, a key is unknown, or a value is outside its range.
    """
    data = {} if path is None else _toml(path, "--config")
    for table, values in overrides.items():
        if isinstance(values, dict):
            data[table] = {**data.get(table, {}), **values}
        else:
            data[table] = values
    return _checked(AnalyzeConfig, data)


def load_signal_map(path: str | Path) -> SignalMap:
    """Map of the columns of a table of signals from a TOML file; raises ConfigError as `load_config` does."""
    return _checked(SignalMap, _toml(path, "--map"))


def _toml(path: str | Path, option: str) -> dict[str, Any]:
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as e:
        raise ConfigError(f"expected a TOML file, got {path}: {e.strerror}; check {option}") from e
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise ConfigError(f"expected TOML in {path}: {e}") from e


def _checked(model: type[_Model], data: dict[str, Any]) -> _Model:
    try:
        return model.model_validate(data)
    except ValidationError as e:
        faults = "; ".join(
            f"{'.'.join(str(p) for p in f['loc']) or 'configuration'}: {f['msg']} (got {f['input']!r})"
            for f in e.errors()
        )
        raise ConfigError(f"expected a valid configuration; {faults}; see docs/reference/configuration.md") from e
