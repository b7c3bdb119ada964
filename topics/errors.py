"""The root of every exception of this project. Those of the relay are drawn in `processor.errors`."""


class TokenstreamError(Exception):
    """`str(error)` is a sentence for a person: what is wrong, where, what to do."""
