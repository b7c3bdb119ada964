"""Loads the settings from the environment, a configuration file and files that hold single values."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from processor.config.mistakes import explain
from processor.config.rules import conflicts
from processor.config.settings import Settings
from processor.config.sources import (
    PREFIX,
    FileSource,
    GivenTexts,
    TextSource,
    given_by_environment,
    given_by_file,
    why_unreadable,
)
from processor.errors import SettingsError


def load_settings(
    environ: Mapping[str, str], config_file: Path | None = None, *, require_ably: bool = False
) -> Settings:
    """Settings from `environ` over `config_file`. Raises SettingsError with every mistake found, a line each, no secret shown."""
    names = frozenset(Settings.names())
    values: dict[str, Any] = {}
    mistakes: list[str] = []
    for given in _given(environ, config_file, names, mistakes):
        mistakes += given.mistakes(names)
        files = FileSource(Settings, given)
        found = {**TextSource(Settings, given)(), **files()}
        mistakes += files.mistakes
        # A value replaces an earlier one together with the file that one came from.
        values = {name: value for name, value in values.items() if name.removesuffix("_file") not in found} | found
    if str(values.get("realtime")).lower() == "direct":
        values = {name: value for name, value in values.items() if not name.startswith("ably_")}
        mistakes = [line for line in mistakes if not line.startswith(f"{PREFIX}ABLY_")]
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        mistakes += explain(error, Settings.model_fields)
    else:
        told = tuple(line.partition(": ")[0].removesuffix("_FILE") for line in mistakes)
        mistakes += [line for line in conflicts(settings, require_ably=require_ably) if not line.startswith(told)]
        if not mistakes:
            return settings
    raise SettingsError(mistakes) from None


def _given(
    environ: Mapping[str, str], config_file: Path | None, names: frozenset[str], mistakes: list[str]
) -> Iterator[GivenTexts]:
    """Yields what is given, the strongest last. Adds to `mistakes` where the file cannot be used."""
    if config_file is not None:
        try:
            yield given_by_file(config_file)
        except (OSError, ValueError) as error:
            mistakes.append(f"--config: can't read {config_file}: {why_unreadable(error)}")
    yield given_by_environment(environ, names)
