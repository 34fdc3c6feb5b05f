"""The OpenCrystalData sets by name: what was published of them, and what a card needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from crystalscope.errors import InputError
from crystalscope.io.manifest import Manifest

PAPER_DOI = "10.1016/j.dche.2024.100150"
"""The paper that describes the four sets; what stands below is from it unless it says otherwise."""

CREATORS = (
    "Yash Barhate",
    "Christopher Boyle",
    "Hossein Salami",
    "Wei-Lee Wu",
    "Nina Taherimakhsousi",
    "Charlie Rabinowitz",
    "Andreas Bommarius",
    "Javier Cardona",
    "Zoltan K. Nagy",
    "Ronald Rousseau",
    "Martha Grover",
)

IGNORE_UNANNOTATED = "ignore_unannotated"
"""First word of `Manifest.annotation_rules` where a particle without annotation is neither right nor wrong."""

_CITATION = (
    "Barhate, Y., Boyle, C., Salami, H., Wu, W.-L., Taherimakhsousi, N., Rabinowitz, C., Bommarius, A., Cardona, J., "
    "Nagy, Z. K., Rousseau, R., Grover, M. (2024). OpenCrystalData: An open-access particle image database to "
    "facilitate learning, experimentation, and development of image analysis models for crystallization processes. "
    "Digital Chemical Engineering 11, 100150. https://doi.org/" + PAPER_DOI
)

_NO_SCALE = "the paper states no um per px: give the scale of the probe, or everything stays in px"
_NO_VERSION = "the paper states no version number; the newest is taken unless one is given"


@dataclass(frozen=True)
class Entry:
    """What is known of a public set before it is downloaded.

    Parameters
    ----------
    name
        Short name, for the command line.
    title, description
        Of the set.
    doi
        Of the set, as printed in Table 1 of the paper.
    handle
        OWNER/NAME on Kaggle.
    version
        Version on Kaggle; None: the newest.
    counts
        Published number of pictures by part; the part is a value of column ``part`` of the pictures, or ``pictures``.
    size_gb
        Of the download, as users report it.
    instruments
        That took the pictures.
    loading
        Solids loading, as published.
    classes
        Of the pictures, where they have any.
    annotated_by, annotation_rules, limits
        For the card.
    layout
        What a reader looks for in the folder; printed where nothing fits.
    reported
        What users of the download report that the paper does not say; not seen by this project.
    """

    name: str
    title: str
    description: str
    doi: str
    handle: str
    counts: Mapping[str, int]
    size_gb: float
    instruments: tuple[str, ...]
    loading: str
    layout: tuple[str, ...]
    limits: tuple[str, ...]
    version: int | None = None
    classes: tuple[str, ...] = ()
    annotated_by: str = ""
    annotation_rules: str = ""
    reported: tuple[str, ...] = field(default=())

    @property
    def url(self) -> str:
        """Page of the set."""
        return f"https://www.kaggle.com/datasets/{self.handle}"

    @property
    def licence(self) -> str:
        """Where the licence stands; it is the page that binds, not this text."""
        return f"see the page of the set, {self.url} (users report CC BY-SA 4.0; not verified here)"

    def manifest(self, *, pixel_size_um: float | None = None, annotations: str = "") -> Manifest:
        """The manifest of a copy of the set.

        Parameters
        ----------
        pixel_size_um
            Scale of all pictures, where it is known and one.
        annotations
            Path of the COCO file, relative to the folder.
        """
        return Manifest(
            name=self.name,
            title=self.title,
            description=self.description,
            version="" if self.version is None else str(self.version),
            licence=self.licence,
            doi=self.doi,
            url=self.url,
            citation=f"{_CITATION}; the set: https://doi.org/{self.doi}",
            creators=CREATORS,
            instrument=", ".join(self.instruments),
            pixel_size_um=pixel_size_um,
            solids_loading=self.loading,
            annotated_by=self.annotated_by,
            annotation_rules=self.annotation_rules,
            limits=self.limits,
            classes=self.classes,
            pictures=".",
            annotations=annotations,
        )


_CEPHALEXIN = Entry(
    name="cephalexin-impurity",
    title="OpenCrystalData: impurity in cephalexin reactive crystallization",
    description=(
        "In-situ pictures of a cephalexin monohydrate slurry, first pure, then with phenylglycine crystals added in "
        "small amounts. Raw pictures of the probe, and crops of single crystals of either kind. Task: classification "
        "or detection of anomalies."
    ),
    doi="10.34740/kaggle/dsv/6581298",
    handle="opencrystaldata/cephalexin-reactive-crystallization",
    counts=MappingProxyType({"raw": 400, "cropped": 6000}),
    size_gb=1.5,
    instruments=("EasyViewer-100",),
    loading="not stated",
    classes=("cephalexin", "phenylglycine"),
    annotated_by=(
        "pictures with phenylglycine chosen by hand; a box drawn around each impurity crystal, of which the crop is "
        "the inside; the class is the folder"
    ),
    annotation_rules="one class for a picture, by its folder; no outlines",
    layout=(
        "a folder of raw and one of cropped pictures",
        "in each a folder of cephalexin (or cex) and one of phenylglycine (or pg)",
    ),
    limits=(
        "one experiment: pure slurry and slurry with phenylglycine are states of the same batch, so a classifier may "
        "learn the state of the slurry or of the light instead of the crystal",
        "copies of one crystal, turned or mirrored, stand under several names; split by crystal, not by file",
        _NO_SCALE,
        _NO_VERSION,
    ),
    reported=(
        "The Georgia Project (a public classifier, 2025) counts 6,860 cephalexin and 6,804 phenylglycine crops under "
        "cropped/cropped/cex and cropped/cropped/pg, named CEX (1).png and PG (1).png: more than the paper's 6,000",
    ),
)

_AGCRYSTAL = Entry(
    name="agcrystal",
    title="OpenCrystalData: AgCrystal images",
    description=(
        "In-situ pictures of needles of an agrochemical. Three batches of different size, weighed into mother liquor, "
        "from the lowest solids concentration upwards. Task: sizes from pictures that agree with the offline "
        "distribution."
    ),
    doi="10.34740/kaggle/dsv/6743111",
    handle="opencrystaldata/agcrystal-images",
    counts=MappingProxyType({"pictures": 3888}),
    size_gb=5.3,
    instruments=("EasyViewer-100",),
    loading="several, named by the folders",
    annotated_by="no particle is annotated; the truth is the offline size distribution of each batch (Morphologi G3)",
    layout=(
        "a folder of calibration and one of validation pictures",
        "in each, folders named by particle size and solids concentration, such as `Large 2.5%` or `100um_5wt%`",
        "a spreadsheet (xlsx or csv) with the offline size distributions of the batches",
    ),
    limits=(
        "the truth is of the batch, not of the picture: dry particles on a slide in their most stable position, while "
        "the probe sees them turned and cut by the frame",
        "crowded pictures hide small particles; compare with the lowest loading first",
        _NO_SCALE,
        _NO_VERSION,
    ),
)

_POLYSTYRENE = Entry(
    name="polystyrene",
    title="OpenCrystalData: standard polystyrene microspheres",
    description=(
        "In-situ pictures of polystyrene spheres with a size distribution traceable to NIST, in water, with an outline "
        "of every particle in focus. Task: detection and segmentation, and sizes against the maker's distribution."
    ),
    doi="10.34740/kaggle/dsv/6376944",
    handle="opencrystaldata/standard-polystyrene-microspheres-polys",
    counts=MappingProxyType({"pictures": 2300}),
    size_gb=1.7,
    instruments=("PVM v819",),
    loading="1, 2, 2.5, 3.3 and 5 wt% of each of 150, 300, 400 and 500 um; up to 12.5 wt% of 400 um",
    annotated_by="a pre-trained model first, then checked and mended by hand in CVAT: a polygon around each particle",
    annotation_rules=(
        f"{IGNORE_UNANNOTATED}: particles out of focus are not annotated, so what lies outside every outline is "
        "neither right nor wrong; particles cut by the frame are annotated (keep them for segmentation, drop them for "
        "sizes); where the edge is not sharp, the outline is a best guess"
    ),
    layout=(
        "folders or files named by size and solids concentration, such as `400um_2.5wt%`",
        "one or several COCO files (.json)",
        "a table of the maker's size distribution",
    ),
    limits=(
        "a random part of the pictures taken; the order in time is lost",
        "spheres only: what works here need not work on crystals",
        "outlines began as those of a model; its habits may have stayed",
        _NO_SCALE,
        _NO_VERSION,
    ),
)

_VANSIL = Entry(
    name="vansil-glutamic",
    title="OpenCrystalData: VANSIL wollastonite and L-glutamic acid",
    description=(
        "In-situ pictures of wollastonite needles in water and of rods of L-glutamic acid in acetone by two probes, "
        "with the chord length distribution of a third and size tables. Task: compare probes; chords against sizes."
    ),
    doi="10.34740/kaggle/dsv/7414048",
    handle="opencrystaldata/easyviewer-based-image-characterization",
    counts=MappingProxyType({"pictures": 120}),
    size_gb=0.45,
    instruments=("EasyViewer-100", "EasyViewer-400"),
    loading="wollastonite at several wt% in water, glutamic acid at 5 wt% in acetone",
    annotated_by="no particle is annotated; the truth are the size and chord length tables of each suspension",
    layout=(
        "folders or files that name the probe (EasyViewer-100, EV400 …) or the material (wollastonite, VANSIL, "
        "glutamic acid, LGA)",
        "tables of chord lengths (ParticleTrack G400, FBRM, CLD) and of sizes",
    ),
    limits=(
        "the two probes have different scales: give one for each",
        "a chord is not a size: compare chords with chords (see `crystalscope chords`)",
        _NO_SCALE,
        _NO_VERSION,
    ),
)

CATALOGUE: Mapping[str, Entry] = MappingProxyType(
    {entry.name: entry for entry in (_CEPHALEXIN, _AGCRYSTAL, _POLYSTYRENE, _VANSIL)}
)
"""The sets by name."""


def entry_named(name: str) -> Entry:
    """The entry of a set.

    Raises
    ------
    InputError
        When there is no set of that name.
    """
    if name not in CATALOGUE:
        raise InputError(
            f"expected one of {', '.join(CATALOGUE)}, got {name!r}; a folder of one's own needs no name: make it a "
            "dataset with `crystalscope dataset init`"
        )
    return CATALOGUE[name]


def ignores_unannotated(manifest: Manifest) -> bool:
    """Whether a particle without annotation is neither right nor wrong (out of focus, by the rules of the set).

    With such truth a finding that meets no annotated particle must not count as a false one: what can be measured is
    how many annotated particles are found, and how well, not how many findings are too many.
    """
    return manifest.annotation_rules.startswith(IGNORE_UNANNOTATED)
