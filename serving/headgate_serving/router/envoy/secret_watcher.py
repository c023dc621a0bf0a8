"""Watches the Secrets that are mounted beside the agent, and keeps the documents made of them in memory alone.

`agent` runs `SecretWatcher` beside its own loop. A certificate that can't be used leaves the one in use; keys of
clients that can't be used let nobody pass. Each Secret has a gauge, and a line in the log when its state changes.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from headgate_serving.certificates import read_authority, read_certificate
from headgate_serving.errors import UnusableSecret
from headgate_serving.router.envoy.config import authentication, tls
from headgate_serving.router.envoy.config.documents import discovery_response
from headgate_serving.router.envoy.config.layout import Layout
from headgate_serving.router.envoy.config.pod_sockets import PodSecret, pod_secrets
from headgate_serving.router.envoy.credentials import read_api_keys, read_token_keys
from headgate_serving.router.envoy.files import XdsFolder
from headgate_serving.router.policy.protection import ApiKeys, Protection, Tokens

log = logging.getLogger(__name__)

CHECK_SECONDS = 2.0

Read = Callable[[], tuple[Mapping[str, Any], tuple[str, ...]]]
"""A document, and what is wrong with what was left out of it."""


@dataclass(frozen=True)
class Source:
    """One document: how it is made, and the one that takes its place when it can't be; None leaves what there is."""

    purpose: str
    path: PurePosixPath
    read: Read
    otherwise: Mapping[str, Any] | None


@dataclass
class SecretWatcher:
    """`usable` hears which of the Secrets can be used."""

    protection: Protection
    folder: XdsFolder
    usable: Callable[[str, bool], None]
    _said: dict[str, str] = field(default_factory=dict)

    async def run(self) -> None:
        """Run until cancelled."""
        while True:
            self.check()
            await asyncio.sleep(CHECK_SECONDS)

    def check(self) -> None:
        """Bring the documents up to what is mounted."""
        for source in self._sources():
            document = source.otherwise
            try:
                document, wrong = source.read()
            except UnusableSecret as error:
                instead = "nobody is let in" if source.otherwise else "the last one that could be used stays"
                self._say(source.purpose, f"{error}; {instead}")
                self.usable(source.purpose, False)
            else:
                self._say(source.purpose, "; ".join(wrong))
                self.usable(source.purpose, True)
            if document is not None:
                self.folder.put_in_memory(source.path, discovery_response(document)[0])

    def _say(self, purpose: str, wrong: str) -> None:
        """Once, not every two seconds."""
        if self._said.get(purpose, "") != wrong:
            if wrong:
                log.error("%s: %s", purpose, wrong)
            else:
                log.info("%s: in order again", purpose)
            self._said[purpose] = wrong

    def _sources(self) -> Iterator[Source]:
        layout = self.folder.layout
        if secured := self.protection.tls:
            path = layout.secret(tls.CERTIFICATE)
            yield Source(
                "certificate", path, lambda: (tls.certificate_document(read_certificate(secured.mount)), ()), None
            )
            if secured.verify_clients:
                path = layout.secret(tls.AUTHORITY)
                yield Source(
                    "client authority", path, lambda: (tls.authority_document(read_authority(secured.mount)), ()), None
                )
        for secret in pod_secrets(self.protection.pods):
            yield _certificate_for_pods(secret, layout)
            yield _authority_of_pods(secret, layout)
        if who := self.protection.authentication:
            purpose = "API keys" if isinstance(who, ApiKeys) else "keys of tokens"
            path = layout.extension(authentication.FILTER)
            yield Source(purpose, path, lambda: _authentication(who), authentication.nobody_document())


def _certificate_for_pods(secret: PodSecret, layout: Layout) -> Source:
    def read() -> tuple[Mapping[str, Any], tuple[str, ...]]:
        return tls.certificate_document(read_certificate(secret.mount), secret.certificate), ()

    return Source(f"certificate for pods {secret.identity}", layout.secret(secret.certificate), read, None)


def _authority_of_pods(secret: PodSecret, layout: Layout) -> Source:
    def read() -> tuple[Mapping[str, Any], tuple[str, ...]]:
        return tls.authority_document(read_authority(secret.mount), secret.authority), ()

    return Source(f"authority of pods {secret.identity}", layout.secret(secret.authority), read, None)


def _authentication(who: ApiKeys | Tokens) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    if isinstance(who, ApiKeys):
        clients, wrong = read_api_keys(who.mount)
        return authentication.api_keys_document(who.header, clients), wrong
    keys, wrong = read_token_keys(who.mount)
    return authentication.tokens_document(who, keys), wrong
