"""Where the texts of settings come from: the environment, files that hold one value, and a configuration file.

The configuration file is TOML where its name ends in `.toml`, and lines of `NAME=value` otherwise (blank lines and lines that begin
with `#` are skipped, `export ` and one pair of quotes around the value are dropped). In it the prefix may be left out.
An empty value counts as not given.
"""

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Final

PREFIX: Final = "TOKENSTREAM_"
_FILE_SUFFIX: Final = "_FILE"
_SERVICE_LINK: Final = re.compile(
    r".*(_SERVICE_HOST|_SERVICE_PORT(_\w+)?|_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
_LINKED_ADDRESS: Final = re.compile(r"(tcp|udp|sctp)://")


@dataclass(slots=True)
class Sources:
    """What was found: texts by variable name without prefix, the files some came from, and one line for each mistake."""

    texts: dict[str, str] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)
    mistakes: list[str] = field(default_factory=list)

    def take(self, given: Mapping[str, str], known: Iterable[str], origin: str = "") -> None:
        """Take over `given` (names without prefix), over whatever was taken before. `origin` is said in front of mistakes."""
        names = set(known)
        for name, text in given.items():
            base = name.removesuffix(_FILE_SUFFIX)
            if name in names and f"{name}{_FILE_SUFFIX}" in given:
                self.mistakes.append(
                    f"{origin}{PREFIX}{name}: is given together with {PREFIX}{name}{_FILE_SUFFIX}; keep one"
                )
            elif name in names:
                self.texts[name] = text
                self.files.pop(name, None)
            elif base != name and base in names:
                self._take_file(base, Path(text), origin)
            else:
                self.mistakes.append(f"{origin}{PREFIX}{name}: is not a setting{_suggest(name, names)}")

    def _take_file(self, name: str, path: Path, origin: str) -> None:
        try:
            text = read_value(path)
        except (OSError, ValueError) as error:
            self.mistakes.append(f"{origin}{PREFIX}{name}{_FILE_SUFFIX}: can't read {path}: {why_unreadable(error)}")
            return
        self.texts[name] = text
        self.files[name] = path


def read_value(path: Path) -> str:
    """A file that holds one value: its text less one trailing newline. Raises OSError, or ValueError where it is not UTF-8."""
    text = path.read_text(encoding="utf-8")
    return text.removesuffix("\n").removesuffix("\r")


def gather(environ: Mapping[str, str], config_file: Path | None, known: Iterable[str]) -> Sources:
    """Never raises; mistakes are in the answer. The environment wins over the file."""
    names = tuple(known)
    sources = Sources()
    if config_file is not None:
        try:
            given = _read_config(config_file)
        except (OSError, ValueError) as error:
            sources.mistakes.append(f"--config: can't read {config_file}: {why_unreadable(error)}")
        else:
            sources.take(_without_empty(given), names, f"{config_file}: ")
    ours = {name.removeprefix(PREFIX): text for name, text in environ.items() if name.startswith(PREFIX)}
    given = {name: text for name, text in ours.items() if name in names or not _is_service_link(name, text)}
    sources.take(_without_empty(given), names)
    return sources


def _without_empty(given: Mapping[str, str]) -> dict[str, str]:
    return {name: text for name, text in given.items() if text.strip()}


def _is_service_link(name: str, text: str) -> bool:
    """Whether Kubernetes put this into the environment because a Service's name begins with `tokenstream`."""
    if f"_{name}".endswith("_PORT") and _LINKED_ADDRESS.match(text):
        return True
    return _SERVICE_LINK.fullmatch(f"_{name}") is not None


def _suggest(name: str, names: Iterable[str]) -> str:
    nearest = get_close_matches(name, [*names, *(f"{known}{_FILE_SUFFIX}" for known in names)], n=1)
    return f"; did you mean {PREFIX}{nearest[0]}?" if nearest else ""


def _read_config(path: Path) -> dict[str, str]:
    text = path.read_text(encoding="utf-8")
    found = _read_toml(text) if path.suffix == ".toml" else _read_lines(text)
    return {name.upper().removeprefix(PREFIX): value for name, value in found.items()}


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
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip().removeprefix("export ").strip()
        if not stripped or stripped.startswith("#"):
            continue
        name, equals, value = stripped.partition("=")
        if not equals or not name.strip():
            raise ValueError(f"line {number} is not NAME=value")
        found[name.strip()] = _unquote(value.strip())
    return found


def _unquote(value: str) -> str:
    quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"
    return value[1:-1] if quoted else value


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
