"""Defects to plant into a copy of the drawn set, by the check that must find each."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import tifffile
from tests.unit.datasets.drawn import SHAPE, add_picture, edit_json, edit_manifest, edit_rows

from crystalscope.datasets.fingerprint import turned


def pixels(folder: Path, name: str) -> np.ndarray:
    return cv2.imread(str(folder / "images" / name), cv2.IMREAD_UNCHANGED)


def encoded(data: np.ndarray, suffix: str, *options: int) -> bytes:
    return cv2.imencode(suffix, data, list(options))[1].tobytes()


def cut_off(folder):
    path = folder / "images" / "p3.png"
    path.write_bytes(path.read_bytes()[:-200])


def same_pixels(folder):
    add_picture(folder, "q.png", encoded(pixels(folder, "p0.png"), ".png"), SHAPE)


def turned_pixels(folder):
    add_picture(folder, "q.png", encoded(turned(pixels(folder, "p0.png"), 1), ".png"), SHAPE[::-1])


def mirrored_pixels(folder):
    add_picture(folder, "q.bmp", encoded(turned(pixels(folder, "p0.png"), 6), ".bmp"), SHAPE)


def same_file_as_tiff(folder):
    add_picture(folder, "q.tiff", encoded(pixels(folder, "p0.png"), ".tiff"), SHAPE)


def compressed(folder):
    add_picture(folder, "q.jpg", encoded(pixels(folder, "p1.png"), ".jpg", 1, 70), SHAPE)


def compressed_and_turned(folder):
    data = turned(pixels(folder, "p1.png"), 3)
    add_picture(folder, "q.jpg", encoded(data, ".jpg", 1, 50), SHAPE[::-1])


def brightened(folder):
    data = np.clip(pixels(folder, "p1.png") * 1.15 + 8, 0, 255).astype(np.uint8)
    add_picture(folder, "q.png", encoded(data, ".png"), SHAPE)


def cut_by_a_few(folder):
    data = pixels(folder, "p1.png")[4:-3, 7:-2]
    add_picture(folder, "q.png", encoded(np.ascontiguousarray(data), ".png"), data.shape)


def noise_added_and_mirrored(folder):
    data = turned(pixels(folder, "p1.png"), 4) + np.random.default_rng(5).normal(0, 3, SHAPE)
    add_picture(folder, "q.png", encoded(np.clip(data, 0, 255).astype(np.uint8), ".png"), SHAPE)


def enlarged(folder):
    data = cv2.resize(pixels(folder, "p1.png"), None, fx=1.5, fy=1.5, interpolation=cv2.INTER_CUBIC)
    add_picture(folder, "q.png", encoded(data, ".png"), data.shape)


def copy_in_the_other_split(folder):
    data = turned(pixels(folder, "p0.png"), 2)
    add_picture(folder, "q.png", encoded(data, ".png"), SHAPE, split="test", experiment="E2")


def near_copy_in_the_other_split(folder):
    raw = encoded(pixels(folder, "p0.png"), ".jpg", 1, 60)
    add_picture(folder, "q.jpg", raw, SHAPE, split="test", experiment="E2")


def crops_of_one_frame(folder):
    edit_rows(
        folder,
        lambda rows: [
            {**r, "frame": "5", "experiment": "E1"} if r["file"] in ("p5.png", "p7.png") else r for r in rows
        ],
    )


def broken_json(folder):
    path = folder / "annotations.coco.json"
    path.write_text(path.read_text()[:-40])


def picture_removed(folder):
    (folder / "images" / "p4.png").unlink()
    edit_rows(folder, lambda rows: [r for r in rows if r["file"] != "p4.png"])


def orphan(folder):
    edit_json(folder, lambda d: d["annotations"][0].update(image_id=999))


def one_id_twice(folder):
    edit_json(folder, lambda d: d["annotations"][3].update(id=d["annotations"][2]["id"]))


def wrong_height(folder):
    edit_json(folder, lambda d: d["images"][2].update(height=200))


def no_width(folder):
    edit_json(folder, lambda d: d["images"][2].pop("width"))


def entry_removed(folder):
    def change(data):
        data["images"] = [i for i in data["images"] if i["id"] != 2]
        data["annotations"] = [a for a in data["annotations"] if a["image_id"] != 2]

    edit_json(folder, change)


def outline(folder, polygons, at=2):
    """Another outline for a particle in the middle of a picture."""
    change = {"segmentation": polygons, "visible_segmentation": None}
    edit_json(folder, lambda d: d["annotations"][at].update(change))


def odd_coordinates(folder):
    outline(folder, [[10, 10, 40, 10, 40, 40, 10]])


def infinite_coordinates(folder):
    outline(folder, [[10, 10, 40, float("inf"), 40, 40]])


def damaged_run_lengths(folder):
    outline(folder, {"size": list(SHAPE), "counts": [100, 20]})


def run_lengths_of_another_size(folder):
    outline(folder, {"size": [50, 50], "counts": [100, 20, 2380]})


def damaged_visible_part(folder):
    damage = {"size": list(SHAPE), "counts": [100, 20]}
    edit_json(folder, lambda d: d["annotations"][2].update(visible_segmentation=damage))


def outside(folder):
    outline(folder, [[220, 50, 248, 50, 248, 80, 220, 80]])


def far_outside(folder):
    outline(folder, [[-90, -80, -60, -80, -60, -50, -90, -50]])


def no_outline(folder):
    outline(folder, [])


def two_points(folder):
    outline(folder, [[10, 10, 40, 40]])


def no_area(folder):
    outline(folder, [[10, 10, 40, 40, 20, 20]])


def empty_run_lengths(folder):
    outline(folder, {"size": list(SHAPE), "counts": [SHAPE[0] * SHAPE[1]]})


def bow_tie(folder):
    outline(folder, [[60, 60, 90, 84, 90, 60, 60, 84]])


def loop(folder):
    """A loop at the corner, run through the other way."""
    outline(folder, [[60, 60, 84, 60, 84, 84, 80, 88, 84, 88, 80, 84, 60, 84]])


def annotated_twice(folder):
    edit_json(folder, lambda d: d["annotations"].append({**d["annotations"][2], "id": 5000}))


def annotated_twice_by_hand(folder):
    """The second outline is a pixel larger, and neither says what is seen of it."""

    def change(data):
        first = {**data["annotations"][2], "segmentation": [[100, 60, 140, 60, 140, 90, 100, 90]]}
        first.pop("visible_segmentation")
        data["annotations"][2] = first
        second = {**first, "id": 5000, "segmentation": [[99.5, 59.5, 140.5, 59.5, 140.5, 90.5, 99.5, 90.5]]}
        data["annotations"].append(second)

    edit_json(folder, change)


def one_particle_of_two_classes(folder):
    edit_json(folder, lambda d: d["annotations"].append({**d["annotations"][2], "id": 5000, "category_id": 3}))


def speck(folder):
    outline(folder, [[100, 60, 102, 60, 102, 61, 100, 61]])


def nearly_the_whole_picture(folder):
    outline(folder, [[6, 6, 234, 6, 234, 174, 6, 174]])


def class_without_pictures(folder):
    edit_manifest(folder, classes=("sparse", "dense", "foamy"))


def row_too_many(folder):
    edit_rows(folder, lambda rows: [*rows, {**rows[0], "file": "gone.png", "frame": "55"}])


def row_twice(folder):
    edit_rows(folder, lambda rows: [*rows, rows[4]])


def row_removed(folder):
    edit_rows(folder, lambda rows: [r for r in rows if r["file"] != "p4.png"])


def _scale(folder, value, *names):
    edit_rows(
        folder, lambda rows: [{**r, "pixel_size_um": value} if r["file"] in names or not names else r for r in rows]
    )


def no_scale(folder):
    _scale(folder, "")
    edit_manifest(folder, pixel_size_um=None)


def scale_of_one_missing(folder):
    _scale(folder, "", "p2.png")
    edit_manifest(folder, pixel_size_um=None)


def scale_against_the_manifest(folder):
    _scale(folder, "2.5")


def two_scales_of_one_instrument(folder):
    _scale(folder, "2.5", "p1.png")
    edit_manifest(folder, pixel_size_um=None)


def scale_below_zero(folder):
    _scale(folder, "-2", "p1.png")


def tags_say_another_scale(folder):
    path = folder / "images" / "p8.tif"
    data = tifffile.imread(path)
    tifffile.imwrite(path, data, imagej=True, resolution=(1 / 3.0, 1 / 3.0), metadata={"unit": "um"})


def no_instrument(folder):
    edit_rows(folder, lambda rows: [{**r, "instrument": ""} for r in rows])
    edit_manifest(folder, instrument="")


def instrument_of_one_missing(folder):
    edit_rows(
        folder, lambda rows: [{**r, "instrument": "" if r["file"] == "p1.png" else r["instrument"]} for r in rows]
    )
    edit_manifest(folder, instrument="")


def instrument_spelled_twice(folder):
    edit_rows(
        folder, lambda rows: [{**r, "instrument": "probe-100" if r["file"] < "p3" else "Probe 100"} for r in rows]
    )


def another_instrument(folder):
    edit_rows(folder, lambda rows: [{**r, "instrument": "Microscope"} for r in rows])


def no_licence(folder):
    edit_manifest(folder, licence="")


def no_sizes(folder):
    edit_manifest(folder, sizes="")


def sizes_file_gone(folder):
    (folder / "sizes_population.csv").unlink()


def frames_file_gone(folder):
    (folder / "frames.csv").unlink()


def falling_cumulative(folder):
    path = folder / "sizes_population.csv"
    table = pd.read_csv(path)
    table.loc[5, "Q3"] = 0.9999
    table.to_csv(path, index=False)


PLANTED = {
    "unreadable_picture": [cut_off],
    "duplicate_picture": [same_pixels, turned_pixels, mirrored_pixels, same_file_as_tiff],
    "near_duplicate": [
        compressed,
        compressed_and_turned,
        brightened,
        cut_by_a_few,
        noise_added_and_mirrored,
        enlarged,
    ],
    "picture_in_two_splits": [copy_in_the_other_split, near_copy_in_the_other_split],
    "frame_in_two_splits": [crops_of_one_frame],
    "broken_annotations": [broken_json],
    "annotated_picture_missing": [picture_removed],
    "annotation_without_picture": [orphan],
    "doubled_id": [one_id_twice],
    "annotated_size": [wrong_height, no_width],
    "not_annotated": [entry_removed],
    "outline_damaged": [
        odd_coordinates,
        infinite_coordinates,
        damaged_run_lengths,
        run_lengths_of_another_size,
        damaged_visible_part,
    ],
    "outline_outside": [outside, far_outside],
    "outline_empty": [no_outline, two_points, no_area, empty_run_lengths],
    "outline_crossing": [bow_tie, loop],
    "doubled_annotation": [annotated_twice, annotated_twice_by_hand, one_particle_of_two_classes],
    "size_outlier": [speck, nearly_the_whole_picture],
    "class_balance": [class_without_pictures],
    "row_without_picture": [row_too_many],
    "doubled_row": [row_twice],
    "picture_without_row": [row_removed],
    "scale_missing": [no_scale, scale_of_one_missing],
    "scale_conflict": [
        scale_against_the_manifest,
        two_scales_of_one_instrument,
        scale_below_zero,
        tags_say_another_scale,
    ],
    "instrument_missing": [no_instrument, instrument_of_one_missing],
    "instrument_conflict": [instrument_spelled_twice, another_instrument],
    "licence_missing": [no_licence],
    "sizes_missing": [no_sizes],
    "sizes_faulty": [falling_cumulative],
    "missing_file": [sizes_file_gone, frames_file_gone],
}
