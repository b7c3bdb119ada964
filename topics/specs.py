"""The topics as they should be."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TopicNames:
    tokens: str = "tokenstream.tokens"
    responses: str = "tokenstream.responses"
    dead_letters: str = "tokenstream.dead-letters"
    controls: str = "tokenstream.controls"

    def all(self) -> tuple[str, str, str, str]:
        return (self.tokens, self.responses, self.dead_letters, self.controls)
