"""A part's text, length and hash, however often the text is evicted and read back."""

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from processor.core.items import PartText
from processor.core.text import utf16_length

STEPS = st.lists(st.one_of(st.text(max_size=20), st.just("evict"), st.just("read back")), max_size=30)


@given(STEPS)
def test_length_and_hash_are_those_of_all_that_was_acknowledged(steps: list[str]) -> None:
    part, whole, durable = PartText("text", "text", None), "", ""
    for step in steps:
        if step == "evict":
            if not part.evicted:
                durable = whole
                part.evict()
                assert part.held == 0
        elif step == "read back":
            if part.evicted:
                part.read_back(durable)
        else:
            part.append(step)
            whole += step
        assert part.sha256() == hashlib.sha256(whole.encode()).hexdigest()
        assert part.length == utf16_length(whole)
        if not part.evicted:
            assert part.text() == whole
