"""What a good client of autorouter does, as scenarios against a scripted router and edges.

Every verdict comes from what the servers were asked, not from what the client says.
"""

import json
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from clients.conformance.servers import Answer, Scripted

PATIENCE_S = 20.0
SLOW_S = 4.0  # longer than a client may wait, for the router or for an edge
GET, POST = ("GET", "/v1/models"), ("POST", "/v1/chat/completions")
WORKS: dict[str, Any] = {
    "object": "list", "data": [], "id": "1", "created": 1, "model": "any",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}
    ],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}  # fmt: skip


class Client:
    """A client under test: a process that reads commands as JSON lines and answers each."""

    def __init__(self, command: Sequence[str], environ: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environ
        )

    def tell(self, **command: Any) -> dict[str, Any]:
        """Have it do something, and return what it says."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        told: dict[str, Any] = json.loads(self._process.stdout.readline())
        return told

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()


class World:
    """A router, the edges that it names, and the fallback of the client."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.edges = [Scripted(Answer(body=WORKS)) for _ in range(3)]
        self.fallback = Scripted(Answer(body=WORKS))
        self.router = Scripted(Answer(body=self.route(0, 1, 2)))

    def route(self, pick: int, *alternates: int, **changes: Any) -> dict[str, Any]:
        """A 200 of the router."""
        named = [
            {"region": f"r{at}", "name": f"R{at}", "country": "CA", "endpoint": self.edges[at].url}
            for at in (pick, *alternates)
        ]
        rest = {"ttl": 300, "scope": "country", "reason": "nearest_in_country",
                "crossed_border": False, "status": "ok", "alternates": named[1:]}  # fmt: skip
        return named[0] | rest | changes

    def create(self, **options: Any) -> None:
        """Make the client, at the start of an application."""
        self.client.tell(do="create", router=self.router.url, fallback=self.fallback.url, **options)

    def send(self, request: tuple[str, str] = GET) -> bool:
        """Have it send a request; whether that worked."""
        return bool(self.client.tell(do="request", method=request[0], path=request[1])["ok"])

    def send_together(self, count: int) -> bool:
        """Have it send so many requests at the same time; whether all worked."""
        told = self.client.tell(do="request", method=GET[0], path=GET[1], times=count)
        return bool(told["ok"])

    def advance(self, seconds: float) -> None:
        """Let so much time pass for the client."""
        self.client.tell(do="advance", seconds=seconds)

    @property
    def counts(self) -> tuple[int, ...]:
        """How many requests each edge got, and the fallback last."""
        return tuple(len(one.asked) for one in (*self.edges, self.fallback))

    def close(self) -> None:
        """Stop all servers."""
        for server in (self.router, self.fallback, *self.edges):
            server.stop()


Scenario = Callable[[World], bool]
SCENARIOS: dict[str, Scenario] = {}


def scenario(name: str) -> Callable[[Scenario], Scenario]:
    """Add a scenario, by the sentence it proves."""

    def add(run: Scenario) -> Scenario:
        SCENARIOS[name] = run
        return run

    return add


@scenario("sends requests to the pick")
def _(world: World) -> bool:
    world.create()
    return world.send() and world.send(POST) and world.counts == (2, 0, 0, 0)


@scenario("asks once within ttl")
def _(world: World) -> bool:
    world.create()
    sent = [world.send() for _ in range(5)]
    world.advance(200)
    return all([*sent, world.send()]) and len(world.router.asked) == 1


@scenario("asks again after ttl, and uses the new pick")
def _(world: World) -> bool:
    world.create()
    world.send()
    world.router.answer.body = world.route(1, 2)
    world.advance(301)
    return world.send() and world.counts == (1, 1, 0, 0)


@scenario("counts Age as a part of ttl")
def _(world: World) -> bool:
    world.router.answer.headers = {"Age": "290"}
    world.create()
    world.send()
    world.advance(11)
    return world.send() and len(world.router.asked) == 2


@scenario("asks once for simultaneous requests")
def _(world: World) -> bool:
    world.create()
    world.send()
    world.router.answer.delay_s = 0.5
    world.advance(301)
    return world.send_together(5) and len(world.router.asked) == 2


@scenario("uses the fallback while the router fails (500)")
def _(world: World) -> bool:
    world.router.answer = Answer(status=500)
    world.create()
    return world.send() and world.counts == (0, 0, 0, 1)


