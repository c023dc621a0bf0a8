"""gRPC's reflection service: what services and messages there are, for tools such as grpcurl."""

from collections import deque
from typing import Any

from ..codec.oip_messages import FILES, MESSAGES
from ..errors import RequestError
from ..http.http2_streams import Stream
from .grpc_calls import GOOD, HEAD, SHORT, Reader, Size, dismiss, framed, parsed, refuse_for
from .inference import NOT_FOUND


class Reflection:
    """One version of the service."""

    def __init__(self, service: str, max_body: int) -> None:
        package = service.rpartition(".")[0]
        self._request = MESSAGES[f"{package}.ServerReflectionRequest"]
        self._response = MESSAGES[f"{package}.ServerReflectionResponse"]
        self._max_body = max_body

    def open(self, stream: Stream) -> None:
        """A call begins: answer each of its messages."""
        reader = Reader(stream, min(SHORT, self._max_body))
        asked: deque[tuple[bytes, Size]] = deque()
        stream.begin(HEAD)

        def more() -> None:
            try:
                asked.extend(reader.short())
                if stream.ended:
                    reader.check_whole()
                while asked and not stream.unsent:  # no more answers than the client takes
                    message, size = asked.popleft()
                    stream.release(*size)
                    stream.send(framed(self._answer(parsed(self._request, message))))
            except RequestError as error:
                refuse_for(stream, error)
                return
            if stream.ended and not asked:
                stream.end(GOOD)

        stream.on_data = stream.on_end = stream.on_sent = more
        stream.on_leave = lambda: dismiss(stream)

    def _answer(self, asked: Any) -> Any:
        told = self._response(valid_host=asked.host, original_request=asked)
        which = asked.WhichOneof("choice")
        if which == "list_services":
            for file in FILES:
                for service in file.service:
                    told.list_services_response.service.add(name=f"{file.package}.{service.name}")
            return told
        file = None
        if which == "file_by_filename":
            file = next((file for file in FILES if file.name == asked.file_by_filename), None)
        elif which == "file_containing_symbol":
            file = next((file for file in FILES if _defines(file, asked.file_containing_symbol)), None)
        if file:
            told.file_descriptor_response.file_descriptor_proto.append(file.SerializeToString())
        else:
            told.error_response.error_code = NOT_FOUND
            told.error_response.error_message = "there is no such thing here"
        return told


def _defines(file: Any, symbol: str) -> bool:
    names = {one.name for one in (*file.message_type, *file.service)}
    return symbol.startswith(f"{file.package}.") and symbol[len(file.package) + 1 :].partition(".")[0] in names
