"""docker-compose.yml, the Dockerfiles and the systemd unit: valid, pinned, closed, and nothing in them dangles."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest
import re2
import yaml

from ire_otel.redaction import Redactor
from tests.planted_secrets import HARMLESS, PLANTED, Planted
from tests.receivers import COMMAND, JSON, RUN, as_json, root, serving
from tests.runs import wait_until
from tests.test_redaction_everywhere import found_in

ROOT: Final = Path(__file__).parent.parent
COMPOSE: Final = ROOT / "docker-compose.yml"
DOCKERFILES: Final = (ROOT / "Dockerfile", ROOT / "deploy/collector.Dockerfile")
UNIT: Final = ROOT / "deploy/ire-otel-serve.service"
VERSION: Final = re.compile(r":v?\d+\.\d+")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))
    return content


def tool(name: str) -> Path:
    return Path(sys.executable).with_name(name)


def checked(*command: str | Path) -> str:
    """Run a checker; gives what it complains about."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    return done.stdout + done.stderr if done.returncode else ""


def test_the_compose_file_fits_its_schema() -> None:
    """The one of the Compose specification."""
    assert checked(tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", COMPOSE) == ""


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.name)
def test_the_dockerfiles_pass_the_linter(file: Path) -> None:
    """Hadolint, with all its rules; every image has a version."""
    assert checked(tool("hadolint"), file) == ""
    bases = re.findall(r"^FROM (\S+)", file.read_text(encoding="utf-8"), re.MULTILINE)
    assert [base for base in bases if not VERSION.search(base)] == []


