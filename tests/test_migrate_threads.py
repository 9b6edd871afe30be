"""Migrations of several databases at once, in the threads of one process."""

import threading
from pathlib import Path

from ire_otel.db.engine import database
from ire_otel.db.migrate import current, upgrade


def test_databases_may_be_migrated_by_several_threads_at_once(tmp_path: Path) -> None:
    """Each thread migrates its own file, and none gets into another's way."""
    targets = [database(f"sqlite:///{tmp_path / f'{number}.db'}") for number in range(6)]
    errors: list[BaseException] = []

    def migrate(number: int) -> None:
        try:
            upgrade(targets[number])
        except BaseException as error:  # noqa: BLE001 # carried to the main thread
            errors.append(error)

    threads = [threading.Thread(target=migrate, args=(number,)) for number in range(len(targets))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len({current(target) for target in targets}) == 1
