"""The fault scenarios, and the promises that answers must keep in each."""

import asyncio
import math
import random
import signal
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import redis as redis_client

from router.health.guard import VantagePolicy
from router.health.publisher import LEASE_S
from router.health.state import HealthPolicy
from router.model import Check
from router.processes.simulated_edges import Mode
from router.routing.fleet import FleetPolicy
from tests.support.builders import CITIES
from tests.support.servers import eventually
from tests.support.site.fleet import EDGE, PROPAGATION_S, Setup, Site
from tests.support.site.viewers import Answer

FRESH_S, STALE_S = FleetPolicy().fresh_s, FleetPolicy().stale_s
HOLD_DOWN_S, HOLD_S = HealthPolicy().hold_down_s, VantagePolicy().hold_s
HOUR_S = 3_600
TAIL_S = 2.0  # observation time after the last promise
THIRD = dict.fromkeys(("yto-01", "yul-01", "nyc-01"), Mode.DOWN)
MOST = dict.fromkeys(("yto-01", "yto-02", "yul-01", "yul-02", "nyc-01", "dal-01"), Mode.DOWN)
ALL = dict.fromkeys(CITIES, Mode.DOWN)
SLOW_S = 0.7


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """A condition on answers whose requests were sent in a time span.

    The span begins `from_s` after the mark `since`. It ends after `for_s` or at the mark
    `until`. With `from_s` infinite the promise is only measured.
    """

    about: str
    is_kept: Callable[[Answer], bool]
    from_s: float = 0.0
    for_s: float = math.inf
    since: str = "fault"
    until: str = "end"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One fault. `act` injects it and waits. Its first mark is `fault`. The first promise is
    measured."""

    name: str
    act: Callable[[Site], Awaitable[None]]
    promises: Callable[[Site], Sequence[Promise]]
    setup: Setup = Setup()
    vantages: tuple[int, ...] = (1, 2, 3)


# Promises


def not_named(*edges: str, **when: float | str) -> Promise:
    """No answer names the edges."""
    left_out = frozenset(edges)
    about = f"{', '.join(edges)} in no answer"
    return _promise(about, lambda answer: left_out.isdisjoint(answer.named), when)


def not_picked(**when: float | str) -> Promise:
    """No answer has EDGE as its first choice."""
    return _promise(f"{EDGE} never picked", lambda answer: answer.region != EDGE, when)


def listed(edges: Iterable[str] = (EDGE,), **when: float | str) -> Promise:
    """Every answer to a query with `all=true` lists the edges."""
    wanted = frozenset(edges)
    about = "every edge listed" if len(wanted) == len(CITIES) else f"{', '.join(wanted)} listed"
    return _promise(about, lambda answer: not answer.is_list or wanted.issubset(answer.named), when)


def status(*statuses: str, **when: float | str) -> Promise:
    """Each answer has one of the statuses."""
    return _promise(
        f"status {' or '.join(statuses)}", lambda answer: answer.status in statuses, when
    )


def unchanged(site: Site, **when: float | str) -> Promise:
    """Each answer names the same edges as before the fault."""
    before = {question: answer.named for question, answer in site.baseline.items()}
    about = "answers as before"
    return _promise(about, lambda answer: answer.named == before[answer.question], when)


def _promise(
    about: str, is_kept: Callable[[Answer], bool], when: Mapping[str, float | str]
) -> Promise:
    return Promise(about=about, is_kept=is_kept, **when)  # type: ignore[arg-type]


# Edges


async def break_edges(site: Site, modes: Mapping[str, Mode], watch_s: float) -> None:
    """Set the modes of edges and wait."""
    site.mark("fault")
    await site.set_modes(modes)
    await asyncio.sleep(watch_s)


def broken(name: str, modes: Mapping[str, Mode], probe_s: float = 0.0) -> Scenario:
    """Less than half of the edges fail every probe, each probe after `probe_s`."""

    async def act(site: Site) -> None:
        await break_edges(site, modes, site.pace.caught_s(probe_s) + TAIL_S)

    return Scenario(
        name=name,
        act=act,
        promises=lambda site: [not_named(*modes, from_s=site.pace.caught_s(probe_s)), status("ok")],
    )


async def let_expire(site: Site) -> None:
    """The certificate of EDGE expires."""
    site.mark("fault")
    if site.door is not None:
        site.door.show("expired")
    await asyncio.sleep(site.pace.caught_s() + TAIL_S)


def _slowed_s(site: Site) -> float:
    """Time until a slow edge is detected: two probes, at most one interval apart."""
    return 2.2 * site.pace.interval_s + SLOW_S + 0.3 + PROPAGATION_S + site.pace.slack_s


async def slow_down(site: Site) -> None:
    """EDGE responds slowly."""
    site.fleet.edges[EDGE].delay_s = SLOW_S
    await break_edges(site, {EDGE: Mode.SLOW}, _slowed_s(site) + TAIL_S)


async def degrade(site: Site) -> None:
    """EDGE reports that it is degraded."""
    await break_edges(site, {EDGE: Mode.DEGRADED}, site.pace.caught_s() + TAIL_S)


async def lose_probes(site: Site) -> None:
    """EDGE resets one connection in five at random for half a minute."""
    edge, rng = site.fleet.edges[EDGE], random.Random(1)
    site.mark("fault")
    for _ in range(300):
        await edge.set_mode(Mode.RESET if rng.random() < 0.2 else Mode.HEALTHY)
        await asyncio.sleep(0.1)
    await edge.set_mode(Mode.HEALTHY)
    site.mark("healed")
    await asyncio.sleep(_back_s(site) + TAIL_S)


async def blip(site: Site) -> None:
    """EDGE is down for two thirds of one poll interval."""
    site.mark("fault")
    await site.set_modes({EDGE: Mode.DOWN})
    await asyncio.sleep(site.pace.interval_s * 2 / 3)
    await site.set_modes({EDGE: Mode.HEALTHY})
    site.mark("healed")
    await asyncio.sleep(_back_s(site) + TAIL_S)


def _back_s(site: Site) -> float:
    """The longest time until an edge that fell once and works again is offered."""
    return HOLD_DOWN_S + site.pace.caught_s()


async def flap(site: Site) -> None:
    """EDGE is down for 8 s and up for 4 s, three times."""
    site.mark("fault")
    for _ in range(3):
        await site.set_modes({EDGE: Mode.DOWN})
        await asyncio.sleep(8)
        await site.set_modes({EDGE: Mode.HEALTHY})
        await asyncio.sleep(4)
    site.mark("healed")
    await asyncio.sleep(site.pace.caught_s() + TAIL_S)


def most_caught_s(site: Site) -> float:
    """Time until the fall of most edges is accepted. A single vantage waits two minutes. With
    several vantages, each must first read that another one sees the same."""
    if len(site.vantages) == 1:
        return site.pace.caught_s() + HOLD_S + site.pace.publish_s
    return site.pace.caught_s() + 2 * site.pace.publish_s


async def break_and_mend_all(site: Site) -> None:
    """Break every edge, and repair them once the fall is accepted."""
    await break_edges(site, ALL, most_caught_s(site))
    await site.set_modes(dict.fromkeys(ALL, Mode.HEALTHY))
    site.mark("mended")
    await asyncio.sleep(_back_s(site) + TAIL_S)


# Vantages


async def kill_poller(site: Site) -> None:
    """Kill the last vantage's poller and break EDGE."""
    site.mark("fault")
    site.pollers[site.last].kill()
    await site.set_modes({EDGE: Mode.DOWN})
    alone = len(site.vantages) == 1
    await asyncio.sleep(STALE_S + 5 if alone else _without_one_s(site) + TAIL_S)


