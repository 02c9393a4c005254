"""Tables as spreadsheets, loggers and programs write them: read where only one reading is possible, refused else."""

from __future__ import annotations

import gzip
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from refusals import refused

from engine.data import load_series, read_table
from engine.errors import DataError, InputError, InputTypeError

WILD = Path(__file__).parent / "data" / "wild"
VALUES = [1001.5, 1002.25, 999, -3, 1250.75, 1100, 1099.5, 1175.25]


def read(folder: Path, content: str | bytes, column: Any = "v", **options: Any) -> list[float]:
    path = folder / "series.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    values: list[float] = load_series(path, column, **options).values.ravel().tolist()
    return values


def semicolons(*cells: str) -> str:
    return "t;v\n" + "".join(f"{row};{cell}\n" for row, cell in enumerate(cells))


@pytest.mark.parametrize(
    "name",
    [
        "comment_lines",
        "pipe_delimited",
        "semicolon_decimal_comma",
        "thousands_quoted",
        "trailing_delimiter_data_only",
        "trailing_empty_rows",
    ],
)
def test_files_that_were_handed_over_give_their_eight_values(name: str) -> None:
    series = load_series(WILD / f"{name}.csv", "value")
    assert series.values.ravel().tolist() == VALUES
    assert not series.filled.any()
    assert series.times is not None
    assert series.times.cells[-1] == "2021-01-08"


# --- numbers --------------------------------------------------------------------------------------------------------

ONE_READING = [
    (("12,5", "13,75"), [12.5, 13.75]),
    (("1,001", "0,998"), [1.001, 0.998]),  # no thousands mark follows a leading zero
    (("1,001", "12,5"), [1.001, 12.5]),
    (("1,001.5", "999"), [1001.5, 999]),
    (("1.234,5", "1.001"), [1234.5, 1001]),  # the first cell tells how the second one is meant
    (("1.234.567", "2"), [1234567, 2]),
    (("1 234,5", "999"), [1234.5, 999]),
    (("1'234.50", "999"), [1234.5, 999]),
    (("1\N{RIGHT SINGLE QUOTATION MARK}234", "2000"), [1234, 2000]),
    (("1\N{NARROW NO-BREAK SPACE}234,5", "3,25"), [1234.5, 3.25]),
    (("1\N{NO-BREAK SPACE}234.5", "3.25"), [1234.5, 3.25]),
    (("\N{MINUS SIGN}3,5", "1.004,25"), [-3.5, 1004.25]),
    (("\N{MINUS SIGN}3.5", "4"), [-3.5, 4]),
    (("1,5e3", "2"), [1500, 2]),
]


@pytest.mark.parametrize(("cells", "values"), ONE_READING)
def test_numbers_that_can_be_read_in_one_way_are_read(tmp_path: Path, cells: tuple[str, str], values: Any) -> None:
    assert read(tmp_path, semicolons(*cells)) == values


@pytest.mark.parametrize("cells", [("1,001", "2,345"), ("1,001", "999"), ("1.001", "2.345"), ("7.001", "1001")])
def test_numbers_that_can_be_read_in_two_ways_are_refused_and_the_option_decides(
    tmp_path: Path, cells: tuple[str, str]
) -> None:
    text = semicolons(*cells)
    with refused(
        DataError, "expected numbers that can be read in one way alone", f"{cells[0]!r} in line 2", "--decimal"
    ):
        read(tmp_path, text)
    point, comma = read(tmp_path, text, decimal="."), read(tmp_path, text, decimal=",")
    assert point[0] in (float(cells[0].replace(",", "")), float(cells[0].replace(".", "").replace(",", ".")))
    assert {point[0], comma[0]} == {
        float(cells[0].replace(",", ".")),
        float(cells[0].replace(",", "").replace(".", "")),
    }


