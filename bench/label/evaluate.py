"""Labels on sets of the test renderer: python -m bench.label.evaluate SET [SET ...] [--weights FILE] [--misses DIR]
python -m bench.label.evaluate SET --run RUN

A set is a folder of `python -m bench.otherlight labels`. Prints precision, recall and F1 per label, the expected
calibration error, and how often object_present is said of pictures that show nothing. `--run`: the labels of a run of
`crystalscope analyze SET/images --out RUN`.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd

from crystalscope.core import LABELS
from crystalscope.datasets import Dataset, open_dataset
from crystalscope.io.pictures import to_grey, write_png
from crystalscope.label import LabelNetwork, load_labels
from crystalscope.labelling import explained
from crystalscope.learn.label_job import label_rows
from crystalscope.score.labels import calibration_error, label_scores, reliability
from crystalscope.weights import weights_path


def labelled(
    folder: Path, network: LabelNetwork, *, run: Path | None = None, workers: int = 2
) -> tuple[Dataset, list[str], np.ndarray, np.ndarray]:
    """The set, its files, confidences (n, 10) of the network or of a run of `analyze`, and truth (n, 10)."""
    data = open_dataset(folder)
    rows = label_rows(data)
    files = data.frames["file"].astype(str).tolist()

    if run is not None:
        table = pd.read_csv(run / "labels.csv").set_index("file")
        given = table.loc[[Path(f).name for f in files], list(LABELS)].to_numpy(dtype=float)
        return data, files, given, rows.loc[files].to_numpy(dtype=float)

    def one(i: int) -> np.ndarray:
        return network.confidences(to_grey(np.asarray(data.read(i).data), bits=16))

    with ThreadPoolExecutor(workers) as pool:
        given = np.stack(list(pool.map(one, range(len(data)))))
    return data, files, given, rows.loc[files].to_numpy(dtype=float)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", nargs="+", type=Path)
    parser.add_argument("--weights", default="label")
    parser.add_argument("--misses", type=Path, help="write the pictures of a wrong label there, with its map")
    parser.add_argument("--run", type=Path, help="labels of this run of the one set given, instead of the network")
    args = parser.parse_args()
    network = load_labels(str(weights_path(args.weights)))
    found = [labelled(s, network, run=args.run) for s in args.sets]
    given, truth = np.concatenate([f[2] for f in found]), np.concatenate([f[3] for f in found])
    table = label_scores(given, truth, thresholds=network.thresholds, names=LABELS)
    print(table.round(3).to_string(index=False))
    looks = np.concatenate([f[0].frames["look"].astype(str) for f in found])
    for look in np.unique(looks):
        here = looks == look
        part = label_scores(given[here], truth[here], thresholds=network.thresholds, names=LABELS)
        f1 = " ".join(f"{v:.3f}" for v in part["f1"])
        print(f"{look:8} n {here.sum():4}  F1 {f1}")
    print(reliability(given, truth).round(3).to_string(index=False))
    print(f"expected calibration error {calibration_error(given, truth):.4f}")
    empty = truth[:, 0] == 0
    alarms = given[empty, 0] >= network.thresholds[0]
    print(f"object_present on empty pictures: {alarms.sum()} of {empty.sum()} ({100 * alarms.mean():.1f} %)")
    if args.misses:
        rows = []
        for data, files, own, true in found:
            for i, name in enumerate(files):
                for k in np.flatnonzero(np.isfinite(true[i]) & ((own[i] >= network.thresholds) != (true[i] == 1))):
                    grey = to_grey(np.asarray(data.read(i).data), bits=16)
                    path = args.misses / f"{LABELS[k]}_{int(true[i, k])}_{Path(name).stem}_{data.root.name}.png"
                    write_png(path, explained(grey, network.explanation(grey, LABELS[k])))
                    rows.append({"label": LABELS[k], "truth": true[i, k], "confidence": own[i, k], "file": str(path)})
        print(pd.DataFrame(rows).to_string(index=False))


if __name__ == "__main__":
    main()
