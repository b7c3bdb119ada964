"""The parts of a response in OpenAI's format: opened by name, bounded in number; tool calls are held until they have
a name.

A `Draft` is the working copy of a response's state while one record is read. It collects the token events.
"""

import hashlib
import json
import re
from typing import Final

import msgspec

from topics.codec import TokenRecord
from topics.json_text import REPLACEMENT
from topics.limits import MAX_PARTS, MAX_TEXT_BYTES, SURROGATE, Invalid, check_part
from topics.objects import read_object
from topics.openai_state import MAX_CHOICES, MAX_HELD_BYTES, Call, CallSlot, Choice, State, Step
from topics.records import Event, JsonObject

TOOL_CALL: Final = "tool_call"
FUNCTION_CALL_INDEX: Final = -1
"""The index of the deprecated `function_call`, of which a choice has at most one."""

_MAX_PIECE: Final = MAX_TEXT_BYTES // 4
"""Characters of one token's text: a character takes at most 4 bytes of UTF-8."""
_MAX_LABEL: Final = 64
_MAX_GIVEN_ID: Final = 1024
"""Characters of a call's id in `partInfo`. A longer one is left out."""
_MAX_GIVEN_REASON: Final = 256
_INNER_SURROGATE: Final = re.compile(r"(?<!^)[\udc00-\udfff]|[\ud800-\udbff](?!\Z)")
"""Half a pair that no other token can complete."""
_RESERVED: Final = re.compile(r"[0-9]+\..*|(?:text|reasoning|refusal|audio_transcript)(?:_[0-9]+_[0-9]+)?", re.DOTALL)
"""Names of other parts, which a call's id must not take."""