def test_a_point_before_three_digits_is_the_decimal_one_where_no_comma_custom_shows(tmp_path: Path) -> None:
    assert read(tmp_path, "t,v\n1,1.001\n2,2.345\n") == [1.001, 2.345]
    (note,) = load_series(tmp_path / "series.csv", "v").notes  # no refusal: three decimals are most common; but a word
    assert note.startswith("each point in column 'v' stands before three digits and is read as a decimal point; if it")
    assert not load_series(tmp_path / "series.csv", "v", decimal=".").notes
    assert read(tmp_path, "t,v\n1,1.001\n2,2.34\n") == [1.001, 2.34]
    assert not load_series(tmp_path / "series.csv", "v").notes
    with refused(DataError, "got '1.001' in line 2, column 'v', which is 1.001 with a decimal point and 1001 with"):
        read(tmp_path, "t\tv\tw\n1\t1.001\t3,5\n2\t2.345\t4\n")  # another column has decimal commas
    assert read(tmp_path, "v\n1.001\n2.345\n", None) == [1.001, 2.345]
    assert read(tmp_path, 't,v\n1,"1.001"\n2,"2,345.5"\n'.replace("1.001", "1,001")) == [1001, 2345.5]


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (("1,5", "2.5"), "got '2.5' in line 3, column 'v', which is not written like the numbers before it; write all"),
        (("1,234,567", "2,5"), "got '2,5' in line 3, column 'v', which is not written like"),
        (("5%", "6%"), "got '5%' in line 2, column 'v'; take the percent signs out"),
        (("6", "5 \N{EURO SIGN}"), "in line 3, column 'v'; take the currency signs out"),
        (("(5)", "6"), "got '(5)' in line 2"),
        (("1,00,000.5", "6"), "got '1,00,000.5' in line 2"),
        (("5-", "6"), "got '5-' in line 2"),
    ],
)
def test_what_is_no_number_in_the_style_of_its_column_is_refused(
    tmp_path: Path, cells: tuple[str, str], message: str
) -> None:
    with refused(DataError, message):
        read(tmp_path, semicolons(*cells))


def test_a_blank_is_a_thousands_mark_only_where_it_is_known_not_to_stand_between_cells(tmp_path: Path) -> None:
    numbered = "v\n1 100\n2 200\n3 300\n"  # as R writes a column with row names
    with refused(DataError, "got '1 100' in line 2", "if the blank is a thousands mark", "--delimiter ';'"):
        read(tmp_path, numbered)
    assert read(tmp_path, numbered, delimiter=";") == [1100, 2200, 3300]


@given(
    st.lists(st.decimals(-(10**7), 10**7, allow_nan=False, places=2), min_size=2, max_size=6),
    st.sampled_from([(",", "."), (".", ","), (",", "\N{NARROW NO-BREAK SPACE}"), (".", "'"), (",", ""), (",", " ")]),
)
def test_a_column_is_read_as_it_was_written_or_refused_never_wrongly(
    tmp_path_factory: pytest.TempPathFactory, numbers: Any, style: tuple[str, str]
) -> None:
    point, group = style
    cells = [f"{number:,.2f}".translate({ord(","): group, ord("."): point}) for number in numbers]
    assert read(tmp_path_factory.mktemp("x"), semicolons(*cells)) == [float(number) for number in numbers]
    whole = [f"{int(number):,}".replace(",", group) for number in numbers]
    try:
        got = read(tmp_path_factory.mktemp("x"), semicolons(*whole))
    except DataError as error:
        message = str(error)
    else:
        assert got == [int(number) for number in numbers]
        return
    assert "--decimal" in message


# --- delimiters, header lines, rows ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "sep=;\nt;v\n1;2,5\n2;3,5\n",
        '"sep=,"\r\nt,v\r\n1,2.5\r\n2,3.5\r\n',
        "t|v\n1|2.5\n2|3,5\n".replace(",", "."),
        "t\tv\n1\t2,5\n2\t3,5\n",
        "t   v\n1 \t 2.5\n  2 3.5  \n",
        "date time v\n2021-01-01 00:00 2.5\n2021-01-02 00:00 3.5\n",
        "# by a logger\n\n# unit m\nt,v\n# sensor replaced\n1,2.5\n#1,9\n2,3.5\n# end\n",
        "# t v\n1 2.5\n2 3.5\n",  # as numpy.savetxt writes the names
        "#t,v\n1,2.5\n2,3.5\n",
        "t,v\n\n1,2.5\n\n\n2,3.5\n\n",
        "t,v\n1,2.5,\n2,3.5,\n",
        "t,v,\n1,2.5\n2,3.5\n",
        "t,v,,\n1,2.5,,\n2,3.5,,\n,,,\n,,,\n",
        "t;v;\n1;2,5;\n2;3,5;\n;;\n",
        "t,v,\n1,2.5,x\n2,3.5,\n",  # a column without a name
        'a,b;v\n"1,2";2,5\n2,3;3,5\n',
        't, v\n1, "2.5"\n2, "3.5"\n',
    ],
)
def test_customs_of_tables(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, text) == [2.5, 3.5]
    assert read(tmp_path, gzip.compress(text.encode())) == [2.5, 3.5]
    assert read(tmp_path, "\ufeff" + text) == [2.5, 3.5]
    assert read(tmp_path, text.encode("utf-16")) == [2.5, 3.5]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "date,v\n2021-01-01,1001,50\n2021-01-02,1002,25\n",
            "expected 2 cells a row as in the header line, got 3 in line 2",
        ),
        ("v\n1,5\n2,25\n", "if commas are decimal signs, say --decimal ,"),
        ("Station: 7\nUnit: m\n\ndate;v\n1;1,5\n2;2,5\n", "leave out what stands above the header line with --skip 3"),
        (
            "t~v\n1~2\n2~3\n",
            "got 'v'; choose one of these; if the header line is another one, say so with --skip or --del",
        ),
        (
            "a;b,v\nx;y,z\nx;y,z\n",
            "got lines that ',' and ';' cut equally well; say what stands between cells with --del",
        ),
        ("t,v\n1,2,\n2,3,4\n", "expected 2 cells a row as in the header line, got 3 in line 3"),
        ("t,v\n1,2\n3\n", "got 1 in line 3"),
        ('""\n""\n', "got nothing but blank lines"),
        ("t,v,\n0,445914,10,\n1,-136271,03,\n", "expected 2 cells a row as in the header line, got 4 in line 2"),
        ("v,t\n#N/A,1\n2,3\n", "expected numbers, got '#N/A' in line 2"),
        (
            "# hello world, again\n1,2,3\n4,5,6\n",
            "got the numbers '1', '2', '3'; put a line with the column names first",
        ),
    ],
)
def test_tables_that_could_mean_another_thing_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with refused(DataError, message):
        read(tmp_path, text)


