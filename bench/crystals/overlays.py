"""What the network finds in every real folder: python -m bench.crystals.overlays --out DIR [--docs]

Writes FOLDER-NAME.png for some pictures of each, found in green; where there is truth, wrong in red and missed in blue.
`--docs` writes those of the sets under the MIT licence, made smaller, to docs/images; the others carry no licence to
show them.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import cv2
import numpy as np

from crystalscope.config import AnalyzeConfig
from crystalscope.core import Image
from crystalscope.io.coco import Annotated
from crystalscope.io.masks import instances_of, read_mask, read_via
from crystalscope.io.pictures import read_picture, to_grey, write_png
from crystalscope.learn.evaluate import found_in
from crystalscope.learn.plots import compared
from crystalscope.prepare import prepare
from crystalscope.segment.crystals import CrystalsSegmenter

SHOWN = {
    "insitu-backlit": ("frame_142_1_0.jpg", "frame_157_1_1.jpg", "frame_163_0_1.jpg"),
    "rods-plates": ("plates_1.jpg", "plates_3.bmp", "rods_speckle.tif"),
    "bright-on-dark": (
        "crystals_bright.JPG",
        "crystals_crowded.JPG",
        "crystals_good_separation.JPG",
        "prefreeze_bubbles.png",
    ),
    "impurity-crops": ("*.png",),
    "sem-spheres": ("Sc1Tile_001-001-000_0-000.png", "Sc3Tile_008-007-000_0-000.png"),
    "sugar": ("*",),
}
OPEN = ("bright-on-dark", "sem-spheres")
_MOST = 4


def truth_of(file: Path) -> Annotated | None:
    """True particles of a picture, where there are any."""
    mask = file.with_name(f"{file.stem}_mask.png")
    if mask.exists():
        instances = instances_of(read_mask(mask))
        n = len(instances)
        return Annotated(file.name, instances, np.arange(1, n + 1), np.zeros(n, dtype=bool))
    via = file.parent / "via_powder_particle_masks_training.json"
    if via.exists():
        return next((a for a in read_via(via) if a.file_name == file.name), None)
    return None


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--docs", action="store_true")
    args = parser.parse_args()
    data = Path(os.environ.get("CRYSTALSCOPE_DATA", "../shared/data"))
    config = AnalyzeConfig()
    for folder, patterns in SHOWN.items():
        files = sorted({f for p in patterns for f in (data / folder).glob(p) if f.suffix.lower() in _SUFFIXES})
        for file in files[:_MOST]:
            image = Image(read_picture(file).data, None, source=file.name)
            grey = to_grey(image.data, bits=8 if image.data.dtype == np.uint8 else 16)
            segmenter = CrystalsSegmenter(config).study([prepare(image, grey, config=config.prepare)])
            found = found_in(segmenter, image)
            picture = compared(image, found, truth_of(file))
            scale = min(1.0, 1200 / picture.shape[1])
            small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            write_png(args.out / f"{folder}-{file.stem}.png", small)
            print(f"{folder}/{file.name}: {len(found)} in focus, scale {segmenter.scale:.3g}", flush=True)
            if args.docs and folder in OPEN and file == files[0]:
                half = cv2.resize(small, None, fx=0.7, fy=0.7, interpolation=cv2.INTER_AREA)
                cv2.imwrite(f"docs/images/network-{folder}.jpg", half[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])


_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")


if __name__ == "__main__":
    main()
