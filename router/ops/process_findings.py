"""Findings about the server's own processes: loops, the state folder, the log. Pure."""

from collections.abc import Iterable

from router.ops.findings import Finding, FindingKind, Grade, Signs
from router.safe_text import escaped


def process_findings(signs: Signs) -> Iterable[Finding]:
    """Findings about background work."""
    for name, trouble in signs.loops.items():
        yield Finding(
            grade=Grade.WARNING,
            kind=FindingKind.LOOP,
            title=f"The background loop `{name}` failed",
            meaning="It is started again by itself; what it does may be late. "
            + escaped(trouble.text),
            action="Report it with the traceback in the log: this is a defect.",
            since=trouble.since,
            subject=name,
        )
    if signs.state_dir is not None:
        yield Finding(
            grade=Grade.WARNING,
            kind=FindingKind.STATE_DIR,
            title="The last good health cannot be saved",
            meaning="Answers are not affected. A server that restarts while Redis is away "
            f"starts without recent health. {escaped(signs.state_dir.text)}",
            action="Check the disk or network folder of AUTOROUTER_STATE_DIR.",
            since=signs.state_dir.since,
        )
    if signs.log_stalled:
        yield Finding(
            grade=Grade.WARNING,
            kind=FindingKind.LOG,
            title="Nobody reads the log: standard error takes no lines",
            meaning="Answers are not affected. Lines wait, and are dropped when too many do.",
            action="Look at what reads the standard error of this process.",
        )
