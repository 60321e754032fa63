"""infra/systemd: systemd accepts the units and rates them as well confined.

No systemd runs here. `systemd-analyze` reads the units.
"""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from router.api.servers import GRACE_S
from router.config.settings import read_settings, secret_paths
from tests.support.servers import AUTOROUTER, ROOT

UNITS = sorted((ROOT / "infra" / "systemd").glob("*.service"))
INSTALLED = "/opt/autorouter/bin"
MAX_EXPOSURE = 1.5  # out of 10; a unit without confinement has 9.6

SECRETS = sorted((ROOT / "infra" / "systemd").glob("*.service.d/secrets.conf"))
SERVERS = [unit for unit in UNITS if unit.stem != "autorouter-geodata"]

EACH_SERVER = pytest.mark.parametrize("unit", SERVERS, ids=lambda unit: str(unit.stem))
EACH = pytest.mark.parametrize("unit", UNITS, ids=lambda unit: str(unit.stem))


def localized(unit: Path, folder: Path) -> Path:
    """The unit with this machine's paths of the command and the settings file."""
    settings = folder / "settings.env"
    settings.write_text("AUTOROUTER_LOG_LEVEL=info\n")
    text = unit.read_text().replace(INSTALLED, str(AUTOROUTER.parent))
    moved = folder / unit.name
    moved.write_text(re.sub(r"(?m)^EnvironmentFile=.*", f"EnvironmentFile={settings}", text))
    return moved


def systemd_analyze(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["systemd-analyze", *words], capture_output=True, text=True, check=False, timeout=60
    )


def directives(unit: Path, section: str) -> list[str]:
    """The lines of a section, without comments."""
    (body,) = re.findall(rf"(?ms)^\[{section}\]\n(.*?)(?=^\[|\Z)", unit.read_text())
    return [line for line in body.splitlines() if line and not line.startswith("#")]


@EACH
def test_systemd_accepts_the_unit(unit: Path, tmp_path: Path) -> None:
    done = systemd_analyze("verify", "--man=no", str(localized(unit, tmp_path)))
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("right", "wrong"),
    [("ProtectSystem=strict", "ProtectSytem=strict"), ("bin/autorouter serve", "bin/autoroute")],
)
def test_invalid_unit_is_detected(right: str, wrong: str, tmp_path: Path) -> None:
    unit = localized(ROOT / "infra" / "systemd" / "autorouter.service", tmp_path)
    text = unit.read_text()
    unit.write_text(text.replace(right, wrong))

    assert right in text
    assert systemd_analyze("verify", "--man=no", str(unit)).stderr != ""


# Secrets


EACH_SECRETS = pytest.mark.parametrize("drop_in", SECRETS, ids=lambda path: str(path.parent.name))


def with_secrets(drop_in: Path, folder: Path) -> Path:
    """A unit and its drop-in with this machine's paths."""
    name = drop_in.parent.name.removesuffix(".d")
    unit = localized(ROOT / "infra" / "systemd" / name, folder)
    shutil.copytree(drop_in.parent, folder / drop_in.parent.name)
    return unit


def test_every_server_has_a_drop_in_for_secrets() -> None:
    assert [path.parent.name for path in SECRETS] == [f"{unit.name}.d" for unit in SERVERS]


@EACH_SECRETS
def test_systemd_accepts_the_unit_with_secrets(drop_in: Path, tmp_path: Path) -> None:
    done = systemd_analyze("verify", "--man=no", str(with_secrets(drop_in, tmp_path)))
    assert (done.returncode, done.stderr) == (0, "")


def test_invalid_secrets_are_detected(tmp_path: Path) -> None:
    unit = with_secrets(SECRETS[-1], tmp_path)
    moved = tmp_path / SECRETS[-1].parent.name / "secrets.conf"
    moved.write_text(moved.read_text().replace("LoadCredential=", "LoadCredentail="))
    assert "LoadCredentail" in systemd_analyze("verify", "--man=no", str(unit)).stderr


