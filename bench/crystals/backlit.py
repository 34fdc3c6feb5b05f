"""The real back-lit frames as a dataset outside the project, for fine-tuning that is measured and not shipped.

python -m bench.crystals.backlit --out DIR, then: crystalscope train crystals DIR --out NET

Quarters of frames 140 to 163 are `train`, those of 218 and 227 `test`.
"""

from __future__ import annotations

import argparse
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import tifffile

from crystalscope.datasets import import_annotations, init_dataset
from crystalscope.io.masks import instances_of, mask_files, read_mask
from crystalscope.io.tables import write_csv

REPORTED = ("218", "227")


def write_backlit(source: Path, out: Path) -> Path:
    """Copy the pictures, and bring the connected regions of their masks in as label pictures."""
    (out / "images").mkdir(parents=True, exist_ok=True)
    labels = out / "labels"
    labels.mkdir(exist_ok=True)
    rows = []
    for stem, file in mask_files(source).items():
        shutil.copy(source / f"{stem}.jpg", out / "images" / f"{stem}.jpg")
        tifffile.imwrite(labels / f"{stem}.tif", instances_of(read_mask(file)).labels().astype(np.uint16))
        frame = stem.split("_")[1]
        rows.append({"file": f"{stem}.jpg", "frame": frame, "split": "test" if frame in REPORTED else "train"})
    write_csv(out / "frames.csv", pd.DataFrame(rows))
    init_dataset(out, name="insitu-backlit", pictures="images")
    import_annotations(out, labels, format="labels")
    shutil.rmtree(labels)
    return out


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    data = Path(os.environ.get("CRYSTALSCOPE_DATA", "../shared/data"))
    print(write_backlit(data / "insitu-backlit", args.out))


if __name__ == "__main__":
    main()
