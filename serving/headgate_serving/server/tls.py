"""Mutual TLS of the listeners for inference: the newest certificate is shown, the newest authority vouches for clients.

`worker.py` makes one `MutualTls` and runs it. A Secret that changes is followed within seconds: connections that are
there go on, and each new handshake takes what was read last. What can't be used leaves what is in use, and is said.
"""

import asyncio
import logging
import ssl
from pathlib import Path

from ..certificates import Identity, read_identity, server_context
from ..errors import UnusableSecret

logger = logging.getLogger(__name__)

LOOK_SECONDS = 2.0
HANDSHAKE_SECONDS = 5.0
"""How long a handshake may take: who is not let in yet is no connection that is counted."""

HTTP_1, HTTP_2 = "http/1.1", "h2"


class MutualTls:
    """Contexts of both listeners, made of a mounted Secret; UnusableSecret where it can't be used from the start."""

    def __init__(self, mount: Path) -> None:
        self._mount = mount
        self._wrong = ""
        self._identity = read_identity(mount)
        self._newest = _contexts(self._identity)

    @property
    def usable(self) -> bool:
        """Whether the Secret as it is now is the one in use."""
        return not self._wrong

    def context(self, protocol: str) -> ssl.SSLContext:
        """For a listener, as long as it lives."""
        lasting = server_context(self._identity, protocol)

        def take_newest(connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
            connection.context = self._newest[protocol]

        # OpenSSL asks at each handshake, also where the client names no server.
        lasting.sni_callback = take_newest
        return lasting

    async def follow(self) -> None:
        """Run until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self.look()

    def look(self) -> None:
        """Take over what the Secret holds now, if it is something else and can be used."""
        wrong = ""
        try:
            identity = read_identity(self._mount)
            if identity != self._identity:
                self._newest, self._identity = _contexts(identity), identity
                logger.info("the certificate of %s has changed: new connections are made with it", self._mount)
        except UnusableSecret as error:
            wrong = str(error)
        if wrong and wrong != self._wrong:
            logger.error("%s: %s; the last one that could be used stays", self._mount, wrong)
        self._wrong = wrong


def _contexts(identity: Identity) -> dict[str, ssl.SSLContext]:
    return {protocol: server_context(identity, protocol) for protocol in (HTTP_1, HTTP_2)}
