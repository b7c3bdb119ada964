"""A file that PostgreSQL's driver needs is a wrong setting before the first connection."""

from pathlib import Path

import pytest

from processor.archive.sql_engine import Database
from processor.errors import SettingsError


async def test_a_root_certificate_that_is_missing_is_a_wrong_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # where the driver looks for ~/.postgresql/root.crt
    database = Database("postgresql://u@127.0.0.1:1/db?sslmode=verify-full")
    with pytest.raises(SettingsError, match=r"STORE_URL: root certificate file .*root\.crt"):
        async with database.read():
            pass
    await database.close()