def test_images_are_pinned_and_ports_on_loopback(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert {name: made["image"] for name, made in services.items() if not VERSION.search(made["image"])} == {}
    ports = [port for made in services.values() for port in made.get("ports", [])]
    assert len(ports) >= 4
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []


def test_services_wait_for_services_that_are_there(compose: dict[str, Any]) -> None:
    """And for what those can become: healthy by a health check, or completed by ending."""
    services = compose["services"]
    for name, made in services.items():
        for other, how in made.get("depends_on", {}).items():
            awaited = services[other]
            own = awaited.get("healthcheck", {})
            if how["condition"] == "service_healthy":
                assert "test" in own or _built_with_healthcheck(awaited), (name, other)
            else:
                assert how["condition"] == "service_completed_successfully"
                assert awaited.get("restart", "no") != "unless-stopped", (name, other)
            # What runs whenever its dependent does.
            assert set(awaited.get("profiles", [])) <= set(made.get("profiles", [])), (name, other)


def _built_with_healthcheck(service: dict[str, Any]) -> bool:
    build = service.get("build")
    if build is None or service.get("healthcheck", {}).get("disable"):
        return False
    file = build["dockerfile"] if isinstance(build, dict) else "Dockerfile"
    return "\nHEALTHCHECK " in (ROOT / file).read_text(encoding="utf-8")


def test_every_service_that_goes_on_has_a_health_check_and_comes_back(compose: dict[str, Any]) -> None:
    going_on = [made for made in compose["services"].values() if made.get("restart") == "unless-stopped"]
    assert len(going_on) == 5
    assert [made for made in going_on if not made.get("healthcheck") and not _built_with_healthcheck(made)] == []


def test_volumes_and_files_are_there(compose: dict[str, Any]) -> None:
    """Named volumes are declared and used; what is mounted from the checkout exists, and is read-only."""
    mounts = [mount.split(":") for made in compose["services"].values() for mount in made.get("volumes", [])]
    named = {source for source, *_ in mounts if not source.startswith(".")}
    assert named == set(compose["volumes"])
    for source, _, *options in mounts:
        if source.startswith("."):
            assert (ROOT / source).exists()
            assert options == ["ro"]


def test_dockerfiles_copy_what_the_ignore_file_lets_through() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for file in DOCKERFILES:
        for copied in re.findall(r"^COPY ([^-\n].*) \S+$", file.read_text(encoding="utf-8"), re.MULTILINE):
            assert set(copied.split()) <= allowed
    assert [name for name in allowed if not (ROOT / name).exists()] == []


def test_secrets_come_from_the_environment() -> None:
    """Each variable is demanded with a message, made by deploy/make-env, and explained; no file holds a value."""
    text = COMPOSE.read_text(encoding="utf-8")
    demanded = dict(re.findall(r"(?<!\$)\$\{(\w+):\?([^}]+)\}", text))
    assert set(re.findall(r"(?<!\$)\$\{(\w+)", text)) == set(demanded)
    made = subprocess.run([ROOT / "deploy/make-env"], capture_output=True, text=True, check=True).stdout
    values = dict(line.split("=", 1) for line in made.splitlines())
    assert set(values) == set(demanded)
    assert len(set(values.values())) == len(values)
    assert all(re.fullmatch(r"[0-9a-f]{48}", value) for value in values.values())
    page = (ROOT / "docs/deploy.md").read_text(encoding="utf-8")
    for name, message in demanded.items():
        assert name in message
        assert f"`{name}`" in page
    assert [line for line in re.findall(r"\w*(?:PASSWORD|TOKEN): *(.*)", text) if not line.startswith("${")] == []


def blocked_values() -> list[str]:
    content = yaml.safe_load((ROOT / "collector-config.yaml").read_text(encoding="utf-8"))
    patterns: list[str] = content["processors"]["redaction"]["blocked_values"]
    return patterns


@pytest.mark.parametrize("planted", PLANTED, ids=lambda planted: planted.kind)
def test_the_collector_knows_every_kind_of_secret(planted: Planted) -> None:
    """As it stands, in JSON and in JSON inside JSON; Go has RE2's syntax too."""
    for text in (planted.text, json.dumps({"a": planted.text}), json.dumps([json.dumps([f"\n{planted.text}"])])):
        masked = text
        for pattern in blocked_values():
            masked = re2.sub(pattern, "****", masked)
        assert found_in(masked.encode()) == []


def test_the_collector_leaves_alone_what_is_no_secret() -> None:
    """Nor does it touch the marks that ire-otel left: documents behind it would differ."""
    redactor = Redactor()
    texts = [*HARMLESS, *(redactor.text(planted.text) for planted in PLANTED)]
    nested = [json.dumps({"a": text, "b": json.dumps([text])}) for text in texts]
    assert [text for text in texts + nested for pattern in blocked_values() if re2.search(pattern, text)] == []


@pytest.mark.parametrize("file", ["collector-config.yaml", "deploy/jaeger/config.yaml"])
def test_configurations_reach_the_services_by_their_names(compose: dict[str, Any], file: str) -> None:
    """What they take from the environment has a default that fits the compose file, and is named at the top."""
    text = (ROOT / file).read_text(encoding="utf-8")
    head = "".join(line for line in text.splitlines(keepends=True) if line.startswith("#"))
    defaults = dict(re.findall(r"\$\{env:(\w+):-([^}]*)\}", text))
    assert set(re.findall(r"\$\{env:(\w+)", text)) == set(defaults)
    assert [name for name in defaults if name not in head] == []
    for name in ("SERVE_ENDPOINT", "JAEGER_ENDPOINT"):
        if name in defaults:
            assert defaults[name].partition(":")[0] in compose["services"]


def test_the_tests_run_the_versions_that_are_deployed(compose: dict[str, Any]) -> None:
    """The Collector's modules have one version, the image's; Jaeger's module has a number of its own."""
    recipe = (ROOT / "tests/peers/build.sh").read_text(encoding="utf-8")
    versions = set(re.findall(r" v(\S+)$", (ROOT / "tests/peers/collector.yaml").read_text(), re.MULTILINE))
    assert versions == set(re.findall(r"^collector=v(\S+)$", recipe, re.MULTILINE))
    assert {f"ire-otel-collector:{version}" for version in versions} == {compose["services"]["collector"]["image"]}
    assert f"contrib:{versions.pop()} " in DOCKERFILES[1].read_text(encoding="utf-8")
    (of_jaeger,) = re.findall(r"number of Jaeger (\S+)$", recipe, re.MULTILINE)
    assert compose["services"]["jaeger"]["image"] == f"jaegertracing/jaeger:{of_jaeger}.0"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_the_unit_is_one(tmp_path: Path) -> None:
    """As systemd reads it, with the program where it is here."""
    text = UNIT.read_text(encoding="utf-8")
    copy = tmp_path / UNIT.name
    copy.write_text(text.replace("/opt/ire-otel/bin/ire-otel", str(COMMAND)), encoding="utf-8")
    assert checked("systemd-analyze", "verify", copy) == ""


def test_the_receiver_fills_the_database_that_was_made_for_it(
    empty_postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the compose file has it: `ire-otel db upgrade`, then the receiver, with the password beside the address."""
    with psycopg.connect(empty_postgres_url, autocommit=True) as owner:
        owner.execute("GRANT ALL ON SCHEMA public TO with_password")
        url = empty_postgres_url.replace("//postgres:secret@", "//with_password@")
        monkeypatch.setenv("IRE_OTEL_DATABASE_URL", url)
        monkeypatch.setenv("PGPASSWORD", "right")
        assert checked(COMMAND, "db", "upgrade") == ""
        with serving(tmp_path / "there") as server:
            assert server.post(as_json(root()), JSON).status == 200
            wait_until(lambda: owner.execute("SELECT trace_id FROM traces").fetchall() == [(RUN,)])
