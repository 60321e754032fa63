"""Both listeners do what their OpenAPI documents say, whatever is asked."""

import os
import subprocess
import sys
from pathlib import Path

import yaml
from openapi_spec_validator import validate

from router import __version__
from router.model import EventKind, Intended, Observed, Status
from router.ops.diagnosis import Grade
from tests.support.servers import HOST, ROOT, Dev

OPS = ROOT / "docs" / "openapi-ops.yaml"
SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")
# What is asked for with nonsense is answered all the same, and 403 is the answer to any
# other method (docs/api.md): an SDK can do nothing with a 400 or a 405.
OUR_WAY = "negative_data_rejection,unsupported_method"


def faults(document: Path, port: int, folder: Path) -> str:
    """What schemathesis finds, or nothing; it leaves things in the folder."""
    is_ci = "CI" in os.environ  # which tries the same each time, as tests/conftest.py has it
    chances = "--generation-deterministic" if is_ci else "--generation-database=none"
    run = subprocess.run(
        [str(SCHEMATHESIS), "run", str(document), "--url", f"http://{HOST}:{port}", "--checks",
         "all", "--exclude-checks", OUR_WAY, "--max-examples", "50", "--continue-on-failure",
         chances, "--no-color"],
        capture_output=True, text=True, timeout=120, check=False, cwd=folder,
    )  # fmt: skip
    assert "Test cases:" in run.stdout, run.stdout + run.stderr
    return "" if run.returncode == 0 else run.stdout


def test_public_listener_conforms(dev: Dev, tmp_path: Path) -> None:
    assert not faults(ROOT / "docs" / "openapi.yaml", dev.port, tmp_path)


def test_ops_listener_conforms(dev: Dev, tmp_path: Path) -> None:
    assert not faults(OPS, dev.ops_port, tmp_path)


def test_faults_would_be_found(dev: Dev, tmp_path: Path) -> None:
    """A document that is wrong in one place does not pass."""
    text = OPS.read_text()
    assert "weight: { type: number }" in text
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(text.replace("weight: { type: number }", "weight: { type: string }"))
    assert "/v1/edges" in faults(wrong, dev.ops_port, tmp_path)


def test_ops_document_is_valid_and_has_the_code_s_words() -> None:
    told = yaml.safe_load(OPS.read_text())
    schemas = told["components"]["schemas"]
    validate(told)
    assert told["info"]["version"] == __version__
    assert schemas["Status"]["enum"] == list(Status)
    assert schemas["Observed"]["enum"] == list(Observed)
    assert schemas["Finding"]["properties"]["grade"]["enum"] == list(Grade)
    assert schemas["Edge"]["properties"]["intent"]["enum"] == list(Intended)
    assert schemas["News"]["properties"]["kind"]["enum"] == list(EventKind)
