"""Who has the extractor of the page, and who waits."""

from __future__ import annotations

import pytest

from slt.inference.page.line import Full, Line


def test_who_comes_first_has_it_and_the_others_move_up():
    line = Line(2)
    with line.place() as first:
        assert first.wait(0)
        with line.place() as second:
            with line.place() as third:
                assert (second.ahead, third.ahead, third.waiting) == (1, 2, 2)
                assert not second.wait(0.01)
                with pytest.raises(Full), line.place():
                    pass
            assert second.waiting == 1
    assert len(line) == 0


def test_who_leaves_the_middle_lets_the_next_one_up():
    line = Line(5)
    with line.place() as first:
        middle = line.place()
        middle.__enter__()
        with line.place() as last:
            middle.__exit__(None, None, None)
            assert (first.ahead, last.ahead) == (0, 1)
