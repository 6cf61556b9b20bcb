import pytest

from jaxstyle.app.pictures.pairs import make_pairs
from jaxstyle.app.system.errors import StartError


def test_pairs():
    assert make_pairs("ab", [1, 2, 3], "all") == [("a", 1), ("a", 2), ("a", 3), ("b", 1), ("b", 2), ("b", 3)]
    assert make_pairs("abc", [1, 2, 3], "zip") == [("a", 1), ("b", 2), ("c", 3)]
    assert make_pairs("a", [1, 2], "zip") == [("a", 1), ("a", 2)]
    assert make_pairs("ab", [1], "zip") == [("a", 1), ("b", 1)]
    with pytest.raises(StartError, match="2 content but 3 style images"):
        make_pairs("ab", [1, 2, 3], "zip")
    with pytest.raises(StartError, match="unknown pairing 'some'; valid: all, zip"):
        make_pairs("ab", [1], "some")
