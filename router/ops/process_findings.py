"""Findings about the server's own work: background loops, the state folder, the log. Pure."""

from collections.abc import Iterable

from router.ops.findings import Finding, FindingKind, Grade, Signs
from router.safe_text import escaped


def process_findings(signs: Signs) -> Iterable[Finding]:
    """Findings about loops that failed, health that is not saved, and a stalled log."""
    for name, trouble in signs.loops.items():
        yield Finding(
            grade=Grade.WARNING,
            kind=FindingKind.LOOP,
            title=f"The background loop `{name}` failed",
            meaning="It restarts automatically; its work may be late. " + escaped(trouble.text),
            action="This is a bug: report it with the traceback in the log.",
            since=trouble.since,
            subject=name,
        )
    if signs.state_dir is not None:
        yield Finding(
            grade=Grade.WARNING,
            kind=FindingKind.STATE_DIR,
            title="The last good health cannot be saved",
            meaning="Answers are not affected. A server that restarts while Redis is down starts "
            f"without recent health. {escaped(signs.state_dir.text)}",
            action="Check the disk or network folder of AUTOROUTER_STATE_DIR.",
            since=signs.state_dir.since,
        )
    if signs.log_stalled:
        yield Finding(
            grade=Grade.WARNING,
            kind=FindingKind.LOG,
            title="The log cannot be written: nothing reads standard error",
            meaning="Answers are not affected. Lines wait in memory; if too many wait, some are "
            "dropped.",
            action="Restart the program that reads the standard error of this process.",
        )
