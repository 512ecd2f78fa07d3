"""The claims that an API demands of a token."""

import base64
import json

import pytest

from tokenkeeper.exceptions import InvalidConfigurationError
from tokenkeeper.oauth.claims_challenge import LONGEST_CLAIMS, checked_claims, claims_in

CLAIMS = {"access_token": {"nbf": {"essential": True, "value": "1604106651"}, "<<???>>>": "ü"}}
JSON = json.dumps(CLAIMS, ensure_ascii=False)
STANDARD = base64.b64encode(JSON.encode()).decode()
URL_SAFE = base64.urlsafe_b64encode(JSON.encode()).decode()


@pytest.mark.parametrize("encoded", [STANDARD, URL_SAFE, STANDARD.rstrip("=")])
@pytest.mark.parametrize(
    "header",
    [
        'Bearer realm="", error="insufficient_claims", claims="{}"',
        "Bearer error=insufficient_claims, claims={}",
        'Basic, Bearer CLAIMS="{}", ERROR="insufficient_claims"',
    ],
)
def test_claims_of_a_challenge(header, encoded):
    """The claims are decoded, in either alphabet of base64 and without its padding as well."""
    assert STANDARD != URL_SAFE
    assert json.loads(claims_in(header.format(encoded))) == CLAIMS


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        'Bearer error="invalid_token"',
        f'Bearer error="invalid_token", claims="{STANDARD}"',
        f'Bearer claims="{STANDARD}"',
        'Bearer error="insufficient_claims"',
        'Bearer error="insufficient_claims", claims="%%%"',
        'Bearer error="insufficient_claims", claims="A"',
        'Bearer error="insufficient_claims", claims="/w=="',
        'Bearer error="insufficient_claims", claims="bm8ganNvbg=="',
        'Bearer error="insufficient_claims", claims="WzFd"',
    ],
)
def test_no_claims(header):
    """What is not a challenge, or can't be read, demands nothing."""
    assert claims_in(header) is None


def test_claims_for_a_request():
    """Claims are a JSON object of a usual length, as text."""
    assert checked_claims(None) is None
    assert checked_claims(JSON) == JSON
    for wrong in ("", "x", "[]", CLAIMS, "[" * 3000, json.dumps({"a": "b" * LONGEST_CLAIMS})):
        with pytest.raises(InvalidConfigurationError, match="JSON object") as caught:
            checked_claims(wrong)
        assert caught.value.field == "claims"
