"""`backtest`: good files, bad files, the table, the records, the picture."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

from streams import backtest
from streams.backtest import SeriesFileError, read_series, read_truth
from streams.commands.backtest import command

DAY = 1440
FIRST = 28_000_080 // DAY * DAY
BREAK = 3 * DAY + 700


def write(path, rows, header="ts,series,visitors,conversions"):
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def month(tmp_path_factory):
    rng = np.random.default_rng(1)
    n = rng.poisson(200.0, 4 * DAY)
    share = np.ones(4 * DAY)
    share[BREAK : BREAK + 120] = 0.4
    x = rng.poisson(n * 0.04 * share)
    path = tmp_path_factory.mktemp("series") / "shop.csv"
    return write(path, [f"{(FIRST + i) * 60},shop,{n[i]},{x[i]}" for i in range(4 * DAY)])


@pytest.mark.parametrize(
    ("rows", "header", "message"),
    [
        (["1,a,2"], "ts,series,visitors", r"s\.csv:1: column conversions missing"),
        (["60,a,2,1", "120,a,-2,0"], None, r"s\.csv:3: visitors: -2 is negative"),
        (["60,a,2,NaN"], None, r"s\.csv:2: conversions: 'NaN' is not a number"),
        (["60,a,2,"], None, r"s\.csv:2: conversions: '' is not a number"),
        (["60,a,inf,1"], None, r"s\.csv:2: visitors: 'inf' is not a number"),
        (["soon,a,2,1"], None, r"s\.csv:2: ts: 'soon' is not a number"),
        (["60,,2,1"], None, r"s\.csv:2: series: empty"),
        (["60,a,2"], None, r"s\.csv:2: 3 cells instead of 4"),
        (
            ["60,a,2,1", "61,a,3,1"],
            None,
            r"s\.csv:3: minute 60 of series 'a' again, with other numbers than in line 2",
        ),
        (["60,a,2,5", "120,a,2,3"], None, r"series 'a' has more conversions than visitors in all"),
        (["60,a,2,1", "1700000000000,a,2,1"], None, r"spans .* years"),
        ([], None, r"no rows"),
    ],
)
def test_bad_file_is_an_error_with_its_line(tmp_path, rows, header, message):
    path = write(tmp_path / "s.csv", rows, header or "ts,series,visitors,conversions")
    with pytest.raises(SeriesFileError, match=message):
        read_series(path)


def test_gaps_disorder_repeats_and_odd_counts_have_a_defined_meaning(tmp_path):
    rows = ["300,a,9,1", "60,a,10,1", "60,a,10,1", "120,a,0,2", "240,a,1,2"]
    data = read_series(write(tmp_path / "s.csv", rows))
    assert data.first == 1
    assert data.visitors[:, 0].tolist()[:2] == [10, 0]
    assert np.isnan(data.visitors[2, 0])
    assert data.conversions[:, 0].tolist() == [1, 2, 0, 2, 1]
    assert len(data.notes) == 3


def test_unordered_file_gives_the_same_arrays(tmp_path, month):
    lines = month.read_text().splitlines()
    mixed = [lines[0], *np.random.default_rng(0).permutation(lines[1:])]
    other = tmp_path / "s.csv"
    other.write_text("\n".join(mixed) + "\n")
    assert (read_series(other).visitors == read_series(month).visitors).all()


def test_renamed_series_is_noticed_and_is_not_stale(tmp_path):
    rows = [f"{60 * i},{'old' if i < 100 else 'new'},20,1" for i in range(1, 200)]
    data = read_series(write(tmp_path / "s.csv", rows))
    assert any("renamed" in note for note in data.notes)
    assert backtest.run(data, backtest.DetectionConfig()).records == []


def test_group_gets_its_whole(tmp_path):
    rows = ["60,m,5,1,device,mobile", "60,d,7,1,device,desktop", "120,m,6,0,device,mobile"]
    data = read_series(write(tmp_path / "s.csv", rows, "ts,series,visitors,conversions,group,segment"))
    assert data.names == ["m", "d", "device"]
    assert data.visitors[:, 2].tolist() == [12, 6]
    assert data.keys[2].is_whole


def test_command_finds_the_drop_and_writes_records_and_picture(tmp_path, month):
    truth = write(
        tmp_path / "t.csv",
        [f"shop,{(FIRST + BREAK) * 60},{(FIRST + BREAK + 120) * 60},0.6"],
        "series,start,end,drop",
    )
    out, plot = tmp_path / "alerts.jsonl", tmp_path / "p.svg"
    args = ["--series", str(month), "--truth", str(truth), "--out", str(out), "--plot", str(plot)]
    result = CliRunner().invoke(command, args)
    assert result.exit_code == 0, result.output
    header, row = result.output.splitlines()[:2]
    assert header.split()[:2] == ["series", "goal"]
    assert row.split()[:2] == ["shop", "conversion"]
    records = [json.loads(line) for line in out.read_text().splitlines()]
    assert [r["state"] for r in records if r["state"] != "updated"] == ["firing", "resolved"]
    wanted = "alert_id state kind goal dimension value series raised_at onset_at resolved_at observed_ratio expected_ratio"
    wanted += " probability lost_conversions segments release summary"
    assert set(wanted.split()) <= set(records[0])
    assert records[0]["series"] == "shop"
    assert plot.read_text().startswith("<?xml")


def test_json_and_limits(month):
    result = CliRunner().invoke(command, ["--series", str(month), "--limits", "--json"])
    (row,) = json.loads(result.output)["series"]
    assert row["conversions_per_hour"] == pytest.approx(480, rel=0.05)
    assert row["1_day"] <= row["1_hour"] <= row["10_minutes"] <= 1


def test_truth_of_an_unknown_series_is_an_error(tmp_path, month):
    truth = write(tmp_path / "t.csv", ["shap,0,60,0.6"], "series,start,end,drop")
    result = CliRunner().invoke(command, ["--series", str(month), "--truth", str(truth)])
    assert result.exit_code != 0
    assert "shap" in str(result.exception)


@pytest.mark.parametrize("row", ["shop,60,60,0.5", "shop,0,x,0.5"])
def test_bad_truth_is_an_error_with_its_line(tmp_path, row):
    with pytest.raises(SeriesFileError, match=r"t\.csv:2"):
        read_truth(write(tmp_path / "t.csv", [row], "series,start,end,drop"))


def test_usage_without_a_file_is_exit_2():
    assert CliRunner().invoke(command, []).exit_code == 2