def _without_one_s(site: Site) -> float:
    """Time until an edge that broke with one poller dead is removed. With two vantages, the
    vote of the dead poller must expire. With three, two votes are enough."""
    aged_s = FRESH_S + PROPAGATION_S + site.pace.slack_s
    return aged_s if len(site.vantages) == 2 else site.pace.caught_s()


def promises_while_doubted(site: Site) -> list[Promise]:
    """While a single vantage delays removals, health is stale. With two it stays ok."""
    if len(site.vantages) > 1:
        return [status("ok")]
    from_s = site.pace.caught_s() + FRESH_S + PROPAGATION_S
    return [status("ok", "stale"), status("stale", from_s=from_s, for_s=HOLD_S - from_s)]


def promises_without_poller(site: Site) -> list[Promise]:
    """The promises after `kill_poller`."""
    if len(site.vantages) == 1:
        return promises_while_ageing(site)
    return [not_named(EDGE, from_s=_without_one_s(site)), status("ok")]


def promises_while_ageing(site: Site) -> list[Promise]:
    """The promises while health is not updated. It may be up to 4 s old at the start."""
    return [
        status("static", from_s=STALE_S + PROPAGATION_S, until="mended"),
        status("ok", for_s=FRESH_S - 4, until="mended"),
        status(
            "stale", from_s=FRESH_S + PROPAGATION_S, for_s=STALE_S - FRESH_S - 6, until="mended"
        ),
    ]


