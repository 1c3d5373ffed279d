"""What the benchmark of flows makes of figures: quantiles, ratios, bars, tables, plots, page."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from nfsnitch.adapters.rulefile import load, system_names
from nfsnitch.lab.benching import command, page
from nfsnitch.lab.benching.amounts import FULL, QUICK, Amounts
from nfsnitch.lab.benching.bars import bars
from nfsnitch.lab.benching.cases import (
    CACHED,
    NFSNITCH,
    NONE,
    PYTHON_WORKER,
    TRACKING,
    all_cases,
)
from nfsnitch.lab.benching.figures import Connects, added, medians, quantile, ratio
from nfsnitch.lab.benching.machine import is_emulated
from nfsnitch.lab.benching.result import Measured, Result
from nfsnitch.lab.benching.rule_files import rules_text
from nfsnitch.lab.benching.tables import as_markdown, as_text, tables

MACHINE: dict[str, str | int | bool] = {
    "kernel": "6.12.1",
    "processor": "one of <them>",
    "processors": 2,
    "memory_gib": 8,
    "python": "3.11.2",
    "streams_by": "bench_send",
    "emulated": False,
}
LATENCY = {"connect_p50_us": 20.0, "connect_p99_us": 40.0, "connect_max_us": 90.0}


def measured(title: str, **figures: float) -> Measured:
    return Measured(title, figures, (figures,))


def result(python_us: float = 50.0, ours_us: float = 60.0) -> Result:
    cases = {
        NONE: measured("no firewall", **LATENCY, tcp_mbit_s=1000.0),
        PYTHON_WORKER: measured("Python worker", **LATENCY | {"connect_p50_us": python_us}),
        NFSNITCH: measured(
            "nfsnitch", **LATENCY | {"connect_p50_us": ours_us}, cpu_s_per_1000=0.05
        ),
        CACHED: measured("decided before", tcp_mbit_s=995.0, idle_percent=0.5),
        "absent": Measured("absent one", {}, (), "it is not installed"),
    }
    return Result(MACHINE, "2026-01-02", 3, 12.5, cases)


@pytest.mark.parametrize(
    ("share", "expected"), [(0.0, 1), (0.5, 50), (0.9, 90), (0.99, 99), (1.0, 100)]
)
def test_a_quantile_is_the_smallest_value_that_so_many_do_not_exceed(
    share: float, expected: int
) -> None:
    assert quantile(range(1, 101), share) == expected


def test_what_the_connector_says_is_read_with_its_quantiles_in_microseconds() -> None:
    connects = Connects.read("2000000000 3 1\n3000\n1000\n2000\n")

    assert (connects.count, connects.per_s) == (4, 1.5)
    assert connects.quantiles("connect") == {
        "connect_p50_us": 2.0,
        "connect_p90_us": 3.0,
        "connect_p99_us": 3.0,
        "connect_max_us": 3.0,
    }


@pytest.mark.parametrize("text", ["", "1 0 5\n", "1 2 0\n7\n", "none\n"])
def test_a_connector_that_made_no_connection_or_was_cut_short_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="not a time of"):
        Connects.read(text)


def test_the_median_is_over_the_rounds_that_have_the_figure() -> None:
    assert medians([{"a": 1.0, "b": 5.0}, {"a": 9.0}, {"a": 2.0}]) == {"a": 2.0, "b": 5.0}


def test_what_is_added_and_its_ratio_are_unknown_where_a_figure_is_missing() -> None:
    assert added({"a": 5.0}, {"a": 3.0}, "a") == 2.0
    assert added({"a": 5.0}, {}, "a") is None
    assert ratio(6.0, 4.0) == 1.5
    assert ratio(6.0, 0.0) is None
    assert ratio(None, 4.0) is None


def test_a_result_comes_back_from_its_json_as_it_was() -> None:
    told = json.loads(json.dumps(result().as_json()))

    assert Result.from_json(told) == result()


def test_the_json_of_another_version_is_refused() -> None:
    with pytest.raises(ValueError, match="schema 0 is not 1"):
        Result.from_json({**result().as_json(), "schema": 0})


def test_bars_are_kept_or_missed_by_ratios_within_the_run() -> None:
    def outcome(python_us: float, ours_us: float) -> dict[str, bool]:
        return {bar.what: bar.is_kept for bar in bars(result(python_us, ours_us))}

    p50 = "each decided by the daemon: added latency, p50, 1 client, to the Python worker's"
    assert outcome(50, 64)[p50]
    assert not outcome(50, 66)[p50]
    assert outcome(50, 64)["established TCP, to no firewall's"]
    assert not outcome(50, 64)["idle"]


def test_tables_show_what_is_added_and_leave_out_who_has_no_figure() -> None:
    latency, *others = tables(result())

    assert [row[0] for row in latency.rows] == ["no firewall", "Python worker", "nfsnitch"]
    assert [row[1] for row in latency.rows] == ["20", "30", "40"]
    assert latency.rows[2][latency.head.index("p50 x Python")] == "1.33"
    assert all("absent one" not in as_text(table) for table in others)
    assert len({line.count("|") for line in as_markdown(latency).splitlines()[2:]}) == 1


def test_plots_are_well_formed_and_have_a_bar_for_each_figure() -> None:
    drawn = page.plots(result())

    bars_drawn = ET.fromstring(drawn["connect"]).findall("{*}rect")  # noqa: S314  made here
    # The ground, three in the legend, and p50, p99 and max of two contenders.
    assert len(bars_drawn) == 1 + 3 + 6
    assert set(drawn) == {"connect", "crowd", "cpu"}


@pytest.mark.parametrize(
    ("vendor", "clocks", "emulated"),
    [
        ("QEMU", "tsc hpet acpi_pm", True),
        ("QEMU", "kvm-clock tsc hpet acpi_pm", False),
        ("LENOVO", "tsc hpet acpi_pm", False),
        (None, "arch_sys_counter", False),
    ],
)
def test_an_emulated_machine_is_known_by_the_clock_that_it_lacks(
    tmp_path: Path, vendor: str | None, clocks: str, *, emulated: bool
) -> None:
    files = {"devices/system/clocksource/clocksource0/available_clocksource": clocks}
    files |= {} if vendor is None else {"class/dmi/id/sys_vendor": vendor}
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(f"{text}\n")

    assert is_emulated(tmp_path) is emulated


def test_what_a_repeated_flow_costs_is_told_apart_from_what_tracking_does() -> None:
    cases = {
        NONE: measured("no firewall", connect_p50_us=10.0),
        TRACKING: measured("tracking", connect_p50_us=12.5),
        CACHED: measured("decided before", connect_p50_us=15.0),
    }
    native = Result(MACHINE, "2026-01-02", 1, 9.0, cases)
    emulated = Result({**MACHINE, "emulated": True}, "2026-01-02", 1, 9.0, cases)

    assert [(bar.value, bar.is_kept) for bar in bars(native)] == [(2.5, True), (5.0, False)]
    assert bars(emulated) == []  # there times mean nothing, only their ratios do


def docs_in(folder: Path) -> Path:
    (folder / "performance.md").write_text(f"before\n{page.BEGIN}\nold\n{page.END}\nafter\n")
    return folder


def test_the_page_changes_between_its_marks_alone_and_keeps_other_machines(tmp_path: Path) -> None:
    docs = docs_in(tmp_path)
    page.write(result(), docs)
    emulated = Result({**MACHINE, "emulated": True}, "2026-01-03", 1, 9.0, result().cases)
    page.write(emulated, docs)
    page.write(result(ours_us=70), docs)

    text = (docs / "performance.md").read_text("utf-8")
    assert text.startswith(f"before\n{page.BEGIN}\n")
    assert text.endswith(f"{page.END}\nafter\n")
    assert text.count("### Linux 6.12.1") == 2
    assert "old" not in text.split(page.BEGIN)[1]
    # Each as it was measured: the other machine's are read from what was kept.
    for part in text.split("### Linux 6.12.1")[1:]:
        table = part.partition("New connections, 1 client")[2]
        places = [
            table.index(f"| {name} |") for name in ("no firewall", "Python worker", "nfsnitch")
        ]
        assert places == sorted(places)
    assert "- absent one: not measured: it is not installed" in text
    assert set(json.loads((docs / "performance.json").read_text("utf-8"))) == {
        "linux-6.12",
        "linux-6.12-emulated",
    }
    for line in text.splitlines():
        if line.startswith("!["):
            assert (docs / line.partition("(")[2].rstrip(")")).is_file()


def test_a_page_without_its_marks_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "performance.md").write_text("nothing here\n")

    with pytest.raises(ValueError, match="needs one line"):
        page.write(result(), tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == ["performance.md"]


@pytest.mark.parametrize("amounts", [FULL, QUICK], ids=["full", "quick"])
def test_contenders_have_names_and_titles_of_their_own(amounts: Amounts) -> None:
    cases = all_cases(amounts)

    assert len({case.name for case in cases}) == len({case.title for case in cases}) == len(cases)
    assert cases[0].name == NONE


def test_the_rules_are_as_many_as_asked_for_and_the_last_one_decides(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(rules_text(100, [Path("/opt/one"), Path("/opt/two")]), "utf-8")

    rules = load([path], system_names()).rules

    assert len(rules) == 100
    assert rules[-1].name == "bench"


def test_the_figures_of_an_earlier_run_are_shown_without_measuring(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "kept.json"
    kept.write_text(json.dumps(result().as_json()), "utf-8")

    status = command.main(["--from", str(kept), "--json", str(tmp_path / "again.json")])

    assert status == 1  # idle, it does too much
    assert "MISSED" in capsys.readouterr().out
    assert (tmp_path / "again.json").read_text("utf-8")
    again = json.loads((tmp_path / "again.json").read_text("utf-8"))
    assert again == json.loads(kept.read_text("utf-8"))


def test_an_unknown_contender_is_refused_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--only", "somebody"]) == 2
    assert "no such contender: somebody" in capsys.readouterr().err