class Draft:
    """The state of one response, while one record changes it. Bounded: 64 parts, 64 choices, `MAX_HELD_BYTES` of held deltas."""

    __slots__ = ("_before", "_changed", "_response_id", "calls", "choices", "dropped", "ended", "parts", "records", "slots", "usage", "usage_seen")  # fmt: skip

    def __init__(self, state: State, response_id: str) -> None:
        self._before = state
        self._changed = False
        self._response_id = response_id
        self.parts = list(state.parts)
        self.choices = list(state.choices)
        self.calls = list(state.calls)
        self.slots = list(state.slots)
        self.usage = state.usage
        self.usage_seen = state.usage_seen
        self.ended = state.ended
        self.records: list[TokenRecord] = []
        self.dropped = 0

    def step(self) -> Step:
        return Step(self._state(), tuple(self.records), self.dropped)

    def _state(self) -> State:
        if not self._changed:
            return self._before
        if self.ended:
            return State(ended=True)
        return State(
            parts=tuple(self.parts),
            choices=tuple(self.choices),
            calls=tuple(self.calls),
            slots=tuple(self.slots),
            usage=self.usage,
            usage_seen=self.usage_seen,
        )

    # Text

    def text(self, part: str, kind: str, text: str) -> bool:
        """Adds text to a part. Returns True if there was room for the part. Empty text changes nothing."""
        if not text:
            return True
        if part not in self.parts:
            if self._full:
                self.dropped += 1
                return False
            self.parts.append(part)
            self._changed = True
        self._emit(part, kind, text, None)
        return True

    def slot(self, key: str, kind: str, name: str, text: str, *, whole: bool = False) -> None:
        """Adds text to the part of `key`. The first part of a kind is named after the kind, each further one `name`.

        With `whole`, `text` is the complete text: only what no delta gave is added.
        """
        at = next((at for at, slot in enumerate(self.slots) if slot.key == key), len(self.slots))
        slot = self.slots[at] if at < len(self.slots) else CallSlot(key, name if kind in self.parts else kind)
        added = slot.given.rest(text) if whole else text
        if added and self.text(slot.part, kind, added):
            self.slots[at : at + 1] = [CallSlot(key, slot.part, slot.given.plus(added))]
            self._changed = True

    @property
    def _full(self) -> bool:
        return len(self.parts) + sum(call.waits for call in self.calls) >= MAX_PARTS

    def _emit(self, part: str, kind: str, text: str, info: JsonObject | None) -> None:
        """Token events of a text: several where it is longer than one may be."""
        if SURROGATE.search(text) is not None:
            text = _INNER_SURROGATE.sub(REPLACEMENT, text)
        for begin in range(0, max(len(text), 1), _MAX_PIECE):
            piece = text[begin : begin + _MAX_PIECE]
            unpaired = SURROGATE.search(piece) is not None
            given = info if begin == 0 else None
            token = TokenRecord(
                Event.TOKEN.value,
                self._response_id,
                text=piece,
                kind=kind,
                part=part,
                part_info=given,
                unpaired=unpaired,
            )
            self.records.append(token)

    # Tool calls

    def call(
        self,
        choice: int,
        index: int | None,
        given_id: str = "",
        name: str = "",
        arguments: str = "",
        *,
        strict: bool = False,
        whole: bool = False,
    ) -> None:
        """Adds a delta of a tool call. A new id opens a call; else the index decides; else the delta belongs to the
        newest call.

        With `strict`, each call has an index of its own, and an unknown index opens a call.
        With `whole`, `arguments` are complete: only what no delta gave is added.
        """
        opens = strict or (bool(name) and index is not None)
        at = self._find(choice, index, _label(given_id), opens=opens)
        if at is None:
            at = self._add_call(choice)
        self._label(at, index, given_id)
        if self.calls[at].dropped:
            self.dropped += 1
        else:
            added = self.calls[at].given.rest(arguments) if whole else arguments
            if strict and added:
                self._set(at, given=self.calls[at].given.plus(added))
            self._fill(at, name, added)

    def _find(self, choice: int, index: int | None, label: str, *, opens: bool) -> int | None:
        newest_first = [at for at in reversed(range(len(self.calls))) if self.calls[at].choice == choice]
        if label:
            for at in newest_first:
                if self.calls[at].label == label:
                    return at
        for at in newest_first if index is not None else ():
            call = self.calls[at]
            if call.index == index and (not label or (call.waits and not call.label)):
                return at
        if label or opens or not newest_first:
            return None
        return newest_first[0]

    def _add_call(self, choice: int) -> int:
        full = self._full
        if full:  # one dropped call of a choice is kept: deltas that match no call go to the newest
            self.calls = [call for call in self.calls if not (call.dropped and call.choice == choice)]
        self.calls.append(Call(choice, dropped=full))
        self._changed = True
        return len(self.calls) - 1

    def _label(self, at: int, index: int | None, given_id: str) -> None:
        """Keeps the labels of a call for later deltas. An index belongs to the newest call that has it."""
        call = self.calls[at]
        if given_id and not call.label:
            kept = _well_formed(given_id) if call.waits and len(given_id) <= _MAX_GIVEN_ID else ""
            self._set(at, label=_label(given_id), given_id=kept)
        if index is None or call.index == index:
            return
        for other, each in enumerate(self.calls):
            if each.choice == call.choice and each.index == index:
                self._set(other, index=None)
        self._set(at, index=index)

    def _set(self, at: int, **changes: object) -> None:
        self.calls[at] = msgspec.structs.replace(self.calls[at], **changes)
        self._changed = True

    def _fill(self, at: int, name: str, arguments: str) -> None:
        call = self.calls[at]
        if not call.waits:
            if arguments:
                self._emit(call.part, TOOL_CALL, arguments, None)
            return
        held = call.held + _escaped(arguments)
        waiting = sum(len(each.held) + len(each.given_id) for each in self.calls) + len(held) - len(call.held)
        if name or waiting > MAX_HELD_BYTES:
            self._show(at, name, held)
        elif arguments:
            self._set(at, held=held)

    def _show(self, at: int, name: str, held: str) -> None:
        """Opens the part of a call that waited. Its first token is emitted even without text, so that readers see the
        call.
        """
        call = self.calls[at]
        part = self._call_part(at)
        self.parts.append(part)
        self._set(at, part=part, held="", given_id="")
        self._emit(part, TOOL_CALL, json.loads(f'"{held}"'), _part_info(name, call.given_id))

    def _call_part(self, at: int) -> str:
        call = self.calls[at]
        prefix = prefix_of(call.choice)
        given = call.given_id if call.given_id == call.label else ""
        part = prefix + given
        if given and not _RESERVED.fullmatch(given) and check_part(part, TOOL_CALL) is None and part not in self.parts:
            return part
        number = sum(each.choice == call.choice for each in self.calls[:at])
        while (part := f"{prefix}{TOOL_CALL}_{number}") in self.parts:
            number += 1
        return part

    # Choices, usage, the end

    def see(self, index: int) -> bool:
        """Notes a choice, which must then finish. Returns False for one beyond the bound."""
        if any(each.index == index for each in self.choices):
            return True
        if len(self.choices) >= MAX_CHOICES:
            return False
        self.choices.append(Choice(index))
        self._changed = True
        return True

    def finish(self, index: int, reason: str, given: str) -> None:
        """Notes why a choice finished. The first reason counts."""
        for at, each in enumerate(self.choices):
            if each.index == index and each.reason is None:
                self.choices[at] = Choice(index, reason, _well_formed(given[:_MAX_GIVEN_REASON]))
                self._changed = True

    def take_usage(self, usage: object) -> None:
        """Keeps usage as sent; the last one counts. Usage over the limits of an object counts as seen, and is not kept."""
        if not isinstance(usage, dict):
            return
        taken = read_object("usage", usage)
        if not isinstance(taken, Invalid):
            self.usage = taken
        self.usage_seen = self.usage_seen or self.first_finished is not None
        self._changed = True

    @property
    def finished(self) -> bool:
        return bool(self.choices) and all(each.reason is not None for each in self.choices)

    @property
    def first_finished(self) -> Choice | None:
        """Returns the choice whose reason is the response's."""
        done = [each for each in self.choices if each.reason is not None]
        return min(done, key=lambda each: each.index, default=None)

    def end(self, reason: str, *, given: str = "", error: JsonObject | None = None) -> None:
        """Ends the response, after the calls that still wait for a name."""
        for at in range(len(self.calls)):
            if self.calls[at].waits:
                self._show(at, "", self.calls[at].held)
        usage = self.usage
        if given and given != reason:
            named = read_object("usage", {**(usage or {}), "finishReason": given})
            usage = usage if isinstance(named, Invalid) else named
        stop = TokenRecord(Event.STOP.value, self._response_id, reason=reason, usage=usage, error=error)
        self.records.append(stop)
        self.ended = self._changed = True


def prefix_of(choice: int) -> str:
    return f"{choice}." if choice else ""


def _label(given_id: str) -> str:
    if len(given_id) <= _MAX_LABEL and SURROGATE.search(given_id) is None:
        return given_id
    return hashlib.sha256(given_id.encode(errors="surrogatepass")).hexdigest()


def _part_info(name: str, given_id: str) -> JsonObject | None:
    """Returns the known fields of the call. A field that is too large for an object is left out."""
    known = {key: text for key, text in (("name", name), ("id", given_id)) if text}
    taken = read_object("partInfo", known)
    if isinstance(taken, Invalid):
        taken = read_object("partInfo", {"id": given_id} if given_id else {})
    return None if isinstance(taken, Invalid) else taken or None


def _escaped(text: str) -> str:
    return json.dumps(text)[1:-1]


def _well_formed(text: str) -> str:
    """Returns the text with U+FFFD for each lone surrogate."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
