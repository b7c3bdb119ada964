"""The root of every exception of this project. `processor.errors` draws those of the relay."""


class TokenstreamError(Exception):
    """`str(error)` is a sentence for a person: what is wrong, where, what to do."""
