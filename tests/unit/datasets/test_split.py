"""Splits: groups stay together, shares and strata are met, leaks are refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.datasets.drawn import add_picture, edit_rows, write_clean

from crystalscope.datasets import Dataset, open_dataset
from crystalscope.datasets.duplicates import Copy
from crystalscope.datasets.split import check_split, split_dataset
from crystalscope.errors import InputError
from crystalscope.io.manifest import Manifest


def dataset(**columns) -> Dataset:
    """A table of pictures that do not exist."""
    n = len(next(iter(columns.values())))
    files = columns.pop("file", [f"images/f{i:03d}.png" for i in range(n)])
    return Dataset(Path("nowhere"), Manifest(name="x"), pd.DataFrame({"file": files, **columns}))


def divided(data: Dataset, **settings):
    return split_dataset(data, copies=[], **settings)


EXPERIMENTS = st.lists(st.integers(0, 25), min_size=30, max_size=200).filter(lambda v: len(set(v)) >= 5)


@given(experiment=EXPERIMENTS, seed=st.integers(0, 5), by=st.sampled_from(["experiment", "batch", "frame"]))
def test_what_belongs_together_stays_together(experiment, seed, by):
    n = len(experiment)
    data = dataset(experiment=experiment, batch=[i % 3 for i in range(n)], frame=[i // 4 for i in range(n)])
    table = divided(data, by=by, seed=seed).table
    assert table["file"].tolist() == data.frames["file"].tolist()
    assert set(table["split"]) == {"train", "validation", "test"}
    levels = {"experiment": ["experiment"], "batch": ["experiment", "batch"], "frame": ["experiment", "batch", "frame"]}
    merged = data.frames.assign(split=table["split"])
    assert (merged.groupby(levels[by])["split"].nunique() == 1).all()


@given(experiment=EXPERIMENTS, seed=st.integers(0, 5), order=st.randoms(use_true_random=False))
def test_the_order_of_the_pictures_does_not_matter(experiment, seed, order):
    data = dataset(experiment=experiment)
    first = divided(data, seed=seed).table.set_index("file")["split"]
    rows = list(range(len(experiment)))
    order.shuffle(rows)
    shuffled = Dataset(data.root, data.manifest, data.frames.iloc[rows].reset_index(drop=True))
    second = divided(shuffled, seed=seed).table.set_index("file")["split"]
    assert second.loc[first.index].tolist() == first.tolist()


def test_another_seed_gives_another_split_and_the_same_the_same():
    data = dataset(experiment=[i // 5 for i in range(200)])
    one, two, other = (divided(data, seed=s).table for s in (1, 1, 2))
    assert one.equals(two)
    assert not one.equals(other)


@pytest.mark.parametrize("shares", [(0.7, 0.15, 0.15), (0.8, 0.2), (0.5, 0.25, 0.25)])
def test_shares_are_met_as_nearly_as_groups_allow(shares, rng):
    experiment = np.repeat(np.arange(60), rng.integers(1, 12, 60))
    split = divided(dataset(experiment=experiment), shares=shares)
    assert split.counts["share"].to_numpy() == pytest.approx(shares, abs=0.01)
    assert split.counts.index.tolist() == (["train", "validation", "test"] if len(shares) == 3 else ["train", "test"])
    assert split.counts["groups"].sum() == 60


def test_strata_have_their_shares_too(rng):
    experiment = np.repeat(np.arange(40), 10)
    kind = np.where(experiment % 8 == 0, "rare", "common")
    split = divided(dataset(experiment=experiment, kind=kind), stratify="kind")
    counts = split.counts
    assert counts["kind rare"].tolist() == [30, 10, 10]
    assert counts["kind common"].to_numpy() == pytest.approx(350 * np.array([0.7, 0.15, 0.15]), abs=10)
    assert "kind rare" in str(split)


def test_every_split_gets_every_stratum_where_groups_allow():
    kind = ["a"] * 40 + ["b"] * 3
    data = dataset(experiment=[i // 4 for i in range(40)] + [100, 101, 102], kind=kind)
    assert (divided(data, stratify="kind").counts["kind b"] == 1).all()


def test_three_groups_of_one_size_give_one_each():
    split = divided(dataset(experiment=[1, 1, 2, 2, 3, 3]))
    assert sorted(split.groups["split"]) == ["test", "train", "validation"]


def test_groups_that_share_copies_are_joined_and_told():
    data = dataset(experiment=[f"E{i // 4}" for i in range(40)])
    copies = [Copy(0, 39, 1, True), Copy(39, 20, 0, False)]
    split = split_dataset(data, copies=copies)
    table = split.table.set_index("file")["split"]
    together = {table[f"images/f{i:03d}.png"] for i in (0, 1, 2, 3, 20, 21, 22, 23, 36, 37, 38, 39)}
    assert len(together) == 1
    assert split.counts["groups"].sum() == 8
    assert split.merged == (
        "experiment E9 joined to E0: images/f000.png and images/f039.png are copies of one another",
        "experiment E5 joined to E0: images/f039.png and images/f020.png are copies of one another",
    )


def test_a_pattern_that_tears_a_frame_apart_is_told():
    data = dataset(file=[f"p{i}_{'ab'[i % 2]}.png" for i in range(20)], frame=[i // 2 for i in range(20)])
    with pytest.raises(InputError, match="expected at least 2 groups by batch"):
        divided(data, by="batch", pattern=r"_([ab])\.png", shares=(0.5, 0.5))


def test_copies_are_looked_for_where_none_are_given(tmp_path):
    folder = write_clean(tmp_path / "set")
    raw = cv2.imencode(".png", cv2.imread(str(folder / "images" / "p0.png"), 0)[::-1])[1].tobytes()
    add_picture(folder, "q.png", raw, (180, 240), experiment="E2", split="test")
    told = []
    split = split_dataset(open_dataset(folder), shares=(0.5, 0.5), progress=lambda *what: told.append(what[0]))
    assert split.merged == ("experiment E2 joined to E0: images/p0.png and images/q.png are copies of one another",)
    assert "reading pictures" in told
    with pytest.raises(InputError, match=r"got images/p0\.png in train and images/q\.png in test; remove one"):
        check_split(open_dataset(folder))


def test_names_tell_the_group_when_asked():
    names = [f"run{i // 6}_t{i % 6}_c{c}.png" for i in range(60) for c in range(2)]
    data = dataset(file=names)
    for pattern in (r"run(\d+)_", r"run(?P<experiment>\d+)_t(\d+)"):
        table = divided(data, pattern=pattern).table
        runs = table["file"].str.extract(r"run(\d+)")[0]
        assert (table["split"].groupby(runs).nunique() == 1).all()


@pytest.mark.parametrize(
    ("columns", "settings", "message"),
    [
        ({"kind": [1] * 9}, {}, "expected a column experiment .* got file, kind; add it"),
        ({"kind": [1] * 9}, {"by": "frame"}, "expected a column frame .* or give a pattern"),
        ({"experiment": [1, None, 3]}, {}, r"expected the experiment of every picture, got none of images/f001\.png"),
        (
            {"experiment": [1, 1, 2, 2]},
            {},
            "expected at least 3 groups by experiment for train, validation, test, got 2",
        ),
        ({"experiment": [1, 2, 3]}, {"shares": (0.5, 0.4)}, "sum of 1, got 0.5, 0.4"),
        ({"experiment": [1, 2, 3]}, {"shares": (1.0,)}, "expected two or three shares"),
        ({"experiment": [1, 2, 3]}, {"shares": (1.2, -0.2)}, "above 0"),
        ({"experiment": [1, 2, 3]}, {"stratify": "class"}, "expected a column class"),
        ({"experiment": [1, 2, 3], "class": ["a", None, "a"]}, {"stratify": "class"}, "got gaps"),
        (
            {"experiment": [1, 2, 3, 4], "class": ["a", "a", "a", "b"]},
            {"stratify": "class"},
            "expected every class in at least 3 groups by experiment, got b in 1",
        ),
        ({"experiment": [1, 2, 3]}, {"pattern": "("}, "expected a regular expression"),
        ({"experiment": [1, 2, 3]}, {"pattern": "f"}, "expected one group"),
        ({"experiment": [1, 2, 3]}, {"pattern": r"(f)(\d+)"}, "expected one group"),
        ({"experiment": [1, 2, 3]}, {"pattern": r"f(\d)x"}, r"to fit every file, got images/f000\.png"),
    ],
)
def test_what_cannot_be_split_is_refused(columns, settings, message):
    with pytest.raises(InputError, match=message):
        divided(dataset(**columns), **settings)


def test_written_and_read_again_it_is_accepted(tmp_path):
    data = dataset(experiment=[i // 5 for i in range(60)], frame=list(range(60)))
    split = divided(data)
    path = split.write(tmp_path)
    assert path.name == "splits.csv"
    again = check_split(data, pd.read_csv(path), by="experiment", copies=[])
    assert again.equals(split.table)


def test_names_relative_to_the_pictures_are_understood():
    data = dataset(frame=list(range(4)))
    given_ = pd.DataFrame({"file": [f"f{i:03d}.png" for i in range(4)], "split": ["train", "train", "test", "test"]})
    assert check_split(data, given_, copies=[])["file"].tolist() == data.frames["file"].tolist()


SPLIT = ["train", "train", "test", "test"]


@pytest.mark.parametrize(
    ("columns", "settings", "message"),
    [
        (
            {"frame": [1, 2, 2, 3], "split": SPLIT},
            {},
            r"expected frame 2 in one split, got images/f001\.png in train and images/f002\.png in test; split by",
        ),
        ({"experiment": [1, 2, 2, 3], "split": SPLIT}, {"by": "experiment"}, "expected experiment 2 in one split"),
        (
            {"frame": [1, 2, 3, 4], "split": SPLIT},
            {"copies": [Copy(0, 3, 2, False)]},
            r"expected copies .* got images/f000\.png in train and images/f003\.png in test",
        ),
        (
            {"split": ["train", None, "test", ""]},
            {},
            r"expected a split of every picture, got none of images/f001\.png and 1",
        ),
        ({"frame": [1, 2, 3, 4]}, {}, "expected columns file and split in the table of pictures"),
    ],
)
def test_a_split_that_leaks_or_has_gaps_is_refused(columns, settings, message):
    with pytest.raises(InputError, match=message):
        check_split(dataset(**columns), **{"copies": [], **settings})


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["f000.png", "f001.png", "f002.png", "other.png"], r"got images/other\.png; is it of another dataset"),
        (["f000.png", "f001.png", "f002.png", "f002.png"], r"got images/f002\.png twice"),
        (["f000.png", "f001.png", "f002.png"], r"got none of images/f003\.png"),
    ],
)
def test_a_split_of_other_pictures_is_refused(files, message):
    given_ = pd.DataFrame({"file": files, "split": "train"})
    with pytest.raises(InputError, match=message):
        check_split(dataset(frame=[1, 2, 3, 4]), given_, copies=[])


def test_a_sound_split_of_a_table_is_accepted():
    data = dataset(frame=[1, 1, 2, 3], split=SPLIT)
    assert check_split(data, copies=[Copy(0, 1, 1, True)])["split"].tolist() == SPLIT


def test_copies_of_the_impurity_crops_stay_together(data):
    folder = data / "impurity-crops"
    files = sorted(p.name for p in folder.glob("*.png"))
    if not files:
        pytest.skip(f"needs {folder}")
    frames = pd.DataFrame({"file": files, "frame": range(len(files)), "class": [f[:2] for f in files]})
    split = split_dataset(Dataset(folder, Manifest(name="crops", pictures="."), frames), by="frame", stratify="class")
    table = split.table.set_index("file")["split"]
    for family in (range(5308, 5313), range(565, 568), range(589, 595)):
        assert len({table[f"PG{i}.png"] for i in family}) == 1
    assert len(split.merged) == 11
    assert (split.counts["class PG"] > 0).all()


def test_frames_in_experiments_of_the_same_number_are_not_one_frame(tmp_path):
    folder = write_clean(tmp_path / "set")
    again = Path(shutil.copytree(folder, tmp_path / "again"))
    edit_rows(again, lambda rows: [{**r, "frame": str(i % 3)} for i, r in enumerate(rows)])
    assert check_split(open_dataset(again), copies=[])["split"].tolist() == ["train"] * 6 + ["test"] * 3
