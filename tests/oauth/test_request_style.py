"""The format of token requests, and what of them no message may show."""

from tokenkeeper.oauth.request_style import RequestStyle


def test_secrets_in_headers():
    """Header values and the words in them are secrets, unless they are short or name us."""
    headers = {
        "User-Agent": "billing/1.2",
        "X-Version": "2",
        "X-Pin": "42",
        "X-API-Key": "Key hunter-2",
    }
    assert set(RequestStyle(headers=headers).secrets()) == {
        "42",
        "Key hunter-2",
        "Key",
        "hunter-2",
    }
