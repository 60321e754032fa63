"""The faults of `make bench-dashboard`, and how their rows are saved."""

from pathlib import Path

import pytest

from bench import dashboard_faults
from bench.page_faults import table
from bench.page_faults.measure import Row
from router.ops.findings import FindingKind

# These need their own machine, another kind of edge, or a bug in a loop.
UNTRIED = {
    FindingKind.STARTING,
    FindingKind.UNKNOWN,
    FindingKind.ADDRESS,
    FindingKind.INVENTORY,
    FindingKind.LOOP,
    FindingKind.LOG,
    FindingKind.NOTHING,
}
RIGHT = Row(
    fault="Redis: stops",
    kind="store",
    named_s=1.25,
    headline="The store cannot be read",
    advice="Bring Redis back; servers reconnect automatically.",
    works=True,
    alert="AutorouterStoreUnreadable",
    fires=True,
)


def test_every_kind_of_finding_is_tried() -> None:
    tried = {fault.kind for stage in dashboard_faults.STAGES for fault in stage.faults}
    assert tried == set(FindingKind) - UNTRIED


def test_over_thirty_faults_have_unique_names() -> None:
    assert len(set(dashboard_faults.NAMES)) == len(dashboard_faults.NAMES) > 30


def test_rows_of_several_runs_are_kept_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table, "RESULTS", tmp_path / "dashboard.json")
    first, second = dashboard_faults.NAMES[:2]
    for name, seconds in ((second, 1.0), (first, 2.0), (second, 3.0)):
        table.keep(Row(fault=name, kind="down", named_s=seconds), dashboard_faults.NAMES)
    assert [(row.fault, row.named_s) for row in table.kept()] == [(first, 2.0), (second, 3.0)]


def test_table_shows_failures() -> None:
    missed = Row(fault="edge: flaps", kind="flapping", works=False, alert="A", fires=False)
    assert table.table([RIGHT, missed]).splitlines()[2:] == [
        "| Redis: stops | 1.2 s | The store cannot be read | Bring Redis back; servers reconnect "
        "automatically. | yes | `AutorouterStoreUnreadable` |",
        "| edge: flaps | never |  |  | no | `A`: does not fire |",
    ]
    assert [RIGHT.is_right, missed.is_right] == [True, False]