async def kill_leader(site: Site) -> None:
    """Kill the poller that publishes and break EDGE. Another poller stands by."""
    leader = await site.leader(site.vantages[0])
    site.mark("fault")
    leader.kill()
    await site.set_modes({EDGE: Mode.DOWN})
    await asyncio.sleep(_taken_over_s(site) + TAIL_S)


async def pause_leader(site: Site, pause_s: float) -> None:
    """Stop the poller that publishes and break EDGE. Another poller takes over, then the first
    one resumes."""
    leader = await site.leader(site.vantages[0])
    site.mark("fault")
    leader.send(signal.SIGSTOP)
    await site.set_modes({EDGE: Mode.DOWN})
    await asyncio.sleep(max(pause_s, _taken_over_s(site)))
    leader.send(signal.SIGCONT)
    site.mark("resumed")
    await asyncio.sleep(site.pace.caught_s() + TAIL_S)


def _taken_over_s(site: Site) -> float:
    """Time until another poller has the lease: the lease expires, then the next publication."""
    return LEASE_S + 2 * site.pace.publish_s + PROPAGATION_S + site.pace.slack_s


def promises_after_takeover(site: Site) -> list[Promise]:
    """EDGE is removed and does not come back. Nothing else changes."""
    rest = [id for id in CITIES if id != EDGE]
    return [not_named(EDGE, from_s=_taken_over_s(site)), status("ok"), listed(rest)]


async def break_monitor(site: Site, modes: Mapping[str, Mode], watch_s: float) -> None:
    """Only the last vantage sees edges fail. Its witness, if it has one, fails too."""
    site.mark("fault")
    await site.witness.set_mode(Mode.DOWN)
    for id, mode in modes.items():
        await site.partial.edges[id].set_mode(mode)
    await asyncio.sleep(watch_s)


# Redis


async def kill_redis(site: Site) -> None:
    """Kill Redis. It restarts empty after a long time."""
    site.mark("fault")
    await asyncio.to_thread(site.redis.kill)
    await asyncio.sleep(STALE_S + 8)
    site.mark("mended")
    await asyncio.to_thread(site.redis.start)
    await asyncio.sleep(_reconnected_s(site) + TAIL_S)


def _reconnected_s(site: Site) -> float:
    """Time until every server has a new view: the next publication and the propagation."""
    return 2 * site.pace.publish_s + PROPAGATION_S + site.pace.slack_s


async def hang_redis(site: Site, hang_s: float) -> None:
    """Redis accepts connections and does not reply, then resumes."""
    site.mark("fault")
    site.redis.pause()
    await asyncio.sleep(hang_s)
    site.redis.resume()
    site.mark("mended")
    await asyncio.sleep(_reconnected_s(site) + TAIL_S)


