"""Folders, stacks and videos as sequences; times, scales and logs."""

from __future__ import annotations

import math

import av
import numpy as np
import pandas as pd
import pytest
import tifffile
from PIL import Image as PillowImage
from tests.conftest import picture, save

from crystalscope.config import InputConfig
from crystalscope.errors import ConfigError, ReadError
from crystalscope.io.logs import read_log, temperatures_at
from crystalscope.io.sequence import natural_key, open_sequence
from crystalscope.io.times import clean_times


def names(source):
    return [f.name for f in source.sequence.frames]


def test_natural_order_and_left_out_files(tmp_path):
    for n in ("frame_10.png", "frame_2.png", "sub/frame_1.png"):
        save(tmp_path / n, picture())
    (tmp_path / "notes.txt").write_text("x")
    source = open_sequence(tmp_path, config=InputConfig())
    assert names(source) == ["frame_2.png", "frame_10.png", "sub/frame_1.png"]
    assert source.warnings == ("files left out because they are no pictures: 1",)
    assert sorted(["b10", "b9", "a"], key=natural_key) == ["a", "b9", "b10"]


def test_nothing_to_read(tmp_path):
    with pytest.raises(ReadError, match="empty folder"):
        open_sequence(tmp_path, config=InputConfig())
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(ReadError, match="1 other files"):
        open_sequence(tmp_path, config=InputConfig())
    with pytest.raises(ReadError, match="does not exist"):
        open_sequence(tmp_path / "nowhere", config=InputConfig())


def test_times_from_names(tmp_path):
    for t in (0, 30, 60):
        save(tmp_path / f"f_t{t}s.png", picture())
    source = open_sequence(tmp_path, config=InputConfig(time_pattern=r"_t(?P<seconds>\d+)s"))
    assert source.sequence.times_s.tolist() == [0, 30, 60]
    with pytest.raises(ConfigError, match="matches none"):
        open_sequence(tmp_path, config=InputConfig(time_pattern=r"x(?P<seconds>\d+)"))
    with pytest.raises(ConfigError, match="expected a group"):
        open_sequence(tmp_path, config=InputConfig(time_pattern=r"\d+"))
    with pytest.raises(ConfigError, match="regular expression"):
        open_sequence(tmp_path, config=InputConfig(time_pattern="("))


def test_times_from_stamps_tables_and_intervals(tmp_path):
    for t in ("20240101_100000", "20240101_100130"):
        save(tmp_path / f"{t}.png", picture())
    stamps = InputConfig(time_pattern=r"(?P<stamp>\d{8}_\d{6})")
    assert open_sequence(tmp_path, config=stamps).sequence.times_s.tolist() == [0, 90]
    table = tmp_path / "times.csv"
    table.write_text("file,time_s\n20240101_100000.png,5\n20240101_100130.png,9\n")
    assert open_sequence(tmp_path, config=InputConfig(time_table=str(table))).sequence.times_s.tolist() == [5, 9]
    assert open_sequence(tmp_path, config=InputConfig(frame_interval_s=2)).sequence.times_s.tolist() == [0, 2]
    table.write_text("name,time_s\na,1\n")
    with pytest.raises(ReadError, match="columns file and time_s"):
        open_sequence(tmp_path, config=InputConfig(time_table=str(table)))
    assert np.isnan(open_sequence(tmp_path, config=InputConfig()).sequence.times_s).all()


def test_times_from_exif(tmp_path):
    for i, second in enumerate((10, 25)):
        exif = PillowImage.Exif()
        exif.get_ifd(0x8769)[0x9003] = f"2024:01:01 10:00:{second}"
        exif.get_ifd(0x8769)[0x9291] = "50"
        PillowImage.fromarray(picture()).save(tmp_path / f"{i}.jpg", exif=exif)
    assert open_sequence(tmp_path, config=InputConfig()).sequence.times_s.tolist() == [0, 15]


def test_contradictory_times_keep_their_pictures():
    times, notes = clean_times(["a", "b", "c", "d"], [0, 10, 10, 20])
    assert [t for t in times if math.isfinite(t)] == [0, 10, 20]
    assert "".join(notes) in ("time 10 s dropped: the same as b", "time 10 s dropped: the same as c")
    times, notes = clean_times(["a", "b", "c", "d"], [0, 10, 4, 20])
    assert [math.isnan(t) for t in times].count(True) == 1
    assert "out of order" in "".join(notes)
    # One stamp far ahead does not cost all that follow.
    times, _ = clean_times(list("abcd"), [0, 1e9, 2, 3])
    assert [math.isnan(t) for t in times] == [False, True, False, False]