def test_the_options_read_what_cannot_be_told(tmp_path: Path) -> None:
    assert read(tmp_path, "v\n1,5\n2,25\n", decimal=",") == [1.5, 2.25]
    assert read(tmp_path, 't,v\n1,"1,001"\n2,"2,5"\n', decimal=",") == [1.001, 2.5]
    assert read(tmp_path, "Station: 7\nUnit: m\n\ndate;v\n1;1,5\n2;2,5\n", skip=3) == [1.5, 2.5]
    assert read(tmp_path, "t~v\n1~2\n2~3\n", delimiter="~") == [2, 3]
    assert read(tmp_path, "v\n1,001\n2,345\n", delimiter=";", decimal=".") == [1001, 2345]
    for name in ("tab", "\\t", "\t"):
        assert read(tmp_path, "t\tv\n1\t2\n2\t3\n", delimiter=name) == [2, 3]
    for name in ("blank", " "):
        assert read(tmp_path, "t v\n1  2\n2 3\n", delimiter=name) == [2, 3]


def test_options_that_are_no_choice_are_refused(tmp_path: Path) -> None:
    for wrong in ("", ";;", "a", ".", '"', "\n"):
        with refused(InputError, 'delimiter: expected one character such as ";"', f"got {wrong!r}"):
            read(tmp_path, "v\n1\n2\n", delimiter=wrong)
    with refused(InputTypeError, "delimiter: expected one character", "got 3"):
        read(tmp_path, "v\n1\n2\n", delimiter=3)
    with refused(InputError, 'decimal: expected "." or ",", got \'comma\''):
        read(tmp_path, "v\n1\n2\n", decimal="comma")
    with refused(InputError, "skip: expected an integer >= 0, got -1"):
        read(tmp_path, "v\n1\n2\n", skip=-1)
    with refused(InputError, "encoding: expected the name of a text encoding", "got 'zip'"):
        read(tmp_path, "v\n1\n2\n", encoding="zip")


def test_the_cells_of_a_table_are_given_as_they_were_written(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text('# c\nt;v;w\n"1;a"; 2,5;\n\n2;;x\n;;\n')
    table = read_table(tmp_path / "x.csv")
    assert (table.names, table.lines.tolist(), len(table)) == (("t", "v", "w"), [3, 5], 2)
    assert [table.cells(name) for name in table.names] == [["1;a", "2"], ["2,5", ""], ["", "x"]]
    assert np.isnan(table.numbers("v")).tolist() == [False, True]


# --- arrays ---------------------------------------------------------------------------------------------------------


def npy(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


@pytest.mark.parametrize("dtype", ["int64", "uint8", ">i4", "float16"])
def test_integer_arrays_are_read(tmp_path: Path, dtype: str) -> None:
    array = np.array([[3, 100], [5, 1]], dtype)
    assert read(tmp_path, npy(array), ["1", "0"]) == [100, 3, 1, 5]
    assert read(tmp_path, gzip.compress(npy(array)), "1") == [100, 1]


def test_integers_that_float64_cannot_hold_are_refused(tmp_path: Path) -> None:
    with refused(
        DataError, "expected integers up to 2**53, which float64 holds exactly, got 1152921504606846976 in row 1"
    ):
        read(tmp_path, npy(np.array([1, 2**60])), None)


def test_a_damaged_gzip_file_is_refused(tmp_path: Path) -> None:
    packed = gzip.compress(b"v\n1\n2\n")
    for damaged in (packed[:-4], packed + b"junk", packed[:12] + b"\xff" + packed[13:]):
        with refused(DataError, "got a damaged gzip file ("):
            read(tmp_path, damaged)