@EACH_SECRETS
def test_settings_read_the_credentials(drop_in: Path, tmp_path: Path) -> None:
    lines = directives(drop_in, "Service")
    loaded = [line.partition("=")[2].split(":") for line in lines if "LoadCredential=" in line]
    named = [line.partition("=")[2] for line in lines if line.startswith("Environment=")]
    environ = dict(line.replace("%d", str(tmp_path)).split("=", 1) for line in named)
    for name, _ in loaded:
        text = "redis://redis:6379/0" if name == "redis-url" else "0123456789abcdef"
        (tmp_path / name).write_text(f"{text}\n")

    settings, faults = read_settings(environ)
    assert faults == []
    assert str(settings.redis_url) != ""
    assert {path.name for path in secret_paths(environ)} == {name for name, _ in loaded}
    assert all(source.startswith("/etc/autorouter/secrets/") for _, source in loaded)
    assert all("%d/" in line for line in named)


@EACH
def test_unit_is_confined(unit: Path, tmp_path: Path) -> None:
    report = systemd_analyze("security", "--offline=true", str(localized(unit, tmp_path))).stdout
    (exposure,) = re.findall(r"Overall exposure level for \S+: (\d+\.\d+)", report)
    assert float(exposure) < MAX_EXPOSURE


def test_units_differ_only_in_what_they_run() -> None:
    alike = ("Environment", "ExecStart=", "StateDirectory", "User=")
    poll, serve = (
        [line for line in directives(unit, "Service") if not line.startswith(alike)]
        for unit in SERVERS
    )
    assert poll == serve


def test_geodata_unit_writes_to_the_servers_folder() -> None:
    folder = ROOT / "infra" / "systemd"
    server, geodata = (
        directives(folder / f"{name}.service", "Service")
        for name in ("autorouter", "autorouter-geodata")
    )
    shared = ("Environment=AUTOROUTER_GEO_DIR", "User=", "DynamicUser=", "StateDirectory")
    assert [line for line in server if line.startswith(shared)] == [
        line for line in geodata if line.startswith(shared)
    ]
    assert f"ExecStart={INSTALLED}/autorouter geodata update" in geodata


def test_systemd_accepts_the_geodata_timer(tmp_path: Path) -> None:
    localized(ROOT / "infra" / "systemd" / "autorouter-geodata.service", tmp_path)
    timer = tmp_path / "autorouter-geodata.timer"
    timer.write_text((ROOT / "infra" / "systemd" / timer.name).read_text())
    done = systemd_analyze("verify", "--man=no", str(timer))
    assert (done.returncode, done.stderr) == (0, "")


@EACH_SERVER
def test_unit_checks_before_it_starts(unit: Path) -> None:
    lines = directives(unit, "Service")
    assert f"ExecStartPre={INSTALLED}/autorouter check" in lines


@EACH
def test_unit_has_time_to_shut_down(unit: Path) -> None:
    (stop_s,) = (
        int(line.partition("=")[2])
        for line in directives(unit, "Service")
        if line.startswith("TimeoutStopSec=")
    )
    assert stop_s > GRACE_S


def test_guide_installs_the_commands_of_the_units() -> None:
    guide = (ROOT / "docs" / "running.md").read_text()
    assert f"{INSTALLED}/pip install" in guide
    for unit in UNITS:
        (settings,) = re.findall(r"(?m)^EnvironmentFile=(.*)$", unit.read_text())
        assert settings in guide
        assert f"infra/systemd/{unit.name}" in guide
    for drop_in in SECRETS:
        assert f"infra/systemd/{drop_in.parent.name}" in guide
    for name in re.findall(r"secrets/([\w-]+)", " ".join(path.read_text() for path in SECRETS)):
        assert f"/etc/autorouter/secrets/{name}" in guide
