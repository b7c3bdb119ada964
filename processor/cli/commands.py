"""Commands that other distributions add to `tokenstream`, by the entry point group `tokenstream.commands`."""

import sys
from collections.abc import Callable
from importlib.metadata import entry_points

import typer

GROUP = "tokenstream.commands"
DEVELOPMENT = ("demo", "bench")
"""Commands of the development tools, which are never in the wheel or the image."""


def add_to(app: typer.Typer) -> None:
    """Adds every installed command. A development command that is not installed prints where it comes from, and exits with 1."""
    found = {entry.name: entry for entry in entry_points(group=GROUP)}
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
