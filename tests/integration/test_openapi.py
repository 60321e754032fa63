"""Both listeners conform to their OpenAPI documents for every request."""

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
# The public listener also answers requests with invalid parameters, and replies 403 to other
# methods (docs/api.md): an SDK cannot handle a 400 or a 405.
NOT_CHECKED = "negative_data_rejection,unsupported_method"


def schemathesis_errors(document: Path, port: int, folder: Path) -> str:
    """The report of schemathesis, or "" if it finds no error. It writes files to the folder."""
    is_ci = "CI" in os.environ  # the same examples in each run, as in tests/conftest.py
    generation = "--generation-deterministic" if is_ci else "--generation-database=none"
    run = subprocess.run(
        [str(SCHEMATHESIS), "run", str(document), "--url", f"http://{HOST}:{port}", "--checks",
         "all", "--exclude-checks", NOT_CHECKED, "--max-examples", "50", "--continue-on-failure",
         generation, "--no-color"],
        capture_output=True, text=True, timeout=120, check=False, cwd=folder,
    )  # fmt: skip
    assert "Test cases:" in run.stdout, run.stdout + run.stderr
    return "" if run.returncode == 0 else run.stdout


def test_public_listener_conforms_to_its_document(dev: Dev, tmp_path: Path) -> None:
    assert not schemathesis_errors(ROOT / "docs" / "openapi.yaml", dev.port, tmp_path)


def test_ops_listener_conforms_to_its_document(dev: Dev, tmp_path: Path) -> None:
    assert not schemathesis_errors(OPS, dev.ops_port, tmp_path)


def test_wrong_document_is_detected(dev: Dev, tmp_path: Path) -> None:
    text = OPS.read_text()
    assert "weight: { type: number }" in text
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(text.replace("weight: { type: number }", "weight: { type: string }"))
    assert "/v1/edges" in schemathesis_errors(wrong, dev.ops_port, tmp_path)


def test_ops_document_is_valid_and_has_the_enums_of_the_code() -> None:
    document = yaml.safe_load(OPS.read_text())
    schemas = document["components"]["schemas"]
    validate(document)
    assert document["info"]["version"] == __version__
    assert schemas["Status"]["enum"] == list(Status)
    assert schemas["Observed"]["enum"] == list(Observed)
    assert schemas["Finding"]["properties"]["grade"]["enum"] == list(Grade)
    assert schemas["Edge"]["properties"]["intent"]["enum"] == list(Intended)
    assert schemas["News"]["properties"]["kind"]["enum"] == list(EventKind)
