"""The published splits: counts, and lines copied from the challenge's lists."""

from mics.data.cohorts.splits import LEARN2REG_2020, LEARN2REG_TODAY


def test_the_splits_are_disjoint_and_as_large_as_published():
    for split in (LEARN2REG_2020, LEARN2REG_TODAY):
        assert [len(split.train), len(split.validation), len(split.test)] == [20, 10, 20]
        assert len({*split.train, *split.validation, *split.test}) == 50
        assert len(split.validation_pairs) == 45
        assert {number for pair in split.validation_pairs for number in pair} == set(split.validation)
    assert {number for pair in LEARN2REG_2020.test_pairs for number in pair} == set(LEARN2REG_2020.test)


def test_lines_of_the_lists_of_2020():
    split = LEARN2REG_2020
    assert split.train[:7] == ("0002", "0003", "0005", "0006", "0008", "0009", "0021")
    assert split.validation == ("0001", "0004", "0007", "0010", "0023", "0026", "0029", "0032", "0035", "0038")
    assert split.validation_pairs[:4] == (("0001", "0004"), ("0001", "0007"), ("0001", "0010"), ("0001", "0023"))
    assert split.validation_pairs[-3:] == (("0032", "0035"), ("0032", "0038"), ("0035", "0038"))
    assert len(split.test_pairs) == 55
    assert split.test_pairs[:2] == (("0061", "0062"), ("0061", "0064"))
    assert split.test_pairs[10:12] == (("0063", "0064"), ("0063", "0066"))
    assert split.test_pairs[-3:] == (("0077", "0078"), ("0077", "0080"), ("0079", "0080"))


def test_lines_of_todays_list_of_test_pairs():
    pairs = LEARN2REG_TODAY.test_pairs
    assert len(pairs) == len(set(pairs)) == 39
    assert [pair[1] for pair in pairs[:8]] == ["0032", "0036", "0038", "0040", "0044", "0046", "0048", "0050"]
    assert [sum(pair[0] == fixed for pair in pairs) for fixed in ("0031", "0033", "0035", "0037", "0039")] == [
        8,
        7,
        7,
        6,
        5,
    ]
    assert pairs[-6:-3] == (("0045", "0046"), ("0045", "0048"), ("0045", "0050"))
    assert pairs[-3:] == (("0047", "0048"), ("0047", "0050"), ("0049", "0050"))


def test_todays_numbers_are_those_of_2020_without_gaps():
    old = sorted((*LEARN2REG_2020.train, *LEARN2REG_2020.validation, *LEARN2REG_2020.test))
    new = sorted((*LEARN2REG_TODAY.train, *LEARN2REG_TODAY.validation, *LEARN2REG_TODAY.test))
    renumbered = dict(zip(old, new, strict=True))
    assert tuple(renumbered[number] for number in LEARN2REG_2020.validation) == LEARN2REG_TODAY.validation
