"""Writes examples/doe.csv: 31 runs of a plant with a mechanism that the twin's own plant lacks, with the published
gaps.

python -m bench.design.example
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bench.design.campaigns import GAPS, simulated_table
from bench.design.plants import draw_plant
from crystalscope.design.system import load_system
from crystalscope.io.tables import write_csv

EXAMPLES = Path(__file__).parents[2] / "examples"


def main() -> None:
    """Write the table."""
    rng = np.random.default_rng(31)
    table = simulated_table(draw_plant("impure", rng=rng), load_system(EXAMPLES / "system.toml"), rng=rng, gaps=GAPS)
    frame = table.to_frame().round(4)
    frame.insert(0, "run", [f"A{i + 1:02d}" for i in range(len(frame))])
    write_csv(EXAMPLES / "doe.csv", frame)


if __name__ == "__main__":
    main()
