"""The dictionary, and its parts."""

from __future__ import annotations

from headrace.training.data import cmudict


def test_the_dictionary_is_as_it_is_described() -> None:
    words = cmudict.load()
    assert len(words) == 117_493
    assert words["stream"] == (("S", "T", "R", "IY", "M"),)
    assert words["read"] == (("R", "EH", "D"), ("R", "IY", "D"))
    assert {letter for word in words for letter in word} == set(cmudict.LETTERS)
    assert {phone for spoken in words.values() for each in spoken for phone in each} == set(cmudict.PHONES)


def test_no_word_is_in_two_parts_and_the_parts_are_the_same_every_time() -> None:
    words = {f"{a}{b}": ((a.upper(),),) for a in cmudict.LETTERS for b in cmudict.LETTERS}
    parts, again = cmudict.split(words), cmudict.split(dict(reversed(words.items())))
    assert parts == again
    assert [len(p) for p in (parts.train, parts.selection, parts.scored)] == [602, 6, 68]
    everything = {*parts.train.spellings, *parts.selection.spellings, *parts.scored.spellings}
    assert everything == set(words)
    assert parts.scored.spoken[0] == words[parts.scored.spellings[0]]
