"""Reads the texts of settings from the environment, files that hold one value, and a configuration file.

The configuration file is TOML if its name ends in `.toml`, else lines of `NAME=value` (comments, `export ` and quotes
as in any `.env` file; no substitution in values). The prefix may be left out in it. An empty value counts as not
given. ADR 12 has why the library's own sources do not read these.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from io import StringIO
from pathlib import Path
from typing import Any, Final

from dotenv.parser import parse_stream
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource

PREFIX: Final = "TOKENSTREAM_"
_FILE_SUFFIX: Final = "_FILE"
_SERVICE_LINK: Final = re.compile(
    r".*(_SERVICE_HOST|_SERVICE_PORT(_\w+)?|_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
_LINKED_ADDRESS: Final = re.compile(r"(tcp|udp|sctp)://")


@dataclass(frozen=True, slots=True)
class GivenTexts:
    """Texts by variable name without prefix. `origin` is the begin of each line about a mistake among them."""

    texts: Mapping[str, str]
    origin: str = ""

    def mistakes(self, names: frozenset[str]) -> Iterator[str]:
        """Yields a line for each variable that is no setting, or is given twice. `names` are those of all settings."""
        for name in self.texts:
            if name in names and f"{name}{_FILE_SUFFIX}" in self.texts:
                yield f"{self.origin}{PREFIX}{name}: is given together with {PREFIX}{name}{_FILE_SUFFIX}; keep one"
            elif name not in names and name.removesuffix(_FILE_SUFFIX) not in names:
                yield f"{self.origin}{PREFIX}{name}: is not a setting{_suggest(name, names)}"


class TextSource(EnvSettingsSource):
    """The values of variables as they were given, wherever that was."""

    def __init__(self, settings: type[BaseSettings], given: GivenTexts) -> None:
        super().__init__(settings)
        self.env_vars = {f"{PREFIX}{name}".lower(): text for name, text in given.texts.items()}


class FileSource(PydanticBaseSettingsSource):
    """The values of variables that were given as `<NAME>_FILE`: what the file holds. Unreadable ones are in `mistakes`."""

    def __init__(self, settings: type[BaseSettings], given: GivenTexts) -> None:
        super().__init__(settings)
        self._given = given
        self.mistakes: list[str] = []

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Returns the text of the field's file, or None where none is given or it cannot be read."""
        del field
        variable = f"{field_name.upper()}{_FILE_SUFFIX}"
        path = self._given.texts.get(variable)
        if path is None:
            return None, field_name, False
        try:
            return read_value(Path(path)), field_name, False
        except (OSError, ValueError) as error:
            self.mistakes.append(f"{self._given.origin}{PREFIX}{variable}: can't read {path}: {why_unreadable(error)}")
            return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        """Returns the values by field name."""
        fields = {name: field for name, field in self.settings_cls.model_fields.items() if not field.exclude}
        found = {name: self.get_field_value(field, name)[0] for name, field in fields.items()}
        return {name: text for name, text in found.items() if text is not None}


def read_value(path: Path) -> str:
    """A file that holds one value: its text less one trailing newline. Raises OSError, or ValueError where it is not UTF-8."""
    text = path.read_text(encoding="utf-8")
    return text.removesuffix("\n").removesuffix("\r")


def given_by_environment(environ: Mapping[str, str], names: frozenset[str]) -> GivenTexts:
    """Returns what is ours in the environment: Kubernetes adds variables of its own where a Service has our name."""
    ours = {name.removeprefix(PREFIX): text for name, text in environ.items() if name.startswith(PREFIX)}
    return GivenTexts(
        {
            name: text
            for name, text in ours.items()
            if text.strip() and (name in names or not _is_service_link(name, text))
        }
    )


def given_by_file(path: Path) -> GivenTexts:
    """Raises OSError, or ValueError with what is wrong in it."""
    text = path.read_text(encoding="utf-8")
    found = _read_toml(text) if path.suffix == ".toml" else _read_lines(text)
    given = {name.upper().removeprefix(PREFIX): value for name, value in found.items() if value.strip()}
    return GivenTexts(given, f"{path}: ")


def _is_service_link(name: str, text: str) -> bool:
    """Whether Kubernetes put this into the environment because a Service's name begins with `tokenstream`."""
    if f"_{name}".endswith("_PORT") and _LINKED_ADDRESS.match(text):
        return True
    return _SERVICE_LINK.fullmatch(f"_{name}") is not None


def _suggest(name: str, names: frozenset[str]) -> str:
    nearest = get_close_matches(name, [*names, *(f"{known}{_FILE_SUFFIX}" for known in names)], n=1)
    return f"; did you mean {PREFIX}{nearest[0]}?" if nearest else ""


def _read_toml(text: str) -> dict[str, str]:
    return {name: _toml_text(name, value) for name, value in tomllib.loads(text).items()}


def _toml_text(name: str, value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str() | int() | float():
            return str(value)
        case list():
            return ",".join(_toml_text(name, item) for item in value)
        case _:
            raise ValueError(f"{name} is neither a text, a number, a truth value nor a list")


def _read_lines(text: str) -> dict[str, str]:
    found = {}
    for binding in parse_stream(StringIO(text)):
        if binding.error or (binding.key is not None and binding.value is None):
            raise ValueError(f"line {binding.original.line} is not NAME=value")
        if binding.key is not None and binding.value is not None:
            found[binding.key] = binding.value
    return found


def why_unreadable(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return "it is not text in UTF-8" if isinstance(error, UnicodeError) else str(error)


def stamp(path: Path) -> tuple[int, ...] | None:
    """Another for every content; follows links, for that is how Kubernetes swaps what it mounts. None while there is no file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size
