"""The metadata of an authorization server (RFC 8414 §2), and which of its endpoints to trust."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tokenkeeper._support.checks import checked_endpoint, shown_url
from tokenkeeper._support.endpoints import ENDPOINTS, origin_of
from tokenkeeper.exceptions import InvalidConfigurationError
from tokenkeeper.oauth.redaction import sanitize

__all__ = ["ServerMetadata", "UnusableEndpointError"]


class UnusableEndpointError(Exception):
    """The reason why an endpoint can't be used, to follow the words "the metadata at URL"."""


@dataclass(frozen=True, slots=True, eq=False)
class ServerMetadata:
    """A document with the metadata of an issuer. Immutable.

    :ivar issuer: the issuer identifier, which the document states verbatim.
    :ivar url: where it was read.
    :ivar content: the document.
    :ivar fresh_until: when to read it again, on the monotonic clock.
    """

    issuer: str
    url: str
    content: Mapping[str, Any]
    fresh_until: float

    def endpoint(self, name: str, *, with_certificate: bool = False) -> str:
        """Return the URL of the endpoint *name*.

        :param with_certificate: whether to prefer the alias for connections with a client's
            certificate (RFC 8705 §5); ``False`` by default.
        :raises UnusableEndpointError: if the document names none, or one that can't be trusted.
        """
        url = None
        aliases = self.content.get("mtls_endpoint_aliases")
        if with_certificate and isinstance(aliases, Mapping):
            url = aliases.get(name)
        if url is None:
            url = self.content.get(name)
        if url is None:
            advice = _advice(name, "Set it in endpoints if there is one.")
            raise UnusableEndpointError(f"has no {name}. {advice}")
        self._check(name, url)
        return str(url)

    def listed(self, member: str) -> tuple[object, ...]:
        """Return what the document lists as *member*; nothing if it has no list there."""
        value = self.content.get(member)
        if isinstance(value, str):  # as in token requests, where spaces separate values
            return tuple(value.split())
        return value if isinstance(value, tuple) else ()

    def _check(self, name: str, url: object) -> None:
        """Raise unless a secret may be sent to *url*.

        The document was read from the issuer itself, as no redirect is followed. Over https, only
        the issuer can have written it, so it may name any other https host, as Google's does. Over
        plain http another program on this machine could have written it, so that all that it may
        name is its own origin.
        """
        try:
            checked = checked_endpoint(url, name)
        except InvalidConfigurationError as error:
            raise UnusableEndpointError(f"can't be used: its {error}") from None
        theirs, ours = origin_of(checked), origin_of(self.issuer)
        if theirs == ours or theirs[0] == ours[0] == "https":
            return
        found = f"names the {name} {sanitize(shown_url(checked))}, which is not trusted:"
        if ours[0] == "https":
            why = "another origin than the issuer's must be https://"
        else:
            why = (
                "it has another origin than the issuer, and metadata over plain http could come "
                "from anyone on this machine"
            )
        advice = _advice(name, "If it is right, set it in endpoints.")
        raise UnusableEndpointError(f"{found} {why}. {advice}")

    def unsupported(self, auth_method: str, grant_type: str | None) -> Iterator[tuple[str, str]]:
        """Yield the member that says so and its values, for each of both that is not supported."""
        for member, wanted in (
            ("token_endpoint_auth_methods_supported", auth_method),
            ("grant_types_supported", grant_type),
        ):
            listed = self.content.get(member)
            if wanted is not None and isinstance(listed, tuple) and wanted not in listed:
                values = sanitize(", ".join(map(str, listed))) or "nothing"
                yield wanted, f"{member} lists {values}"


def _advice(name: str, how_to_set: str) -> str:
    """Return what to do about *name*: not every URL of the metadata can be set in its place."""
    return how_to_set if name in ENDPOINTS else "Have the server's operator correct it."
