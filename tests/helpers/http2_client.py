"""Clients of the HTTP/2 layer: one that keeps to the rules (h2's), and one that sends whatever it is told."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.settings
from hyperframe.frame import GoAwayFrame

from headgate_serving.http.http2_frames import frame
from patience import PATIENCE

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED, HAS_PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20
Pairs = Sequence[tuple[bytes, bytes]]


async def until(happened: Callable[[], object]) -> None:
    """Let the server work until it has happened."""
    async with asyncio.timeout(PATIENCE):
        while not happened():  # noqa: ASYNC110 - there is no event
            await asyncio.sleep(0.001)


def head(path: str = "/", *more: tuple[bytes, bytes]) -> list[tuple[bytes, bytes]]:
    """The headers of a gRPC call."""
    return [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", path.encode()),
        (b":authority", b"localhost"),
        (b"content-type", b"application/grpc"),
        *more,
    ]


@dataclass
class Reply:
    """What came of one stream."""

    heads: list[dict[bytes, bytes]] = field(default_factory=list)
    data: bytes = b""
    pieces: list[int] = field(default_factory=list)
    reset: int | None = None
    ended: bool = False

    @property
    def status(self) -> int:
        """gRPC's."""
        return int(self.heads[-1][b"grpc-status"])

    @property
    def over(self) -> bool:
        """Nothing more will come."""
        return self.ended or self.reset is not None


class Client:
    """h2's side of a connection. It opens its windows for what it has got, unless `reads` is False."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        config = h2.config.H2Configuration(client_side=True, header_encoding=None)
        self.h2 = h2.connection.H2Connection(config)
        self.asked_to_leave = 0
        self.h2._frame_dispatch_table[GoAwayFrame] = self._goes_on
        self.replies: dict[int, Reply] = {}
        self.reads = True
        self.pongs = 0
        self.agreed = False
        self.closed = False

    @classmethod
    async def connect(cls, port: int, **settings: int) -> "Client":
        """With these settings (of h2.settings.SettingCodes)."""
        client = cls(*await asyncio.open_connection("127.0.0.1", port))
        values = {getattr(h2.settings.SettingCodes, name): value for name, value in settings.items()}
        client.h2.local_settings = h2.settings.Settings(client=True, initial_values=values)
        client.h2.initiate_connection()
        await client.flush()
        await client.until(lambda: client.agreed)
        return client

    async def flush(self) -> None:
        """Send what h2 has prepared."""
        self._writer.write(self.h2.data_to_send())
        await self._writer.drain()

    async def begin(self, headers: Pairs | None = None, *, end: bool = False, **how: Any) -> int:
        """Open a stream."""
        number = self.h2.get_next_available_stream_id()
        self.replies[number] = Reply()
        self.h2.send_headers(number, headers or head(), end_stream=end, **how)
        await self.flush()
        return number

    async def send(self, number: int, data: bytes, *, end: bool = False, padding: int | None = None) -> None:
        """Send a body as fast as the server's windows allow."""
        at = 0
        while True:
            room = self.h2.local_flow_control_window(number) - (padding + 1 if padding else 0)
            room = min(room, self.h2.max_outbound_frame_size - 256)
            if room <= 0 and data:
                await self.hear()
                continue
            part = data[at : at + room]
            at += len(part)
            self.h2.send_data(number, part, end_stream=end and at == len(data), pad_length=padding)
            await self.flush()
            if at == len(data):
                return

    async def ask(self, body: bytes, headers: Pairs | None = None) -> Reply:
        """A whole call."""
        number = await self.begin(headers)
        await self.send(number, body, end=True)
        return await self.reply(number)

    async def reply(self, number: int) -> Reply:
        """What comes of it in the end."""
        await self.until(lambda: self.replies[number].over)
        return self.replies[number]

    def has(self, number: int, count: int) -> bool:
        """Whether so many bytes of a stream's answer have come."""
        return len(self.replies[number].data) >= count

    async def until(self, happened: Callable[[], bool]) -> None:
        """Read until it has happened, or the server has hung up."""
        async with asyncio.timeout(PATIENCE):
            while not happened() and not self.closed:
                await self.hear()

    async def hear(self) -> None:
        """Take one packet."""
        data = await self._reader.read(1 << 16)
        self.closed = not data
        for event in self.h2.receive_data(data):
            self._heard(event)
        await self.flush()

    def _heard(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.ResponseReceived() | h2.events.TrailersReceived():
                self.replies[event.stream_id].heads.append(dict(event.headers))
            case h2.events.DataReceived():
                reply = self.replies[event.stream_id]
                reply.data += event.data
                reply.pieces.append(len(event.data))
                if self.reads and event.flow_controlled_length:
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            case h2.events.StreamEnded():
                self.replies[event.stream_id].ended = True
            case h2.events.StreamReset():
                self.replies[event.stream_id].reset = event.error_code
            case h2.events.SettingsAcknowledged():
                self.agreed = True
            case h2.events.PingAckReceived():
                self.pongs += 1

    def _goes_on(self, _frame: GoAwayFrame) -> tuple[list[Any], list[Any]]:
        """For h2 a connection is over with the first GOAWAY, for RFC 9113 it is not."""
        self.asked_to_leave += 1
        return [], []

    async def close(self) -> None:
        """Hang up."""
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()


class Rude:
    """Sends bytes, and reads frames."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def connect(cls, port: int, *, greet: bool = True) -> "Rude":
        """With a preface and empty settings, unless it is too rude for that."""
        rude = cls(*await asyncio.open_connection("127.0.0.1", port))
        if greet:
            await rude.send(PREFACE + frame(SETTINGS, 0, 0))
        return rude

    async def send(self, data: bytes) -> None:
        """Whatever it is."""
        self._writer.write(data)
        await self._writer.drain()

    async def frame(self) -> tuple[int, int, int, bytes] | None:
        """The next one: kind, flags, stream and payload; None if the server has hung up."""
        try:
            first = await asyncio.wait_for(self._reader.readexactly(9), PATIENCE)
            payload = await self._reader.readexactly(int.from_bytes(first[:3], "big"))
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        return first[3], first[4], int.from_bytes(first[5:], "big"), payload

    async def next(self, kind: int) -> tuple[int, int, bytes] | None:
        """The next frame of that kind: flags, stream and payload."""
        while (got := await self.frame()) and got[0] != kind:
            pass
        return got and got[1:]

    async def thrown_out(self) -> int:
        """The code with which the server ends the connection."""
        goaway = await self.next(GOAWAY)
        assert goaway
        while await self.frame():
            pass
        return int.from_bytes(goaway[2][4:8], "big")

    async def close(self) -> None:
        """Hang up."""
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()
