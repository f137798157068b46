"""Reading Server-Sent Events, whatever pieces they come in."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from service.cli.event_stream import Frame, read_frames

# U+2028 and U+0085 end lines for Python's texts, and stand in JSON as they are.
BODY = '{"type":"job.failed","data":"a\u2028b\u0085c: d"}'.encode()
STREAM = (
    b"retry: 2000\n\nid: evt_1\nevent: job.failed\ndata: "
    + BODY
    + b"\n\n: still here\n\nid: evt_2\ndata: {}\n\nid: evt_3\ndata: cut"
)


@given(st.lists(st.integers(0, len(STREAM)), max_size=8))
def test_events_are_whole_however_the_bytes_are_cut_and_one_that_is_not_is_left_out(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(STREAM)]
    pieces = [STREAM[begin:end] for begin, end in itertools.pairwise(places)]
    assert list(read_frames(pieces)) == [Frame("evt_1", BODY), Frame("evt_2", b"{}")]


def test_lines_may_end_as_on_windows() -> None:
    assert list(read_frames([b"id: evt_1\r\ndata: {}\r\n\r\n"])) == [Frame("evt_1", b"{}")]