def promises_after_hang(site: Site) -> list[Promise]:
    """Redis was unreachable and works again. Only the status shows it."""
    mended_s = _reconnected_s(site)
    return [
        status("ok", since="mended", from_s=mended_s),
        status("ok", "stale"),
        unchanged(site),
    ]


async def empty_redis(site: Site) -> None:
    """Kill Redis, restart it empty at once, then break EDGE."""
    await asyncio.to_thread(site.redis.kill)
    await asyncio.to_thread(site.redis.start)
    await break_edges(site, {EDGE: Mode.DOWN}, site.pace.caught_s() + TAIL_S)


async def load_redis(site: Site, keys: int) -> None:
    """Redis restarts with old data, in which EDGE is up.

    Redis saves, EDGE breaks and is removed, Redis is killed. After its restart it is LOADING
    for 2 ms a key.
    """
    await asyncio.to_thread(_fill, site.redis.url, keys)
    site.mark("fault")
    await site.set_modes({EDGE: Mode.DOWN})
    await eventually(partial(_is_gone, site), site.pace.caught_s() + 1)
    await asyncio.to_thread(site.redis.kill)
    site.mark("loading")
    slowly = {"key_load_delay": "2000", "loading_process_events_interval_bytes": "1024"}
    await asyncio.to_thread(partial(site.redis.start, **slowly))
    site.mark("mended")
    await asyncio.sleep(_reconnected_s(site) + TAIL_S)


def _fill(url: str, keys: int) -> None:
    with redis_client.Redis.from_url(url) as client:
        client.mset({f"other:{number}": "x" for number in range(keys)})
        client.save()


async def _is_gone(site: Site) -> bool:
    documents = [await site.fleet_document(server) for server in site.servers]
    states = {one["id"]: one["state"] for each in documents for one in each["edges"]}
    return bool(states[EDGE] == "down")


async def fail_redis_over(site: Site) -> None:
    """Kill Redis and break EDGE. The Sentinel promotes the replica."""
    site.mark("fault")
    await asyncio.to_thread(site.redis.kill)
    await site.set_modes({EDGE: Mode.DOWN})
    await asyncio.sleep(_failed_over_s(site) + TAIL_S)


def _failed_over_s(site: Site) -> float:
    """Time until the new primary has a view: about 3 s for Sentinel, then a publication."""
    return max(4.0 + 2 * site.pace.publish_s, site.pace.caught_s()) + 2 + site.pace.slack_s


async def restart_without_redis(site: Site) -> None:
    """Break EDGE, wait until it is removed, kill Redis and restart a server."""
    site.mark("fault")
    await site.set_modes({EDGE: Mode.DOWN})
    await eventually(lambda: '"down"' in site.last_good(site.servers[0]), 30)
    await asyncio.to_thread(site.redis.kill)
    site.mark("killed")
    await site.restart(site.servers[0])
    site.mark("restarted")
    await asyncio.sleep(5)


# Clocks


async def set_clocks(site: Site, offset_s: int) -> None:
    """Shift clocks, break EDGE, then correct the clocks."""
    site.mark("fault")
    site.set_clocks(offset_s)
    await site.set_modes({EDGE: Mode.DOWN})
    await asyncio.sleep(site.pace.caught_s() + TAIL_S)
    site.set_clocks(0)
    site.mark("mended")
    await asyncio.sleep(_reconnected_s(site) + TAIL_S)


def promises_with_early_clock(site: Site) -> list[Promise]:
    """A timestamp in the future counts as new. After the clock is corrected, stored views look
    old until there is a newer one."""
    right_s = site.pace.caught_s()
    return [
        not_named(EDGE, from_s=right_s, until="mended"),
        status("ok", until="mended"),
        not_named(EDGE, since="mended", from_s=_reconnected_s(site)),
        status("ok", since="mended", from_s=_reconnected_s(site)),
    ]


def promises_with_wrong_clock(site: Site) -> list[Promise]:
    """Health looks an hour old. It is ignored until the clock is correct."""
    return [
        status("static", from_s=_reconnected_s(site), until="mended"),
        not_named(EDGE, since="mended", from_s=_reconnected_s(site)),
        status("ok", since="mended", from_s=_reconnected_s(site)),
    ]


