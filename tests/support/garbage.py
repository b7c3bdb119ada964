"""Python looks for garbage in what tests made, not in what they imported."""

import gc


def keep_what_is_imported() -> None:
    """What there is by now stays to the end: looking through it again and again took a tenth of the processor's time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)
    gc.enable()
