"""Commands that other distributions add to `tokenstream`, by the entry point group `tokenstream.commands`."""

import sys
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points

import typer

GROUP = "tokenstream.commands"
DEVELOPMENT = ("demo", "bench")
"""Commands of the development tools, which are never in the wheel or the image."""


def installed() -> Mapping[str, EntryPoint]:
    """Returns the commands of this installation by name."""
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def add_to(app: typer.Typer, found: Mapping[str, EntryPoint]) -> None:
    """Adds every command in `found`. A development command that is missing prints where it comes from, and exits with 1."""
    for entry in found.values():
        app.add_typer(entry.load(), name=entry.name)
    for name in DEVELOPMENT:
        if name not in found:
            app.command(name, hidden=True, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(
                _missing(name)
            )


def _missing(name: str) -> Callable[[], None]:
    def explain() -> None:
        print(
            f"tokenstream: `{name}` belongs to the development tools, which are not installed. "
            "Run `make setup` in a clone of the repository.",
            file=sys.stderr,
        )
        raise typer.Exit(1)

    return explain
