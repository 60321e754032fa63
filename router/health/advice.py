"""Advice for people about the outcome of a probe. Pure."""

from router.health.answers import Inventory
from router.model import HealthFormat, Outcome, Probe, Region

_BY_OUTCOME = {
    Outcome.UNHEALTHY: "the edge says so itself; look at its own logs",
    Outcome.CONNECT_TIMEOUT: "open the edge's port for this machine, or raise connect_timeout_s",
    Outcome.TIMEOUT: "look why the edge answers so slowly, or raise timeout_s",
    Outcome.RESET: "look what closes the connection: a proxy, a firewall, or the edge's process",
    Outcome.TLS: "renew or correct the certificate of the edge's host name",
    Outcome.TOO_LARGE: "set health_path to where the answer is short, or use `health: status`",
    Outcome.LOCAL: "mend this machine's resolver, network or limit of open files",
}


def advice(region: Region, probe: Probe) -> str | None:
    """What to change so that the edge passes; None if it passes."""
    match probe.outcome:
        case Outcome.OK | Outcome.DEGRADED:
            return None
        case Outcome.REFUSED:
            return f"make {region.health_url} resolve and accept connections from here"
        case Outcome.BAD_BODY:
            return (
                "use `health: status` if any 2xx means healthy, or set health_path to where "
                "the edge answers a JSON object with a `status`"
            )
        case Outcome.STATUS:
            return _about_status(region)
        case _:
            return _BY_OUTCOME[probe.outcome]


def models_advice(inventory: Inventory) -> str | None:
    """What to change so that the edge's models are known; None if they are."""
    match inventory.fault:
        case None:
            return None
        case Outcome.STATUS:
            return "set models_path, AUTOROUTER_EDGE_API_KEY if it wants a key, or `models: none`"
        case Outcome.TOO_LARGE:
            return "use `models: none`, or have the edge list fewer models"
        case _:
            return "use `models: openai` or `models: none`"


def _about_status(region: Region) -> str:
    if region.check.health is HealthFormat.STATUS:
        return "set health_path (or health_url) to a path that answers 2xx while the edge works"
    return "set health_path (or health_url) to a path that answers 200 while the edge works"
