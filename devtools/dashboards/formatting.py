"""Values as Grafana writes them, by its names of units."""

SECOND_STEPS = (
    (1e-3, 1e6, "µs"),
    (1.0, 1e3, "ms"),
    (60.0, 1.0, "s"),
    (3600.0, 1 / 60, "min"),
    (float("inf"), 1 / 3600, "h"),
)


def written(value: float, unit: str, *, decimals: int | None = None) -> str:
    match unit:
        case "s":
            return seconds(value)
        case "bytes":
            return scaled(value, 1024, ("B", "KiB", "MiB", "GiB"))
        case "percentunit":
            return f"{plain(value * 100)} %"
        case "short":
            return plain(value, decimals) if abs(value) < 10_000 else scaled(value, 1000, ("", "K", "M", "G"))
        case _:
            return f"{plain(value, decimals)} {unit.removeprefix('suffix:').strip()}"


def seconds(value: float) -> str:
    if value == 0:
        return "0 s"
    factor, name = next((factor, name) for bound, factor, name in SECOND_STEPS if abs(value) < bound)
    return f"{plain(value * factor)} {name}"


def scaled(value: float, base: float, names: tuple[str, ...]) -> str:
    step = 0
    while abs(value) >= base and step < len(names) - 1:
        value, step = value / base, step + 1
    return f"{plain(value)} {names[step]}".strip()


def plain(value: float, decimals: int | None = None) -> str:
    """Three digits that matter."""
    if decimals is None:
        decimals = 0 if value == round(value) else max(0, 2 - len(str(int(abs(value)))) + 1)
    text = f"{value:.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