def test_stack_and_scale_from_tags(tmp_path):
    stack = np.stack([picture(seed=i) for i in range(3)])
    tifffile.imwrite(tmp_path / "s.tif", stack, imagej=True, resolution=(0.5, 0.5), metadata={"unit": "um"})
    source = open_sequence(tmp_path / "s.tif", config=InputConfig())
    assert names(source) == ["s.tif#page=0", "s.tif#page=1", "s.tif#page=2"]
    assert source.pixel_size_um == pytest.approx(2.0)
    assert np.array_equal(source.sequence[1].data, stack[1])
    tifffile.imwrite(tmp_path / "o.ome.tif", stack, metadata={"PhysicalSizeX": 0.7, "PhysicalSizeXUnit": "µm"})
    assert open_sequence(tmp_path / "o.ome.tif", config=InputConfig()).pixel_size_um == pytest.approx(0.7)
    # Dots per inch are about printing.
    tifffile.imwrite(tmp_path / "dpi.tif", stack[0], resolution=(300, 300), resolutionunit="INCH")
    assert open_sequence(tmp_path / "dpi.tif", config=InputConfig()).pixel_size_um is None
    with pytest.raises(ConfigError, match="one scale"):
        open_sequence(tmp_path, config=InputConfig())


def test_scale_from_a_marked_distance(folder):
    source = open_sequence(folder, config=InputConfig(marked_um=500, marked_px=250))
    assert source.pixel_size_um == 2.0


@pytest.mark.parametrize(("suffix", "codec"), [(".avi", "mjpeg"), (".mp4", "mpeg4")])
def test_video(tmp_path, suffix, codec):
    path = tmp_path / f"v{suffix}"
    frames = [picture([(40 + 3 * i, 50, 15)]) for i in range(8)]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=4)
        stream.width, stream.height = 160, 120
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.bit_rate = 4_000_000
        for f in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(f, format="gray")))
        container.mux(stream.encode())
    source = open_sequence(path, config=InputConfig())
    assert len(source.sequence) == 8
    assert source.sequence.times_s == pytest.approx(np.arange(8) / 4)
    for i in (3, 0, 7, 2):  # in any order
        got = np.asarray(source.sequence[i].data, dtype=float)
        assert got.ndim == 2
        assert np.abs(got - frames[i]).mean() < 4


def test_video_that_is_none_is_a_row(tmp_path):
    (tmp_path / "v.mp4").write_bytes(b"no video")
    source = open_sequence(tmp_path, config=InputConfig())
    with pytest.raises(ReadError, match="video"):
        source.sequence[0]


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("time_s,temperature_c\n0,20\n100,30\n", "utf-8"),
        ("time_s;temperature_c\n0;20,0\n100;30,0\n", "utf-16"),
        ("\ufefftime_s\ttemperature_c\n100\t30\n0\t20\nx\t9\n", "utf-8"),
    ],
)
def test_logs(tmp_path, text, encoding):
    path = tmp_path / "log.csv"
    path.write_bytes(text.encode(encoding))
    log = read_log(path, config=InputConfig(), epoch_s=math.nan)
    got = temperatures_at(log, np.array([0, 25, 100, 101, np.nan]))
    assert got[:3].tolist() == [20, 22.5, 30]
    assert np.isnan(got[3:]).all()


def test_log_faults(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("t,T\n0,20\n")
    with pytest.raises(ReadError, match="expected a column 'time_s'"):
        read_log(path, config=InputConfig(), epoch_s=math.nan)
    named = InputConfig(log_time_column="t", log_temperature_column="T", log_time_unit="datetime")
    with pytest.raises(ReadError, match="frames with dates"):
        read_log(path, config=named, epoch_s=math.nan)
    path.write_text("")
    with pytest.raises(ReadError, match="text table"):
        read_log(path, config=InputConfig(), epoch_s=math.nan)
    path.write_text("time_s,temperature_c\nx,y\n")
    with pytest.raises(ReadError, match="expected numbers"):
        read_log(path, config=InputConfig(), epoch_s=math.nan)


def test_dated_log_meets_dated_frames(tmp_path):
    for t in ("20240101_100000", "20240101_100130"):
        save(tmp_path / f"{t}.png", picture())
    pd.DataFrame({"when": ["2024-01-01 09:59:30", "2024-01-01 10:02:00"], "T": [20, 35]}).to_csv(
        tmp_path / "log.csv", index=False
    )
    config = InputConfig(
        time_pattern=r"(?P<stamp>\d{8}_\d{6})",
        log=str(tmp_path / "log.csv"),
        log_time_column="when",
        log_temperature_column="T",
        log_time_unit="datetime",
    )
    frames = open_sequence(tmp_path, config=config).sequence.frames
    assert [f.temperature_c for f in frames] == pytest.approx([23, 32])