async def set_clocks_back_while_down(site: Site) -> None:
    """EDGE falls and works again. Before its hold-down ends, all clocks are set back."""
    site.mark("fault")
    await site.set_modes({EDGE: Mode.DOWN})
    await asyncio.sleep(site.pace.caught_s() + 1)
    await site.set_modes({EDGE: Mode.HEALTHY})
    site.mark("healed")
    site.set_clocks(-HOUR_S)
    await asyncio.sleep(_back_s(site) + TAIL_S)


def _promises_after_clock_change(site: Site) -> list[Promise]:
    return [
        listed(since="healed", from_s=_back_s(site)),
        not_named(EDGE, from_s=site.pace.caught_s(), until="healed"),
        status("ok"),
    ]


SCENARIOS = [
    broken("refused", {EDGE: Mode.DOWN}),
    broken("reset", {EDGE: Mode.RESET}),
    broken("empty", {EDGE: Mode.EMPTY}),
    broken("5xx", {EDGE: Mode.ERROR}),
    broken("redirect", {EDGE: Mode.REDIRECT}),
    broken("html", {EDGE: Mode.HTML}),
    broken("garbage", {EDGE: Mode.GARBAGE}),
    broken("huge", {EDGE: Mode.HUGE}),
    broken("unhealthy", {EDGE: Mode.UNHEALTHY}),
    broken("backend-unhealthy", {EDGE: Mode.BACKEND_UNHEALTHY}),
    broken("hang", {EDGE: Mode.HANG}, Check().timeout_s),
    broken("trickle", {EDGE: Mode.TRICKLE}, Check().timeout_s),
    Scenario(
        name="expired-certificate",
        act=let_expire,
        promises=lambda site: [not_named(EDGE, from_s=site.pace.caught_s()), status("ok")],
        setup=Setup(tls=True),
    ),
    Scenario(
        name="slow",
        act=slow_down,
        promises=lambda site: [not_picked(from_s=_slowed_s(site)), listed(CITIES), status("ok")],
    ),
    Scenario(
        name="degraded",
        act=degrade,
        promises=lambda site: [not_picked(from_s=site.pace.caught_s()), listed(CITIES)],
    ),
    Scenario(
        name="loss-20",
        act=lose_probes,
        promises=lambda site: [listed(since="healed", from_s=_back_s(site)), status("ok")],
    ),
    Scenario(
        name="blip",
        act=blip,
        promises=lambda site: [listed(since="healed", from_s=_back_s(site)), status("ok")],
    ),
    Scenario(
        name="flap",
        act=flap,
        promises=lambda site: [
            not_named(EDGE, from_s=site.pace.caught_s(), for_s=HOLD_DOWN_S - 5),
            listed(since="healed", from_s=site.pace.caught_s()),
            status("ok"),
        ],
    ),
    broken("mass-30", THIRD),
    Scenario(
        name="mass-60",
        act=lambda site: break_edges(site, MOST, most_caught_s(site) + TAIL_S),
        promises=lambda site: [
            not_named(*MOST, from_s=most_caught_s(site)),
            *promises_while_doubted(site),
        ],
    ),
    Scenario(
        name="mass-100",
        act=lambda site: break_edges(site, ALL, most_caught_s(site) + TAIL_S),
        promises=lambda site: [
            status("fail_open", from_s=most_caught_s(site)),
            status("ok", "stale", "fail_open"),
        ],
    ),
    Scenario(
        name="mass-100-doubted",
        act=lambda site: break_edges(site, ALL, site.pace.caught_s() + TAIL_S),
        promises=lambda _: [status("ok")],
        vantages=(1,),
    ),
    Scenario(
        name="mass-100-mended",
        act=break_and_mend_all,
        promises=lambda site: [
            listed(CITIES, since="mended", from_s=_back_s(site)),
            status("ok", since="mended", from_s=_back_s(site)),
            status("ok", "fail_open"),
        ],
        vantages=(2,),
    ),
    Scenario(name="poller-killed", act=kill_poller, promises=promises_without_poller),
    Scenario(
        name="poller-killed-another-stands-by",
        act=kill_leader,
        promises=promises_after_takeover,
        setup=Setup(standby=True),
        vantages=(1,),
    ),
    Scenario(
        name="poller-paused-another-takes-over",
        act=partial(pause_leader, pause_s=30),
        promises=promises_after_takeover,
        setup=Setup(standby=True),
        vantages=(1,),
    ),
    Scenario(
        name="monitor-broken",
        act=lambda site: break_monitor(site, ALL, site.pace.caught_s() + TAIL_S),
        promises=lambda site: [unchanged(site), listed(CITIES), status("ok")],
        setup=Setup(partial=True),
        vantages=(2, 3),
    ),
    Scenario(
        name="monitor-broken-for-long",
        act=lambda site: break_monitor(site, ALL, HOLD_S + 20),
        promises=lambda site: [unchanged(site), listed(CITIES), status("ok")],
        setup=Setup(partial=True),
        vantages=(2, 3),
    ),
    Scenario(
        name="monitor-cut-off",
        act=lambda site: break_monitor(site, ALL, FRESH_S + 10),
        promises=lambda site: [unchanged(site), listed(CITIES), status("ok")],
        setup=Setup(partial=True, witness=True),
        vantages=(2, 3),
    ),
    Scenario(
        name="split-vote",
        act=lambda site: break_monitor(site, {EDGE: Mode.DOWN}, site.pace.caught_s() + TAIL_S),
        promises=lambda site: [
            not_picked(from_s=site.pace.caught_s()),
            listed(CITIES),
            status("ok"),
        ],
        setup=Setup(partial=True),
        vantages=(2, 3),
    ),
    Scenario(
        name="redis-killed",
        act=kill_redis,
        promises=lambda site: [
            *promises_while_ageing(site),
            status("ok", since="mended", from_s=_reconnected_s(site)),
            listed(CITIES),
        ],
        vantages=(1,),
    ),
    Scenario(
        name="redis-hung",
        act=partial(hang_redis, hang_s=25),
        promises=promises_after_hang,
        vantages=(1,),
    ),
    Scenario(
        name="redis-emptied",
        act=empty_redis,
        promises=lambda site: [not_named(EDGE, from_s=site.pace.caught_s()), status("ok")],
    ),
    Scenario(
        name="redis-loading",
        act=partial(load_redis, keys=8_000),
        promises=lambda site: [
            not_named(EDGE, since="loading"),
            status("ok", "stale"),
            status("ok", since="mended", from_s=_reconnected_s(site)),
        ],
        vantages=(1,),
    ),
    Scenario(
        name="redis-failed-over",
        act=fail_redis_over,
        promises=lambda site: [not_named(EDGE, from_s=_failed_over_s(site)), status("ok")],
        setup=Setup(sentinel=True),
        vantages=(1, 3),
    ),
    Scenario(
        name="restart-without-redis",
        act=restart_without_redis,
        promises=lambda _: [
            not_named(EDGE, since="restarted"),
            not_named(EDGE, since="killed"),
            status("ok", "stale"),
        ],
        vantages=(1,),
    ),
    *(
        Scenario(
            name=f"{command}-clock-{'ahead' if offset_s > 0 else 'behind'}",
            act=partial(set_clocks, offset_s=offset_s),
            promises=promises,
            setup=Setup(clocks=(command,)),
            vantages=(1,),
        )
        for command, offset_s, promises in (
            ("serve", HOUR_S, promises_with_wrong_clock),
            ("serve", -HOUR_S, promises_with_early_clock),
            ("poll", HOUR_S, promises_with_early_clock),
            ("poll", -HOUR_S, promises_with_wrong_clock),
        )
    ),
    Scenario(
        name="all-clocks-behind-while-down",
        act=set_clocks_back_while_down,
        promises=_promises_after_clock_change,
        setup=Setup(clocks=("serve", "poll")),
        vantages=(1,),
    ),
]
