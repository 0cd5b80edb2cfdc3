"""Rows of files: line numbers, quotes, and what cannot be read."""

import io

import pytest

from streams.rows import guess_format, read_csv, read_header, read_json_lines

HEADER = b"a,b,c\n"


def csv_rows(body: bytes, header: bytes = HEADER):
    return list(read_csv(io.BytesIO(header + body)))


def seen(rows):
    return [(row.line, row.cells or row.fault) for row in rows]


def test_lines_are_counted_from_the_header_on():
    assert seen(csv_rows(b"1,2,3\n4,5,6")) == [
        (2, {"a": "1", "b": "2", "c": "3"}),
        (3, {"a": "4", "b": "5", "c": "6"}),
    ]


def test_empty_cells_are_left_out_and_blank_lines_count_as_lines():
    assert seen(csv_rows(b"1,, \r\n\r\n\n7,8,9\r\n")) == [
        (2, {"a": "1"}),
        (5, {"a": "7", "b": "8", "c": "9"}),
    ]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (b"1,2", "2 columns, the header has 3"),
        (b"1", "1 column, the header has 3"),
        (b"1,2,3,4", "4 columns, the header has 3"),
        (b"1,\xff\xfe,3", "not UTF-8"),
        (b'1,"2,3', "a quote is opened and not closed"),
    ],
)
def test_a_bad_row_keeps_its_bytes_and_the_next_is_read(line, fault):
    bad, good = csv_rows(line + b"\r\n4,5,6\n")
    assert (bad.line, bad.fault, bad.raw, bad.cells) == (2, fault, line, {})
    assert (good.line, good.cells["c"]) == (3, "6")


def test_a_quoted_cell_may_hold_separators_quotes_and_line_ends():
    rows = csv_rows(b'1,"x, ""y""\nz",3\n4,5,6\n')
    assert seen(rows) == [(2, {"a": "1", "b": 'x, "y"\nz', "c": "3"}), (4, {"a": "4", "b": "5", "c": "6"})]
    assert rows[0].raw == b'1,"x, ""y""\nz",3'


@pytest.mark.parametrize("cell", [b'5" pipe', b'"5" pipe"'])
def test_a_quote_within_a_cell_is_part_of_it(cell):
    (row,) = csv_rows(b"1," + cell + b",3\n")
    assert row.fault is None
    assert "pipe" in row.cells["b"]


def test_a_stray_quote_costs_one_row_and_not_the_file():
    rows = csv_rows(b'1,"2,3\n' + b"4,5,6\n" * 100)
    assert [row.fault for row in rows].count(None) == 100
    assert rows[0].fault == "a quote is opened and not closed"
    assert [row.line for row in rows] == list(range(2, 103))


def test_ends_tell_how_much_of_the_file_is_done():
    body = b'1,2,3\n4,"x\n5,6\n'
    rows = csv_rows(body)
    assert [row.end for row in rows] == sorted(row.end for row in rows)
    assert rows[-1].end == len(HEADER + body)


def test_the_separator_is_the_most_frequent_one_of_the_header():
    assert read_header(b"\xef\xbb\xbfvisitor_id;event;a,b\r\n") == (["visitor_id", "event", "a,b"], ";")
    assert read_header(b"x\ty\n") == (["x", "y"], "\t")
    assert read_header(b"one\n")[0] == ["one"]


@pytest.mark.parametrize("line", [b"\n", b"  \n", b"\xff\xfe\n"])
def test_a_header_that_cannot_be_read_is_told(line):
    with pytest.raises(ValueError, match="header"):
        read_header(line)


def test_an_empty_file_has_no_rows():
    assert csv_rows(b"", header=b"") == []
    assert csv_rows(b"") == []


def test_json_lines_with_faults_between():
    body = b'\xef\xbb\xbf{"a": 1.10}\n\n[1]\n{"a":\n{"a": "\xff"}\n{"b": 2}\n'
    rows = list(read_json_lines(io.BytesIO(body)))
    assert [(row.line, row.fault is None) for row in rows] == [
        (1, True),
        (3, False),
        (4, False),
        (5, False),
        (6, True),
    ]
    assert str(rows[0].cells["a"]) == "1.10"  # as it was written
    assert rows[1].fault == "not a JSON object"
    assert rows[2].fault.startswith("not JSON: ")
    assert rows[0].raw == b'{"a": 1.10}'


def test_deeply_nested_json_is_a_fault():
    (row,) = read_json_lines(io.BytesIO(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"))
    assert row.fault == "nested too deeply"


@pytest.mark.parametrize(
    ("name", "first", "expected"),
    [
        ("events.jsonl", b"a,b", "jsonl"),
        ("events.ndjson", b"", "jsonl"),
        ("events.CSV", b'{"a": 1}', "csv"),
        ("-", b' {"event": 1}', "jsonl"),
        ("-", b'\xef\xbb\xbf{"event": 1}', "jsonl"),
        ("-", b"event,visitor_id", "csv"),
        ("events.txt", b"event\tvisitor_id", "csv"),
    ],
)
def test_format_by_name_or_else_by_the_first_line(name, first, expected):
    assert guess_format(name, first) == expected
