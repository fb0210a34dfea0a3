"""What a benchmark's table promises: the exit code, and to go on where it stopped."""

from __future__ import annotations

import json

import pytest
import table
from table import Line, Skipped


@pytest.fixture
def tables(tmp_path, monkeypatch):
    monkeypatch.setattr(table, "TABLES", tmp_path)
    monkeypatch.delenv("ROW", raising=False)
    monkeypatch.delenv("QUICK", raising=False)
    return tmp_path


@pytest.mark.parametrize(
    ("line", "short"),
    [
        (Line("error", "%", 25, 24.9), False),
        (Line("error", "%", 25, 25.1), True),
        (Line("error", "%", 25, float("nan")), True),
        (Line("error", "%", 25, None), True),
        (Line("Dice", "", 0.93, 0.94, more_is_better=True), False),
        (Line("Dice", "", 0.93, 0.92, more_is_better=True), True),
        (Line("stage", "s", None, 7.0), False),
        (Line("on a GPU", "ms", 2.0, None, unmeasured="no GPU"), False),
    ],
)
def test_a_figure_out_of_reach_makes_the_benchmark_fail(tables, line, short):
    assert line.short is short
    assert table.run("b", {"row": lambda quick: [line]}) == int(short)


def test_rows_that_are_done_are_not_done_again_until_the_engine_changes(tables, monkeypatch):
    done = []

    def row(name):
        def work(quick):
            done.append(name)
            if name == "second" and len(done) == 2:
                raise KeyboardInterrupt
            return [Line(name, "s", 2.0, 1.0)]

        return work

    rows = {name: row(name) for name in ("first", "second")}
    with pytest.raises(KeyboardInterrupt):
        table.run("b", rows)
    assert list(json.loads((tables / "b.json").read_text())["rows"]) == ["first"]
    assert table.run("b", rows) == 0
    assert done == ["first", "second", "second"]
    monkeypatch.setenv("ROW", "first")
    table.run("b", rows)
    assert done[3:] == ["first"]
    monkeypatch.delenv("ROW")
    monkeypatch.setattr(table, "source_hash", lambda *folders: "another")
    table.run("b", rows)
    assert done[4:] == ["first", "second"]


def test_a_figure_that_could_not_be_measured_says_why_and_is_tried_again(tables, capsys):
    found = [Line("on a GPU", "ms", 2.0, None, unmeasured="no GPU"), Line("on a GPU", "ms", 2.0, 1.0, 9.0, beside="A")]
    rows = {"gpu": lambda quick: [found.pop(0)]}
    for said in ("not measured: no GPU", "9 A", "9 A"):
        assert table.run("b", rows) == 0
        assert said in capsys.readouterr().out


def test_quick_figures_stay_apart_and_a_skipped_row_says_why(tables, monkeypatch, capsys):
    def skipped(quick):
        raise Skipped("no data")

    monkeypatch.setenv("QUICK", "1")
    assert table.run("b", {"one": lambda quick: [Line("quick", "", 1.0, float(quick))], "two": skipped}) == 0
    assert (tables / "b-quick.json").exists() and not (tables / "b.json").exists()
    assert "two: skipped, no data" in capsys.readouterr().out


def test_an_unknown_row_is_named(tables, monkeypatch, capsys):
    monkeypatch.setenv("ROW", "third")
    assert table.run("b", {"first": lambda quick: []}) == 1
    assert "first" in capsys.readouterr().out
