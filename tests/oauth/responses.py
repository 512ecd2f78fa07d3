"""Responses of token endpoints, and the errors that become of them."""

import base64
import json
from datetime import UTC, datetime

import pytest

from tokenkeeper.exceptions import TokenAcquisitionError
from tokenkeeper.oauth.exchange import Expected, HttpAnswer
from tokenkeeper.oauth.token_response import parse_token_response

SENT = datetime(2030, 1, 1, tzinfo=UTC)
"""When the requests were sent."""

NOW = int(SENT.timestamp())

SECRET = "hunter2"
GOOD = {"access_token": "abc.DEF-1~2+3/4==", "token_type": "Bearer", "expires_in": 3600}
EXPECTED = Expected("api", SENT.timestamp(), scope="read", secrets=[SECRET])


def jwt(**claims):
    """Return an access token that is a JWT with *claims*."""
    parts = [{"alg": "RS256", "typ": "at+jwt"}, claims, "signature"]
    return ".".join(
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts
    )


def refused(body, status=200, expected=EXPECTED, **headers):
    """Return the error for a response."""
    if not isinstance(body, (bytes, str)):
        body = json.dumps(body)
    if isinstance(body, str):
        body = body.encode()
    answer = HttpAnswer(status, {k.replace("_", "-"): v for k, v in headers.items()}, body)
    with pytest.raises(TokenAcquisitionError) as caught:
        parse_token_response(answer, expected)
    error = caught.value
    assert str(error).startswith("provider 'api': token request failed (HTTP ")
    assert "no token" not in str(error)
    assert str(error).isprintable()
    assert error.provider_name == "api"
    assert error.status_code == status
    assert isinstance(error.transient, bool)
    assert error.__cause__ is None
    assert error.__context__ is None  # a decoder's error would contain the whole body
    return error
