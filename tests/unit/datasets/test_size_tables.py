"""Size tables of other instruments, against distributions that are known exactly."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr

from crystalscope.datasets.cells import as_number, read_sheets
from crystalscope.datasets.size_tables import read_size_tables
from crystalscope.errors import ReadError

EDGES = np.geomspace(10, 1000, 21)
SHARE = np.diff(ndtr(np.log(EDGES / 100) / 0.4))
CUMULATIVE = np.concatenate([[0], np.cumsum(SHARE)])


def write(path, columns, *, separator=",", decimal=".", before=()):
    def text(value):
        return value if isinstance(value, str) else "" if np.isnan(value) else f"{value:.9g}".replace(".", decimal)

    rows = [list(before_row) for before_row in before] + [list(columns)]
    rows += [[text(v) for v in row] for row in zip(*columns.values(), strict=True)]
    path.write_text("\n".join(separator.join(r) for r in rows) + "\n", encoding="utf-8")
    return path


def only(path):
    found = read_size_tables(path)
    assert len(found.tables) == 1, found.notes
    return next(iter(found.tables.values()))


def check(table, key="Q3"):
    """The known cumulative at every edge of the table, and the density as its slope."""
    assert table["size_um"].is_monotonic_increasing
    expected = np.interp(table["size_um"], EDGES, CUMULATIVE)
    assert table[key].to_numpy() == pytest.approx(expected, abs=1e-6)
    slope = np.diff(table[key]) / np.diff(table["size_um"])
    assert table[key.lower()].to_numpy()[1:] == pytest.approx(slope)


def test_lower_and_upper_edges_in_per_cent(tmp_path):
    table = only(
        write(
            tmp_path / "a.csv",
            {"Lower (um)": EDGES[:-1], "Upper (um)": EDGES[1:], "Volume (%)": 100 * SHARE},
        )
    )
    check(table)
    assert len(table) == 21
    assert table.attrs["definition"] == "not stated"


def test_fractions_by_number_with_semicolons_and_decimal_commas(tmp_path):
    path = write(
        tmp_path / "a.csv",
        {"From µm": EDGES[:-1], "To µm": EDGES[1:], "Number fraction": SHARE},
        separator=";",
        decimal=",",
    )
    check(only(path), "Q0")


def test_upper_edges_below_headings_of_two_rows(tmp_path):
    columns = {"Size Classes (μm)": EDGES, "Volume Density (%)": 100 * np.concatenate([[np.nan], SHARE])}
    path = write(tmp_path / "ms3000.txt", columns, separator="\t", before=[["Frequency (compatible)", "Large batch"]])
    found = read_size_tables(path)
    assert list(found.tables) == ["Large batch"]
    check(found.tables["Large batch"])
    assert "first size has no value" in found.notes[0]


def test_lower_edges_told_by_the_empty_end(tmp_path):
    columns = {"Size (um)": EDGES, "% by volume": 100 * np.concatenate([SHARE, [np.nan]])}
    path = write(tmp_path / "a.csv", columns)
    check(only(path))
    assert "sizes are lower edges" in only(path).attrs["read"]


def test_a_single_size_without_a_word_is_taken_as_upper_edge_and_told(tmp_path):
    columns = {"Size (um)": EDGES[1:], "Volume %": 100 * SHARE}
    table = only(write(tmp_path / "a.csv", columns))
    assert table["Q3"].to_numpy()[1:] == pytest.approx(np.cumsum(SHARE), abs=1e-6)
    assert "assumed to be the upper edge" in table.attrs["read"]


def test_middles_of_classes(tmp_path):
    columns = {"Class midpoint (um)": np.sqrt(EDGES[1:] * EDGES[:-1]), "Volume %": 100 * SHARE}
    check(only(write(tmp_path / "a.csv", columns)))


@pytest.mark.parametrize(
    ("heading", "values", "says"),
    [
        ("Cumulative volume undersize (%)", 100 * CUMULATIVE, "cumulative undersize, per cent"),
        ("Cum. mass passing", CUMULATIVE, "cumulative undersize, fraction"),
        ("Volume oversize (%)", 100 * (1 - CUMULATIVE), "oversize turned into undersize"),
        ("Q3", CUMULATIVE, "cumulative undersize"),
        ("Volume % cumulative, undersize", 100 * (1 - CUMULATIVE), "says the opposite"),
    ],
)
def test_cumulatives(tmp_path, heading, values, says):
    heading = heading.replace(",", "")
    table = only(write(tmp_path / "a.csv", {"Diameter (um)": EDGES, heading: values}))
    check(table)
    assert says in table.attrs["read"]


def test_density_in_reciprocal_micrometres(tmp_path):
    columns = {"Upper x (um)": EDGES, "q3 (1/um)": np.concatenate([[0], SHARE / np.diff(EDGES)])}
    check(only(write(tmp_path / "a.csv", columns)))


def test_counts(tmp_path):
    counts = np.round(5000 * SHARE)
    table = only(write(tmp_path / "a.csv", {"Upper um": EDGES, "Counts": np.concatenate([[0], counts])}))
    assert table["count"].tolist() == [0, *counts]
    assert table["Q0"].iloc[-1] == pytest.approx(1)
    assert "Q3" not in table


def test_units(tmp_path):
    columns = {"Size (mm) upper": EDGES / 1000, "Volume %": 100 * np.concatenate([[0], SHARE])}
    check(only(write(tmp_path / "a.csv", columns)))
    columns = {"Size": EDGES, "Volume %": 100 * np.concatenate([[0], SHARE])}
    assert "no unit stated" in only(write(tmp_path / "b.csv", columns)).attrs["read"]


def test_samples_side_by_side_in_a_workbook_with_number_and_volume(tmp_path):
    shifted = np.roll(SHARE, 2)
    table = pd.DataFrame(
        {
            "Upper edge (µm)": EDGES[1:],
            "Small - Volume (%)": 100 * SHARE,
            "Large - Volume (%)": 100 * shifted,
            "Small - Number (%)": 100 * shifted,
            "Std. error": 0.1,
        }
    )
    with pd.ExcelWriter(tmp_path / "psd.xlsx") as book:
        table.to_excel(book, sheet_name="CE diameter", index=False, startrow=2)
        pd.DataFrame({"note": ["measured in 2023"]}).to_excel(book, sheet_name="Read me", index=False)
    found = read_size_tables(tmp_path / "psd.xlsx")
    assert sorted(found.tables) == ["Large", "Small"]
    small = found.tables["Small"]
    assert {"Q0", "Q3", "q0", "q3"} <= set(small)
    assert small["Q3"].to_numpy()[1:] == pytest.approx(np.cumsum(SHARE))
    assert found.tables["Large"]["Q3"].to_numpy()[1:] == pytest.approx(np.cumsum(shifted))
    assert small.attrs["definition"] == "ecd"
    assert any("sheet Read me" in n and n.startswith("skipped") for n in found.notes)


def test_tables_one_below_the_other(tmp_path):
    part = {"Upper um": EDGES[1:], "Volume %": 100 * SHARE}
    first = write(tmp_path / "a.csv", part, before=[["Batch A"]]).read_text()
    second = write(tmp_path / "b.csv", part, before=[["Batch B"]]).read_text()
    (tmp_path / "c.csv").write_text(first + second)
    assert sorted(read_size_tables(tmp_path / "c.csv").tables) == ["Batch A", "Batch B"]


def test_mastersizer_2000_wide_export(tmp_path):
    head = ["Sample Name", "Result transform type", "d (0.5)", "Result Between User Sizes (Sizes in um)"]
    head += [""] * 20 + ["Operator Notes"]
    sizes = ["", "", "", *(f"{e:.6f}" for e in EDGES), ""]
    results = [f"{100 * s:.9f}" for s in SHARE]
    lines = [head, sizes, *([n, "Volume", "99.8", "", *results, "by hand"] for n in ("16 Averaged Result", "17"))]
    (tmp_path / "ms.csv").write_text("\n".join(",".join(f'"{c}"' for c in row) for row in lines))
    found = read_size_tables(tmp_path / "ms.csv")
    assert sorted(found.tables) == ["16 Averaged Result", "17"]
    for table in found.tables.values():
        check(table)
        assert table.attrs["definition"] == "laser diffraction"


def test_one_row_per_particle(tmp_path, rng):
    length = 100 * np.exp(0.3 * rng.standard_normal(300))
    ecd = length / 2
    table = pd.DataFrame({"Id": range(300), "CE Diameter (μm)": ecd, "Length (μm)": length, "HS Circularity": 0.6})
    table.loc[3, "CE Diameter (μm)"] = np.nan
    table.to_csv(tmp_path / "morphologi.csv", index=False)
    found = read_size_tables(tmp_path / "morphologi.csv")
    assert sorted(found.tables) == ["morphologi ecd", "morphologi length"]
    by_ecd = found.tables["morphologi ecd"]
    kept = np.sort(np.delete(ecd, 3))
    assert by_ecd["size_um"].to_numpy() == pytest.approx(kept)
    assert by_ecd["Q3"].to_numpy() == pytest.approx(np.cumsum(kept**3) / (kept**3).sum())
    assert by_ecd.attrs["volume_model"] == "ecd^3"
    assert "1 rows without a size" in by_ecd.attrs["read"]


@pytest.mark.parametrize("upright", [True, False])
def test_quantiles(tmp_path, upright):
    grid = [["Sample", "Dv10 (um)", "Dv50 (um)", "Dv90 (um)"], ["Batch 1", "60.1", "99.8", "166"]]
    if not upright:
        grid = [list(column) for column in zip(*grid, strict=True)][1:]
    (tmp_path / "d.csv").write_text("\n".join(",".join(r) for r in grid))
    table = only(tmp_path / "d.csv")
    assert table["size_um"].tolist() == [60.1, 99.8, 166]
    assert table["Q3"].tolist() == pytest.approx([0.1, 0.5, 0.9])


def test_quantiles_of_many_samples_are_not_taken_for_classes(tmp_path):
    lines = ["No,D10,D50,D90", *(f"{i},{50 + i},{90 + i},{150 + i}" for i in range(1, 6))]
    (tmp_path / "d.csv").write_text("\n".join(lines))
    found = read_size_tables(tmp_path / "d.csv")
    assert len(found.tables) == 5
    assert all(t["Q"].tolist() == pytest.approx([0.1, 0.5, 0.9]) for t in found.tables.values())
    assert "Q has no index" in found.notes[0]


def test_certificate_of_standard_spheres(tmp_path):
    (tmp_path / "c.csv").write_text("Certified mean diameter,150.3 um +/- 2.1 um\nStandard deviation,2.4 um\n")
    table = only(tmp_path / "c.csv")
    assert table["size_um"].tolist() == pytest.approx([147.9, 150.3, 152.7])
    assert table["Q0"].iloc[1] == 0.5
    assert "normal by number assumed" in table.attrs["read"]
    (tmp_path / "e.csv").write_text("Nominal,Mean (mm),CV (%)\n400,0.401,2\n500,0.502,3\n")
    found = read_size_tables(tmp_path / "e.csv").tables
    assert found["e 400"]["size_um"].tolist() == pytest.approx([401 * 0.98, 401, 401 * 1.02])


@pytest.mark.parametrize(
    ("columns", "why"),
    [
        ({"Size um": EDGES[1:], "Volume %": 40 * SHARE}, "shares sum to 40"),
        ({"Size um": EDGES[1:], "Surface area %": 100 * SHARE}, "weighted by area"),
        ({"Size um": EDGES[1:], "Cumulative volume %": 100 * SHARE}, "rises and falls"),
        ({"Size um": EDGES[1:], "Volume %": -SHARE}, "negative"),
        ({"Size um": np.repeat(EDGES[1:11], 2), "Volume %": 100 * SHARE}, "twice"),
        ({"Temperature": EDGES[1:], "Pressure": 3 * SHARE}, "neither 1 nor 100"),
    ],
)
def test_what_is_no_distribution_is_told(tmp_path, columns, why):
    found = read_size_tables(write(tmp_path / "a.csv", columns))
    assert not found.tables
    assert any(why in n and n.startswith("skipped") for n in found.notes), found.notes


def test_neither_number_nor_volume(tmp_path):
    table = only(write(tmp_path / "a.csv", {"Upper um": EDGES, "Share (%)": 100 * np.concatenate([[0], SHARE])}))
    assert {"Q", "q"} <= set(table)
    assert "neither number nor volume" in table.attrs["read"]


def test_unreadable_files(tmp_path):
    for name, raw, why in [
        ("a.csv", b"", "nothing"),
        ("b.csv", b"a\0b\0c", "binary"),
        ("c.xls", b"\xd0\xcf\x11\xe0" + bytes(50), "old Excel"),
        ("d.xlsx", b"PK\x03\x04" + bytes(50), "expected a workbook"),
    ]:
        (tmp_path / name).write_bytes(raw)
        with pytest.raises(ReadError, match=why):
            read_sheets(tmp_path / name)
    with pytest.raises(ReadError, match="check the file"):
        read_sheets(tmp_path / "nowhere.csv")


def test_text_of_any_encoding_and_name(tmp_path):
    text = "Size (µm)\tVolume (%)\n1\t2,5\n2\t3,5\n"
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "latin-1"):
        (tmp_path / "t.xls").write_bytes(text.encode(encoding))
        assert read_sheets(tmp_path / "t.xls")[0].cells == [["Size (µm)", "Volume (%)"], [1.0, 2.5], [2.0, 3.5]]


@pytest.mark.parametrize(
    ("text", "comma", "value"),
    [
        ("2,5", True, 2.5),
        ("1,000", False, 1000),
        ("1.234,5", True, 1234.5),
        ("1,234.5", True, 1234.5),
        ("12 %", True, 12),
        ("1e-3", True, 0.001),
        ("a1", True, None),
        ("10-50", True, None),
        ("", True, None),
    ],
)
def test_numbers(text, comma, value):
    assert as_number(text, decimal_comma=comma) == value


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(0.05, 5), min_size=4, max_size=12), st.booleans())
def test_what_is_written_comes_back(tmp_path_factory, widths, percent):
    path = tmp_path_factory.mktemp("sizes") / "a.csv"
    edges = 10 * np.cumsum(np.concatenate([[1], widths]))
    share = np.array(widths) / sum(widths)
    heading = "Volume (%)" if percent else "Volume fraction"
    table = only(write(path, {"Lower um": edges[:-1], "Upper um": edges[1:], heading: share * (100 if percent else 1)}))
    assert table["size_um"].to_numpy() == pytest.approx(edges, rel=1e-6)
    assert np.diff(table["Q3"]) == pytest.approx(share, rel=1e-5)
