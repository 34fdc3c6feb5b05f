"""Time to read and search a Crystal16 export of a day with 4 reactors: python -m bench.events.speed"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from bench.events.exports import report
from crystalscope.events import detect_events, flag_freezing
from crystalscope.io.crystal16 import read_crystal16


def main() -> None:
    """Print the times."""
    text = report(rate=0.5, cycles=5, noise=2.0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "day.csv"
        path.write_text(text, encoding="utf-8")
        for _ in range(3):
            start = time.perf_counter()
            timeline = read_crystal16(path)
            read = time.perf_counter() - start
            events = flag_freezing(detect_events(timeline), timeline)
            print(
                f"{timeline.time_s[-1] / 3600:.1f} h, {len(timeline)} rows, {len(timeline.signals)} reactors: "
                f"read {read:.2f} s, all {time.perf_counter() - start:.2f} s, {len(events)} events"
            )


if __name__ == "__main__":
    main()
