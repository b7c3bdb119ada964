"""The texts of the sample models are computed from a seed, and their tokens join to whole texts."""

import random

import pytest

from devtools.demo.scripts import ANSWERS, answer_for, prompt_for, tokens, whole


def test_the_same_seed_says_the_same_cut_the_same_way() -> None:
    assert answer_for(11) == answer_for(11)
    assert prompt_for(3) == prompt_for(3)


def test_other_seeds_cut_the_same_text_elsewhere() -> None:
    texts = {tuple(piece.text for piece in answer_for(seed).pieces if piece.kind == "text") for seed in (6, 14, 22, 70)}
    assert len({whole(list(text)) for text in texts}) == 1


@pytest.mark.parametrize("text", ANSWERS)
@pytest.mark.parametrize("seed", range(5))
def test_tokens_add_up_to_the_text(text: str, seed: int) -> None:
    assert whole(list(tokens(text, random.Random(seed)))) == text


def test_some_tokens_are_halves_of_a_pair() -> None:
    cut = [token for seed in range(40) for token in tokens(ANSWERS[4], random.Random(seed))]
    assert any("\ud800" <= token <= "\udbff" for token in cut)


def test_a_tool_call_has_a_part_of_its_own_for_each_call() -> None:
    pieces = answer_for(2).pieces
    assert {piece.part for piece in pieces if piece.kind == "tool_call"} == {"call_1", "call_2"}
