"""A module is short enough to be read at one go."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
MOST_LINES = 400
FOLDERS = ("topics", "processor", "devtools", "tests", "clients", "deploy", "helm", "docs", "examples")


def too_long(root: Path) -> dict[str, int]:
    lengths = {
        str(path.relative_to(root)): len(path.read_text(encoding="utf-8").splitlines())
        for folder in FOLDERS
        for path in (root / folder).rglob("*.py")
        if "node_modules" not in path.parts
    }
    return {name: length for name, length in lengths.items() if length > MOST_LINES}


def test_no_module_is_too_long() -> None:
    assert too_long(ROOT) == {}


def test_a_module_that_is_too_long_is_found(tmp_path: Path) -> None:
    (tmp_path / "topics").mkdir()
    (tmp_path / "topics/long.py").write_text("x = 1\n" * (MOST_LINES + 1))
    (tmp_path / "topics/short.py").write_text("x = 1\n" * MOST_LINES)
    assert too_long(tmp_path) == {"topics/long.py": MOST_LINES + 1}
