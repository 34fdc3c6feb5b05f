"""The SEM pictures of touching spheres (MIT) as a dataset, for training: python -m bench.crystals.spheres --out DIR."""

from __future__ import annotations

import argparse
import json
import os
import shutil
from pathlib import Path

from crystalscope.datasets import import_annotations, init_dataset

_OUTLINES = "via_powder_particle_masks_training.json"


def write_spheres(source: Path, out: Path) -> Path:
    """Copy the pictures and bring their VIA polygons in as COCO."""
    via = json.loads((source / _OUTLINES).read_text(encoding="utf-8"))["_via_img_metadata"]
    images: list[dict[str, object]] = []
    annotations: list[dict[str, object]] = []
    (out / "images").mkdir(parents=True, exist_ok=True)
    for entry in via.values():
        shutil.copy(source / entry["filename"], out / "images" / entry["filename"])
        images.append({"id": len(images) + 1, "file_name": entry["filename"], "width": 1536, "height": 1024})
        for region in entry["regions"]:
            shape = region["shape_attributes"]
            points = [v + 0.5 for xy in zip(shape["all_points_x"], shape["all_points_y"], strict=True) for v in xy]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": len(images),
                    "category_id": 1,
                    "segmentation": [points],
                    "iscrowd": 0,
                }
            )
    coco = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "crystal"}]}
    file = out / "via.json"
    file.write_text(json.dumps(coco), encoding="utf-8")
    init_dataset(out, name="sem-spheres", pictures="images", licence="MIT", instrument="SEM")
    import_annotations(out, file)
    file.unlink()
    return out


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    data = Path(os.environ.get("CRYSTALSCOPE_DATA", "../shared/data"))
    print(write_spheres(data / "sem-spheres", args.out))


if __name__ == "__main__":
    main()
