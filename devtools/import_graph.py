"""Prints the packages of `processor/` and their imports: `python -m devtools.import_graph`."""

import grimp


def arrows(package: str) -> dict[str, list[str]]:
    """Returns, for each direct child of `package`, the children it imports anything of."""
    graph = grimp.build_graph(package)
    children = sorted(graph.find_children(package))
    inside = {child: {child, *graph.find_descendants(child)} for child in children}
    found: dict[str, list[str]] = {}
    for child in children:
        imported = {name for module in inside[child] for name in graph.find_modules_directly_imported_by(module)}
        found[child] = [other for other in children if other != child and imported & inside[other]]
    return found


def main() -> None:
    found = arrows("processor")
    for package, imported in found.items():
        print(
            f"{package.removeprefix('processor.'):<12} {' '.join(name.removeprefix('processor.') for name in imported)}"
        )
    print(f"{len(found)} packages and modules, {sum(map(len, found.values()))} arrows")


if __name__ == "__main__":
    main()