@scenario("uses the fallback while the router hangs, within 3 s")
def _(world: World) -> bool:
    world.router.answer.delay_s = SLOW_S
    world.create()
    return world.send() and world.counts == (0, 0, 0, 1)


@scenario("uses the fallback if an answer is invalid")
def _(world: World) -> bool:
    headless = world.route(0, 1) | {"endpoint": None}
    for body in ("<html>", "[]", {"region": "r0"}, {"endpoint": ""}, "null", headless):
        world.router.answer.body = body
        world.create()
        world.send()
    return world.counts == (0, 0, 0, 6)


@scenario("uses the fallback if a 404 is not the router's own")
def _(world: World) -> bool:
    world.router.answer = Answer(status=404, body="<html>")
    world.create()
    return world.send() and world.counts == (0, 0, 0, 1)


@scenario("does not follow a redirect of the router")
def _(world: World) -> bool:
    other = Scripted(Answer(body=world.route(1)))
    world.router.answer = Answer(status=302, headers={"Location": f"{other.url}/v1/route"})
    world.create()
    world.send()
    other.stop()
    return other.asked == [] and world.counts == (0, 0, 0, 1)


@scenario("uses a short ttl if the ttl is invalid")
def _(world: World) -> bool:
    for ttl in (0, -5, "300", 1e12, None):
        world.router.answer.body = world.route(0, 1, ttl=ttl)
        world.create()
        world.send()
        world.advance(301)
        world.send()
    return len(world.router.asked) == 10 and world.counts == (10, 0, 0, 0)


@scenario("keeps the pick after ttl while the router is unavailable")
def _(world: World) -> bool:
    world.create()
    world.send()
    world.router.stop()
    world.advance(3_600)
    return world.send() and world.counts == (2, 0, 0, 0)


@scenario("uses the router again after a failure")
def _(world: World) -> bool:
    world.create()
    world.send()
    world.router.stop()
    world.advance(3_600)
    world.send()
    world.router.start()
    world.router.answer.body = world.route(1)
    world.advance(400)
    return world.send() and world.counts == (2, 1, 0, 0)


@scenario("asks a failing router at increasing intervals")
def _(world: World) -> bool:
    world.router.answer = Answer(status=503)
    world.create()
    for _ in range(100):
        world.send()
        world.advance(1)
    return 2 <= len(world.router.asked) <= 12


@scenario("waits for Retry-After of a 503")
def _(world: World) -> bool:
    world.create()
    world.send()
    world.router.answer = Answer(
        status=503, body={"code": "no_edge"}, headers={"Retry-After": "600"}
    )
    for _ in range(10):
        world.advance(60 if len(world.router.asked) > 1 else 301)
        world.send()
    return len(world.router.asked) == 2 and world.counts == (11, 0, 0, 0)


@scenario("limits the wait for Retry-After")
def _(world: World) -> bool:
    world.router.answer = Answer(status=503, headers={"Retry-After": "9" * 400})
    world.create()
    world.send()
    world.advance(3_700)
    world.send()
    return len(world.router.asked) == 2


@scenario("reports a 404 to the application, and sends nothing")
def _(world: World) -> bool:
    world.router.answer = Answer(status=404, body={"detail": "-", "code": "model_unavailable"})
    world.create(model="rare")
    return not world.send() and world.counts == (0, 0, 0, 0)


@scenario("sends the model to the router")
def _(world: World) -> bool:
    world.create(model="kokoro")
    world.send()
    return [asked.path for asked in world.router.asked] == ["/v1/route?model=kokoro"]


@scenario("uses answers that are stale, static or fail_open")
def _(world: World) -> bool:
    odd = [*world.route(0, 1)["alternates"], None, "r2", {"endpoint": 7}]
    for status in ("stale", "static", "fail_open", "not known yet"):
        world.router.answer.body = world.route(
            0, 1, ttl=30, status=status, reason="new", new=[1], alternates=odd
        )
        world.create()
        world.send()
    return world.counts == (4, 0, 0, 0)


@scenario("uses an alternate if the pick refuses connections (GET)")
def _(world: World) -> bool:
    world.edges[0].stop()
    world.create()
    return world.send() and world.counts == (0, 1, 0, 0)


