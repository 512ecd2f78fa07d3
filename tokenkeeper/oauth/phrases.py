"""Recognizes what a server means by its prose, and by error codes that no list contains.

The patterns are narrow on purpose. A missed phrase costs one wrong retry or one failed call; one
that matches too much locks an account, or gives up during an outage. They are compiled when they
are first used: most processes never see a refusal. Imports nothing from the package.
"""

from __future__ import annotations

import re

__all__ = [
    "code_in",
    "is_busy",
    "last_part",
    "pending_in",
    "says_later",
    "sounds_final",
    "sounds_transient",
]

_BUSY = (
    r"\b(?:already|still|currently|is|are|now) (?:being |under )?process(?:ed|ing)\b"
    r"|\b(?:already|still|currently) (?:in progress|in process|being handled|working)"
    r"|\b(?<!no )(?:request|refresh|operation|renewal|authentication|transaction|grant|exchange)s?"
    r" (?:(?:is|are|already|currently|still) )*(?:in progress|in process|pending|running|under way)"
    r"|\bconcurrent(?:ly)? (?:\w+ )?(?:request|refresh|call|update|access|attempt|modif|transact)"
    r"|\banother (?:token |refresh )?(?:request|refresh) (?:is|was|for)\b"
)
# A refresh token that was used twice is invalid, however "concurrent" the uses were.
_SPENT = r"\b(?:re-?used?|replay|revoked|no (?:request|operation))"
_LATER = (
    r"\b(?:try|retry|repeat)(?: (?:your|the|this) request)?"
    r"(?: again)? (?:later|in (?:a|an|\d+|few|some)|after|shortly|soon|momentarily)\b"
    r"|\b(?<!not )(?:please retry|retry (?:your|the|this) request)\b(?! with)"
    r"|\b(?:temporar(?:y|ily)|currently|momentarily) (?:\w+ )?"
    r"(?:unavailable|error|failure|overloaded|outage|down|problem|not available)"
    r"|\bservice (?:is )?unavailable|\boverload|\bmaintenance\b"
    r"|\b(?:request|gateway|upstream|backend|connection) time[d ]*out"
)
_TOO_MANY = (
    r"\btoo many (?:\w+ )?(?:requests|calls|attempts|tokens)|\brate[ -]?limit|\bthrottl|\bquota\b"
    r"|\bslow down\b"
)

_CLIENT_CERTIFICATE = (
    r"no required ssl certificate|ssl certificate required"
    r"|(?:client|peer|tls|ssl|mtls) certificate (?:is |was )?(?:required|missing|needed"
    r"|not (?:present|provided|sent|supplied|found))"
    r"|(?:requires?|missing|no|needs|expects?) (?:an? )?(?:valid )?(?:tls |ssl |mtls )?"
    r"client certificate|certificate[_ ]required|did not return a certificate"
    r"|(?:mutual tls|mtls)(?: authentication)? (?:is )?required"
)
_CLIENT = (
    # "missing client `grants`" is node-oauth2-server's text, with a 503, for an unknown client.
    r"\binvalid[_ ]client\b|client authentication failed|missing client `grants`"
    r"|(?:invalid|incorrect|wrong|bad|unknown|unrecogni[sz]ed) (?:oauth )?"
    r"(?:client|application|app|api)[-_ ]?(?:id|identifier|secret|credentials?|key)\b"
    r"|unknown client\b|client (?:was )?not found|invalid (?:user ?name or )?password"
)
_CODE_IN_WORDS = [
    (_CLIENT_CERTIFICATE, "client_certificate_required"),
    (_CLIENT, "invalid_client"),
    (r"\binvalid[_ ]grant\b", "invalid_grant"),
    (r"\binvalid[_ ]scopes?\b", "invalid_scope"),
    (r"\bunsupported[_ ]grant[_ ]type\b", "unsupported_grant_type"),
    (r"\bunauthori[sz]ed[_ ]client\b", "unauthorized_client"),
    (r"\binvalid[_ ]request\b", "invalid_request"),
    (r"\baccess[_ ]denied\b", "access_denied"),
]

_PENDING_IN_WORDS = [
    (r"\bauthori[sz]ation[_ ]pending\b", "authorization_pending"),
    (r"\bslow_down\b", "slow_down"),
]

_FINAL_CODE = (
    r"^(?:invalid|unsupported|unauthori[sz]ed|bad|incorrect|wrong|missing|unknown|no)_(?!error)"
    r"|_(?:denied|required|not_found|disabled|expired|revoked|mismatch|forbidden|locked|invalid"
    r"|not_allowed|not_permitted|not_supported)$"
)
_LATER_CODE = (
    r"temporar|unavailable|time_?out|timed_out|overload|busy|maintenance|try_again"
    r"|retry_later|please_retry|retryable"
)
_TRANSIENT_CODE = [
    (r"in_progress|concurren|already_process|lock_row|pending", "request_in_progress"),
    (r"throttl|rate_?limit|quota|too_many|slow_?down|over_?limit", "too_many_requests"),
    (_LATER_CODE, "temporarily_unavailable"),
    (r"^(?:internal|server)_", "server_error"),
]
_CAMEL = r"(?<=[a-z0-9])(?=[A-Z])"


def is_busy(words: str) -> bool:
    """Return whether the server is already processing the same request."""
    return _says(_BUSY, words) and not _says(_SPENT, words)


def says_later(words: str) -> str | None:
    """Return the error code for *words* that ask to try again later, or ``None``."""
    if _says(_TOO_MANY, words):
        return "too_many_requests"
    return "temporarily_unavailable" if _says(_LATER, words) else None


def code_in(words: str) -> str | None:
    """Return the error code that *words* spell out, or ``None``."""
    return next((code for pattern, code in _CODE_IN_WORDS if _says(pattern, words)), None)


def pending_in(words: str) -> str | None:
    """Return the error code for *words* that name one of RFC 8628 §3.5 that means to wait."""
    return next((code for pattern, code in _PENDING_IN_WORDS if _says(pattern, words)), None)


def sounds_final(code: str) -> bool:
    """Return whether an unlisted code blames the request, as "invalid_app_key" does."""
    return bool(re.search(_FINAL_CODE, _snake(code)))


def sounds_transient(code: str) -> str | None:
    """Return the known transient code that an unlisted one resembles, or ``None``."""
    if sounds_final(code):
        return None
    snake = _snake(code)
    return next((known for pattern, known in _TRANSIENT_CODE if re.search(pattern, snake)), None)


def last_part(code: str) -> str:
    """Return the last part of a URI, a URN or a dotted name, and other codes unchanged."""
    code = code.strip().rstrip("/")
    return code if re.search(r"\s", code) else re.split(r"[/#:.]", code)[-1]


def _says(pattern: str, words: str) -> bool:
    return re.search(pattern, words, re.IGNORECASE) is not None


def _snake(code: str) -> str:
    return re.sub(r"\W+", "_", re.sub(_CAMEL, "_", last_part(code)[:200]).lower()).strip("_")
