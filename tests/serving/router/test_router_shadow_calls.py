"""The tap's side of HTTP/2: what Envoy may send, and what nobody should."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate_serving.http.http2_frames import PREFACE
from headgate_serving.router.mirror.calls import LARGEST_MESSAGE, MOST_PENDING, Connection

DATA, HEADERS, RST_STREAM, SETTINGS, PING = 0, 1, 3, 4, 6
END_STREAM, ACK, PADDED = 1, 1, 8


class Pipe(asyncio.Transport):
    """Notes what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written, self.aborted = b"", False

    def write(self, data: Any) -> None:
        self.written += data

    def abort(self) -> None:
        self.aborted = True


class Noted:
    """A call that has had enough after `wanted` messages."""

    def __init__(self, wanted: int = 2) -> None:
        self.wanted, self.over = wanted, 0
        self.messages = list[bytes]()

    def message(self, text: Any) -> Any:
        self.messages.append(text)
        return len(self.messages) < self.wanted

    def ended(self) -> None:
        self.over += 1


def frame(kind: Any, flags: Any, number: Any, payload: bytes = b"") -> Any:
    return len(payload).to_bytes(3) + bytes([kind, flags]) + number.to_bytes(4) + payload


def message(text: Any) -> Any:
    return b"\0" + len(text).to_bytes(4) + text


def at_once(read: Any) -> None:
    read()


def connected(*calls: Any) -> Any:
    waiting = list(calls)
    connection, pipe = Connection(lambda: waiting.pop(0) if waiting else None, at_once), Pipe()
    connection.connection_made(pipe)
    connection.data_received(PREFACE + frame(SETTINGS, 0, 0))
    pipe.written = pipe.written[-9:]
    assert pipe.written == frame(SETTINGS, ACK, 0)
    pipe.written = b""
    return connection, pipe


@given(st.data())
def test_messages_come_whole_however_they_are_cut(data: Any) -> None:
    texts = data.draw(st.lists(st.binary(max_size=60), min_size=1, max_size=6))
    stream, sent = b"".join(map(message, texts)), frame(HEADERS, 4, 1, b"whatever")
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        pad = data.draw(st.sampled_from([None, 0, 3]))
        payload = stream[:size] if pad is None else bytes([pad]) + stream[:size] + bytes(pad)
        sent, stream = sent + frame(DATA, 0 if pad is None else PADDED, 1, payload), stream[size:]
    call = Noted(wanted=len(texts) + 1)
    connection, pipe = connected(call)
    while sent:
        size = data.draw(st.integers(1, len(sent)))
        connection.data_received(sent[:size])
        sent = sent[size:]
    assert (call.messages, call.over, pipe.aborted) == (texts, 0, False)


def test_a_call_that_has_enough_is_answered_and_forgotten() -> None:
    call = Noted()
    connection, pipe = connected(call)
    connection.data_received(frame(HEADERS, 4, 1) + frame(DATA, 0, 1, message(b"a") + message(b"b") + message(b"c")))
    assert call.messages == [b"a", b"b"]
    assert b"grpc-status\x010" in pipe.written
    pipe.written = b""
    connection.data_received(frame(DATA, 0, 1, message(b"d")) + frame(RST_STREAM, 0, 1, bytes(4)))
    assert (len(call.messages), call.over, pipe.written) == (2, 0, b"")


def test_a_call_without_use_is_answered_at_once() -> None:
    connection, pipe = connected()
    connection.data_received(frame(HEADERS, 4, 1))
    assert b"grpc-status\x010" in pipe.written


@pytest.mark.parametrize(
    "end",
    [frame(RST_STREAM, 0, 1, bytes(4)), frame(DATA, END_STREAM, 1), frame(HEADERS, END_STREAM, 1), None],
)
def test_a_call_that_ends_early_says_so_once(end: Any) -> None:
    call = Noted()
    connection, _ = connected(call)
    connection.data_received(frame(HEADERS, 4, 1) + frame(DATA, 0, 1, message(b"a")))
    if end:
        connection.data_received(end)
    connection.connection_lost(None)
    assert (call.messages, call.over) == ([b"a"], 1)


def test_a_ping_is_answered() -> None:
    connection, pipe = connected()
    connection.data_received(frame(PING, 0, 0, b"12345678") + frame(PING, ACK, 0, b"12345678"))
    assert pipe.written == frame(PING, ACK, 0, b"12345678")


def test_what_was_read_may_be_sent_again() -> None:
    call = Noted(wanted=1000)
    connection, pipe = connected(call)
    connection.data_received(frame(HEADERS, 4, 1))
    for _ in range(40):
        connection.data_received(frame(DATA, 0, 1, message(bytes(16_000))))
    assert pipe.written.count((4).to_bytes(3) + bytes([8, 0])) == 2  # for the connection and for the call


@pytest.mark.parametrize("head", [b"\1" + bytes(4), b"\0" + LARGEST_MESSAGE.to_bytes(4)])
def test_a_message_that_is_compressed_or_too_large_ends_its_call_and_no_other(head: Any) -> None:
    first, other = Noted(), Noted()
    connection, pipe = connected(first, other)
    connection.data_received(frame(HEADERS, 4, 1) + frame(HEADERS, 4, 3) + frame(DATA, 0, 1, head + b"abc"))
    connection.data_received(frame(DATA, 0, 3, message(b"a")))
    assert (first.messages, first.over, other.messages, pipe.aborted) == ([], 1, [b"a"], False)


def test_what_is_kept_of_messages_that_are_not_whole_is_bounded() -> None:
    calls = [Noted() for _ in range(16)]
    connection, pipe = connected(*calls)
    piece, sent = bytes(16_384), 0
    for number in range(1, 32, 2):
        connection.data_received(frame(HEADERS, 4, number) + frame(DATA, 0, number, b"\0" + (3 << 20).to_bytes(4)))
        for _ in range(150):
            if not pipe.aborted:
                connection.data_received(frame(DATA, 0, number, piece))
                sent += len(piece)
    assert pipe.aborted
    assert sent <= MOST_PENDING + len(piece)


@given(st.binary(max_size=200), st.booleans())
def test_no_bytes_are_more_than_a_reason_to_hang_up(received: Any, greeted: Any) -> None:
    connection = Connection(Noted, at_once)
    connection.connection_made(Pipe())
    connection.data_received(PREFACE if greeted else b"")
    connection.data_received(received)
    connection.connection_lost(None)


def test_what_comes_is_read_together_when_it_is_time() -> None:
    call, reads = Noted(), list[Any]()
    connection = Connection(lambda: call, reads.append)
    connection.connection_made(Pipe())
    for part in (PREFACE + frame(SETTINGS, 0, 0), frame(HEADERS, 4, 1), frame(DATA, 0, 1, message(b"a"))):
        connection.data_received(part)
    assert (call.messages, len(reads)) == ([], 1)
    reads.pop()()
    assert call.messages == [b"a"]
    connection.data_received(frame(DATA, 0, 1, message(b"b")))
    connection.connection_lost(None)
    reads.pop()()
    assert (call.messages, call.over) == ([b"a"], 1)
