"""Names by which a test's source refers to the product."""

import ast

PRODUCT = ("processor", "topics")


def imports_of(tree: ast.Module) -> dict[str, str]:
    """Names of the module -> what of the product they are, with its module."""
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        match node:
            case ast.ImportFrom(module=str(module), names=names) if module.partition(".")[0] in PRODUCT:
                found |= {alias.asname or alias.name: f"{module}.{alias.name}" for alias in names}
            case ast.Import(names=names):
                found |= {
                    alias.asname or alias.name: alias.name for alias in names if alias.name.partition(".")[0] in PRODUCT
                }
    return found
