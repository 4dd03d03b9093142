"""Tables: what is aligned, escaped and left empty."""

import csv

import pytest

from pyro_vaes.errors import InputError
from pyro_vaes.reports.tables import markdown_table, write_csv


@pytest.mark.parametrize(
    ("cells", "rule"),
    [
        (["1", "-2.50", "+3", "± 1", "", "1,234", "4.0 %"], "---"),
        (["1", "-2.50", "+3", "±1", "", "1,234", "4.0 %"], "---:"),
        (["1", "mean-field"], "---"),
        (["", ""], "---"),
        ([], "---"),
    ],
    ids=["text among numbers", "numbers", "names", "nothing", "no rows"],
)
def test_columns_of_numbers_are_aligned_to_the_right(cells, rule):
    assert markdown_table(["x"], [[cell] for cell in cells]).splitlines()[1] == f"| {rule} |"


def test_a_bar_in_a_cell_does_not_end_it():
    assert markdown_table(["x"], [["a|b"]]).splitlines()[-1] == r"| a\|b |"


def test_rows_of_another_length_than_the_header_are_refused():
    with pytest.raises(ValueError, match="zip"):
        markdown_table(["x", "y"], [["1"]])


def test_a_csv_is_read_as_it_was_written(tmp_path):
    rows = [{"guide": 'householder(flows=2), "best"', "elbo": -1.5}, {"guide": "laplace", "gap": 0.1 + 0.2}]
    write_csv(tmp_path / "report.csv", rows)
    with (tmp_path / "report.csv").open(newline="", encoding="utf-8") as file:
        read = list(csv.DictReader(file))
    assert list(read[0]) == ["guide", "elbo", "gap"]
    assert [row["guide"] for row in read] == [row["guide"] for row in rows]
    assert [row["gap"] for row in read] == ["", repr(0.1 + 0.2)]
    with pytest.raises(InputError, match="cannot be written"):
        write_csv(tmp_path / "missing" / "report.csv", rows)
