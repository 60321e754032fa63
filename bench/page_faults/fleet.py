"""Faults of vantages, Redis, files, the CDN and servers, on a site of processes."""

from bench.page_faults import fleet_acts as acts
from bench.page_faults.fleet_site import FleetSite, running
from bench.page_faults.site import (
    Fault,
    Stage,
    in_turn,
    repairs,
)
from router.ops.findings import FindingKind
from tests.support.builders import CITIES
from tests.support.stand_in import SECRET

STALE_WITHIN_S, STATIC_WITHIN_S = 60.0, 180.0


_FAULTS: tuple[Fault[FleetSite], ...] = (
    Fault(
        name="edge: its certificate has expired",
        kind=FindingKind.DOWN,
        inject=acts.show("expired"),
        follow=acts.renew_certificate,
    ),
    Fault(
        name="edge: never worked",
        kind=FindingKind.NEVER_WORKED,
        inject=acts.add_edge,
        follow=in_turn(acts.checks("chi-01", "--probe"), acts.correct_endpoint),
        restore=acts.remove_edge,
    ),
    Fault(
        name="edge: not routable, and down",
        kind=FindingKind.UNROUTABLE,
        inject=acts.make_unroutable,
        follow=acts.repair_unroutable,
        restore=acts.make_routable,
    ),
    Fault(
        name="edges: all fail, seen by three vantages",
        kind=FindingKind.FAIL_OPEN,
        inject=lambda site: site.mode("down", *CITIES),
        follow=repairs(*CITIES),
    ),
    Fault(
        name="vantage: it alone sees an edge down",
        kind=FindingKind.SPLIT,
        inject=acts.set_partial_mode("down", "nyc-01"),
        follow=acts.set_partial_mode("healthy", "nyc-01"),
        restore=repairs("nyc-01"),
    ),
    Fault(
        name="vantage: its witness and most edges fail",
        kind=FindingKind.ISOLATION,
        inject=acts.isolate,
        follow=acts.mend_network,
        restore=repairs(*CITIES),
    ),
    Fault(
        name="vantage: its poller has no open files left",
        kind=FindingKind.LOCAL,
        inject=acts.limit_files(acts.FEW_FILES),
        follow=acts.limit_files(None),
    ),
    Fault(
        name="vantage: its poller is killed",
        kind=FindingKind.VANTAGE_SILENT,
        inject=acts.kill_poller,
        follow=lambda site: site.all.poll(acts.VANTAGE),
    ),
    Fault(
        name="Redis: stops",
        kind=FindingKind.STORE,
        inject=lambda site: site.all.redis.kill(),
        follow=lambda site: site.all.redis.start(),
    ),
    Fault(
        name="files: regions.yaml is refused",
        kind=FindingKind.RELOAD,
        inject=acts.edit(latitude=91),
        follow=in_turn(acts.checks("latitude"), acts.edit(latitude=43.6532)),
    ),
    Fault(
        name="files: the geo database is refused",
        kind=FindingKind.RELOAD,
        inject=acts.replace("geo.mmdb", lambda: b"no database"),
        follow=in_turn(acts.checks("geo.mmdb"), acts.renew_database),
    ),
    Fault(
        name="files: a secret is refused",
        kind=FindingKind.RELOAD,
        inject=acts.replace("cdn-secret", lambda: b"short"),
        follow=in_turn(acts.checks("CDN_SECRET"), acts.replace("cdn-secret", SECRET.encode)),
    ),
    Fault(
        name="files: the geo database is old",
        kind=FindingKind.GEO_OLD,
        inject=acts.age_database,
        follow=acts.renew_database,
    ),
    Fault(
        name="files: feeds are old",
        kind=FindingKind.FEEDS_OLD,
        inject=acts.note_feeds(40),
        follow=acts.note_feeds(0),
    ),
    Fault(
        name="files: the state folder is gone",
        kind=FindingKind.STATE_DIR,
        inject=acts.block_state,
        follow=acts.mend_state,
    ),
    Fault(
        name="CDN: refuses purges",
        kind=FindingKind.PURGE,
        inject=acts.refuse_purges,
        follow=acts.accept_purges,
    ),
    Fault(
        name="server: a worker ends again and again",
        kind=FindingKind.WORKERS,
        inject=acts.repeat_on_workers(acts.kill_one_worker),
        follow=acts.stop_repeating_and_restart,
    ),
    Fault(
        name="server: its workers hang",
        kind=FindingKind.PUBLIC_SILENT,
        inject=acts.repeat_on_workers(acts.stop_workers),
        follow=acts.stop_repeating_and_restart,
    ),
    Fault(
        name="Redis: has a value of another program",
        kind=FindingKind.STORE_VALUES,
        inject=acts.write_foreign_value,
        follow=acts.delete_foreign_value,
        lasts=True,
    ),
    Fault(
        name="vantages: no poller runs",
        kind=FindingKind.STALE,
        inject=acts.kill_pollers,
        follow=acts.start_pollers,
        within_s=STALE_WITHIN_S,
    ),
    Fault(
        name="vantages: no poller runs for 2 minutes",
        kind=FindingKind.STATIC,
        inject=acts.kill_pollers,
        follow=acts.start_pollers,
        within_s=STATIC_WITHIN_S,
    ),
)

FLEET = Stage(name="fleet", start=running, faults=_FAULTS)
