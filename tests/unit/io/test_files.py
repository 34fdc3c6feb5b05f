"""Tables, TOML and COCO, each against another implementation where there is one."""

from __future__ import annotations

import json
import math
import tomllib

import numpy as np
import pandas as pd
import pytest
from faster_coco_eval.core import mask as coco_mask
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from tests.conftest import picture, save

from crystalscope.core import FieldOfView, Instances
from crystalscope.errors import ReadError, WriteError
from crystalscope.io.coco import coco_pieces, decode_rle, encode_rle, rasterize, read_coco
from crystalscope.io.masks import instances_of, read_via
from crystalscope.io.tables import merge_tables, read_table, to_toml, write_csv, write_json, write_table, write_text

masks = arrays(bool, st.tuples(st.integers(1, 30), st.integers(1, 30)))


@settings(max_examples=60, deadline=None)
@given(masks)
def test_rle_round_trip_and_agreement(mask):
    rle = encode_rle(mask)
    assert np.array_equal(decode_rle(rle), mask)
    other = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    counts = other["counts"]
    assert rle["counts"] == (counts.decode() if isinstance(counts, bytes) else counts)


def test_uncompressed_and_damaged_rle():
    assert decode_rle({"size": [2, 2], "counts": [1, 2, 1]}).tolist() == [[False, True], [True, False]]
    with pytest.raises(ReadError, match="damaged"):
        decode_rle({"size": [2, 2], "counts": [1, 2]})


def test_rasterize_agrees_with_coco(rng):
    for _ in range(20):
        points = rng.uniform(2, 38, (3, 2))
        got = rasterize([points.ravel().tolist()], (40, 40))
        other = coco_mask.decode(coco_mask.frPyObjects([points.ravel().tolist()], 40, 40))[..., 0].astype(bool)
        # They may differ along the edges only.
        assert np.count_nonzero(got != other) <= 12


def test_tables_are_deterministic_and_streamed(tmp_path):
    table = pd.DataFrame(
        {"a": np.arange(5, dtype=np.int32), "b": ["x", "y", "", "z", "ä"], "c": [1.5, np.nan, 2, 3, 4]}
    )
    write_table(tmp_path / "1.parquet", table)
    write_table(tmp_path / "2.parquet", table)
    assert (tmp_path / "1.parquet").read_bytes() == (tmp_path / "2.parquet").read_bytes()
    merge_tables([tmp_path / "1.parquet", tmp_path / "2.parquet"], tmp_path / "3.parquet")
    back = read_table(tmp_path / "3.parquet", columns=["a", "c"], where="a > 2")
    assert back["a"].tolist() == [3, 4, 3, 4]
    with pytest.raises(ReadError, match="Parquet"):
        read_table(tmp_path / "none.parquet")


def test_unwritable_places_say_what_to_do(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(WriteError, match="free space or choose another"):
        write_text(tmp_path / "file" / "below.txt", "x")
    with pytest.raises(WriteError, match="goes on where it stopped"):
        write_table(tmp_path / "file" / "below.parquet", pd.DataFrame({"a": [1]}))


def test_a_full_disk_is_an_error_not_half_a_file():
    from pathlib import Path

    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    from unittest.mock import patch

    from crystalscope.io import tables

    device = Path("/dev/full").open("wb")  # noqa: SIM115 - handed to the code under test, which closes it
    full = patch.object(tables.Path, "open", lambda *_a, **_k: device)
    with full, pytest.raises(WriteError, match="No space left"):
        tables.write_bytes(Path("x.bin"), b"0" * 10)


def test_json_csv_toml(tmp_path):
    write_json(tmp_path / "a.json", {"x": math.nan, "y": [1.0, math.inf]})
    assert json.loads((tmp_path / "a.json").read_text()) == {"x": None, "y": [1.0, None]}
    write_csv(tmp_path / "a.csv", pd.DataFrame({"size": [1 / 3]}))
    assert (tmp_path / "a.csv").read_text() == "size\n0.333333333\n"
    data = {"a": 1, "b": 'ä"\n', "c": [1.5, 2.0], "t": {"x y.png": True, "u": {"v": "w"}}}
    assert tomllib.loads(to_toml(data | {"none": None})) == data


def test_coco_round_trip_with_overlaps_holes_and_crowds(tmp_path):
    ring = np.zeros((20, 30), bool)
    ring[2:12, 2:12] = True
    ring[5:8, 5:8] = False
    over = np.zeros((20, 30), bool)
    over[6:15, 6:20] = True
    entries = [
        {"id": 7, "image_id": 0, "category_id": 1, "segmentation": encode_rle(ring), "score": 0.5},
        {"id": 8, "image_id": 0, "category_id": 3, "segmentation": [[6, 6, 20, 6, 20, 15, 6, 15]], "iscrowd": 1},
    ]
    image = {"id": 0, "file_name": "a.png", "width": 30, "height": 20}
    lines = [[json.dumps(x).encode() for x in group] for group in ([image], entries)]
    (tmp_path / "c.json").write_bytes(b"".join(coco_pieces(*lines)))
    (found,) = read_coco(tmp_path / "c.json")
    assert found.ids.tolist() == [7, 8]
    assert found.ignore.tolist() == [False, True]
    assert np.array_equal(found.instances.mask(0), ring)
    assert np.array_equal(found.instances.mask(1), over)
    assert found.instances.kind.tolist() == [0, 2]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "export it again"),
        ("{}", "export it again"),
        ('{"images": [], "annotations": [{"id": 1, "image_id": 5}]}', "name a picture"),
    ],
)
def test_bad_coco(tmp_path, text, reason):
    (tmp_path / "c.json").write_text(text)
    with pytest.raises(ReadError, match=reason):
        read_coco(tmp_path / "c.json")


def test_class_pictures_and_via(tmp_path):
    mask = np.zeros((20, 30), np.int64)
    mask[2:5, 2:5] = 38
    mask[2:5, 5:8] = 75
    mask[10:12, 10:12] = 38
    assert len(instances_of(mask)) == 3
    save(tmp_path / "p.png", picture())
    shape = {"name": "polygon", "all_points_x": [10, 20, 20, 10], "all_points_y": [10, 10, 20, 20]}
    via = {"_via_img_metadata": {"k": {"filename": "x/p.png", "regions": [{"shape_attributes": shape}]}}}
    (tmp_path / "via.json").write_text(json.dumps(via))
    (found,) = read_via(tmp_path / "via.json")
    assert found.instances.crop(0).sum() == 100


def test_empty_instances_travel():
    empty = Instances.empty(FieldOfView((5, 6)))
    assert len(empty) == 0
    assert empty.labels().shape == (5, 6)
    assert len(empty.select(np.zeros(0, bool))) == 0
