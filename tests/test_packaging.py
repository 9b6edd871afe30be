"""What is installed: a light import, an exact public surface, a complete wheel."""

import importlib
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import ire_otel

ROOT = Path(__file__).parent.parent
HEAVY = (
    "opentelemetry.sdk",
    "sqlalchemy",
    "alembic",
    "pydantic",
    "typer",
    "aiosqlite",
    "asyncpg",
    "psycopg",
    "sqlite3",
)


def test_import_is_light() -> None:
    """`import ire_otel` loads the OpenTelemetry API, but no SDK, SQLAlchemy, pydantic or driver."""
    program = "import sys, ire_otel; print(*sys.modules, sep='\\n')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    loaded = done.stdout.split()
    assert "ire_otel" in loaded
    assert [name for name in loaded if name.startswith(HEAVY)] == []


def test_all_is_what_is_exported() -> None:
    """`__all__` names every public thing, each can be had, and each belongs to ire_otel."""
    public = {
        name
        for name, value in vars(ire_otel).items()
        if not name.startswith("_") and getattr(value, "__module__", "").startswith("ire_otel")
    }
    assert public <= set(ire_otel.__all__)
    assert [name for name in ire_otel.__all__ if not hasattr(ire_otel, name)] == []
    assert len(set(ire_otel.__all__)) == len(ire_otel.__all__)
    assert set(ire_otel.__all__) <= set(dir(ire_otel))


@pytest.mark.parametrize("package", ["ire_otel", "ire_otel_exporters"])
def test_packages_are_typed(package: str) -> None:
    """Type checkers take the annotations of both packages."""
    place = importlib.import_module(package).__file__
    assert place is not None
    assert Path(place).with_name("py.typed").is_file()


@pytest.mark.slow
@pytest.mark.skipif(not (ROOT / "ire_otel").is_dir(), reason="needs the checkout, not an installed wheel")
def test_the_wheel_is_complete(tmp_path: Path) -> None:
    """The wheel holds both packages, every module and data file of them, the migrations, the licence, and no test."""
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(build, capture_output=True, check=True, timeout=110)
    (wheel,) = tmp_path.glob("*.whl")
    inside = set(zipfile.ZipFile(wheel).namelist())
    sources = {
        "ire_otel": ROOT / "ire_otel",
        "ire_otel_exporters": ROOT / "exporters/ire_otel_exporters",
        "ire_otel/migrations": ROOT / "migrations",
    }
    wanted = {
        f"{target}/{path.relative_to(source).as_posix()}"
        for target, source in sources.items()
        for path in source.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert wanted - inside == set()
    assert {name.split("/")[0] for name in inside if ".dist-info/" not in name} == {"ire_otel", "ire_otel_exporters"}
    assert any(name.endswith("licenses/LICENSE") for name in inside)
