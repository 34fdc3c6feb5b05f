"""From a rendered set to the shipped weights of the network `semantic`.

crystalscope scenes render varied-sieve --out SET -n 320 --seed 3001
crystalscope train semantic SET --out RUN
python -m bench.otherlight flow-cell --out TEST --n 40 --seed 311
python -m bench.semantic.ship RUN --test TEST

The last one measures RUN/semantic.onnx on pictures of the test renderer and writes it with its card into the package.
"""

from __future__ import annotations

import argparse
import json
import shutil
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from crystalscope.datasets import open_dataset
from crystalscope.datasets.rendered import SEMANTIC
from crystalscope.io.masks import read_mask
from crystalscope.io.pictures import to_grey
from crystalscope.io.tables import write_json
from crystalscope.prepare.field import find_field
from crystalscope.score import confusion, semantic_scores
from crystalscope.segment.semantic import class_shares, classes_of, load_classifier

LIMITS = (
    "Trained on pictures of a lit disc, and crops of it: without a black surround it works as far as the crops do.",
    "Overlapping crystals are one region; the published watershed makes both smaller.",
    "Faint, thin crystals are partly light background; bubbles are light background at best.",
)


def measured(weights: Path, test: Path) -> dict[str, Any]:
    """Pixel accuracy and IoU by class on all pictures of a set with class pictures."""
    data = open_dataset(test)
    run = load_classifier(str(weights))
    matrix = np.zeros((3, 3), dtype=np.int64)
    for i, name in enumerate(data.frames["file"].astype(str)):
        grey = to_grey(np.asarray(data.read(i).data), bits=16)
        truth = read_mask(data.root / SEMANTIC / f"{Path(name).stem}.png")
        matrix += confusion(classes_of(class_shares(run, grey), find_field(grey)), truth, classes=3)
    return {"pictures": len(data)} | semantic_scores(matrix)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--test", type=Path, required=True)
    parser.add_argument("--dry", action="store_true", help="measure only")
    args = parser.parse_args()
    scores = measured(args.run / "semantic.onnx", args.test)
    print(json.dumps(scores))
    if args.dry:
        return
    target = Path(str(resources.files("crystalscope.weights").joinpath("semantic.onnx")))
    shutil.copy(args.run / "semantic.onnx", target)
    card = json.loads((args.run / "semantic.json").read_text(encoding="utf-8"))
    # Where it was trained is of no interest to others.
    card["command"] = "python -m bench.semantic.ship (see there)"
    write_json(target.with_suffix(".json"), card | {"test_renderer": scores, "limits": LIMITS})
    print(target)


if __name__ == "__main__":
    main()