@scenario("uses an alternate if the pick refuses connections (POST)")
def _(world: World) -> bool:
    world.edges[0].stop()
    world.create()
    return world.send(POST) and world.counts == (0, 1, 0, 0)


@scenario("skips alternates that fail")
def _(world: World) -> bool:
    world.edges[0].stop()
    world.edges[1].stop()
    world.create()
    return world.send(POST) and world.counts == (0, 0, 1, 0)


@scenario("retries a GET at another edge after 502, 503 and 504")
def _(world: World) -> bool:
    for status in (502, 503, 504):
        world.edges[0].answer = Answer(status=status)
        world.create()
        if not world.send():
            return False
    return world.counts == (3, 3, 0, 0)


@scenario("does not retry a POST that an edge may have done (503)")
def _(world: World) -> bool:
    world.edges[0].answer = Answer(status=503)
    world.create()
    return not world.send(POST) and world.counts == (1, 0, 0, 0)


@scenario("retries a GET at another edge if the connection breaks")
def _(world: World) -> bool:
    world.edges[0].answer = Answer(is_cut=True)
    world.create()
    return world.send() and world.counts == (1, 1, 0, 0)


@scenario("does not retry a POST if the connection breaks")
def _(world: World) -> bool:
    world.edges[0].answer = Answer(is_cut=True)
    world.create()
    return not world.send(POST) and world.counts == (1, 0, 0, 0)


@scenario("uses another edge after a timeout")
def _(world: World) -> bool:
    world.edges[0].answer.delay_s = SLOW_S
    world.create()
    world.send()
    return world.send() and world.counts[0] == 1 and world.counts[1] >= 1


@scenario("uses another edge after 429 with Retry-After (also POST)")
def _(world: World) -> bool:
    world.edges[0].answer = Answer(status=429, headers={"Retry-After": "60"})
    world.create()
    return world.send(POST) and world.counts == (1, 1, 0, 0)


@scenario("returns other errors of an edge to the application")
def _(world: World) -> bool:
    world.edges[0].answer = Answer(status=400)
    world.create()
    return not world.send() and world.counts == (1, 0, 0, 0)


@scenario("avoids an edge that failed")
def _(world: World) -> bool:
    world.edges[0].answer = Answer(status=503)
    world.create()
    world.send()
    world.edges[0].answer = Answer(body=WORKS)
    return world.send() and world.send(POST) and world.counts == (1, 3, 0, 0)


@scenario("uses the pick again after a while")
def _(world: World) -> bool:
    world.edges[0].stop()
    world.create()
    world.send()
    world.edges[0].start()
    world.advance(120)
    return world.send() and world.counts == (1, 1, 0, 0)


@scenario("asks the router sooner after a failure")
def _(world: World) -> bool:
    world.edges[0].stop()
    world.create()
    world.send()
    world.router.answer.body = world.route(2, 1)
    world.advance(20)
    return world.send() and world.counts == (0, 1, 1, 0)


@scenario("asks the router if all known edges fail")
def _(world: World) -> bool:
    world.router.answer.body = world.route(0, 1)
    world.create()
    world.send()
    world.edges[0].stop()
    world.edges[1].stop()
    world.router.answer.body = world.route(2)
    world.advance(60)
    return world.send(POST) and world.counts == (1, 0, 1, 0)


@scenario("is not affected by changes of the wall clock")
def _(world: World) -> bool:
    world.create()
    world.send()
    for seconds in (-86_400, 2 * 86_400):
        world.client.tell(do="jump", seconds=seconds)
        world.send()
    return len(world.router.asked) == 1 and world.counts == (3, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a scenario. `note`: why it could not be judged."""

    scenario: str
    passed: bool
    note: str = ""


def judge(command: Sequence[str], environ: dict[str, str]) -> list[Verdict]:
    """Run every scenario, each with a new client and new servers."""
    client, verdicts = Client(command, environ), []
    for name, run in SCENARIOS.items():
        world = World(client)
        try:
            verdicts.append(Verdict(name, run(world)))
        except (OSError, ValueError) as error:  # the driver ended: start another
            verdicts.append(Verdict(name, passed=False, note=type(error).__name__))
            client.close()
            client = Client(command, environ)
        finally:
            world.close()
    client.close()
    return verdicts
