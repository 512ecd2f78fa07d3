"""Responses in the formats that vendors document."""

import json
from datetime import timedelta

import pytest
from oauth.responses import NOW, SENT, jwt

from tokenkeeper.oauth.exchange import Expected, HttpAnswer
from tokenkeeper.oauth.token_response import parse_token_response

VENDORS = {
    "Salesforce": (
        {
            "access_token": "00DB!AQEAQ",
            "instance_url": "https://eu1.example",
            "token_type": "Bearer",
            "issued_at": "1893456000000",
            "signature": "c2ln",
        },
        3600,
    ),
    "Amazon": ({"access_token": "Atza|IQEB", "token_type": "bearer", "expires_in": 3600}, 3600),
    "Apigee": (
        {
            "access_token": "abc",
            "token_type": "BearerToken",
            "expires_in": "1799",
            "issued_at": "1893456000000",
            "refresh_token_expires_in": "0",
            "status": "approved",
            "scope": "",
        },
        1799,
    ),
    "Zoho": (
        {
            "access_token": "1000.abc.def",
            "expires_in_sec": 3600,
            "expires_in": 3_600_000,
            "api_domain": "https://www.example",
            "token_type": "Bearer",
        },
        3600,
    ),
    "Azure v1": (
        {
            "token_type": "Bearer",
            "expires_in": "3599",
            "ext_expires_in": "3599",
            "expires_on": str(NOW + 3599),
            "not_before": str(NOW - 1),
            "resource": "https://management.example/",
            "access_token": jwt(exp=NOW + 3599, iat=NOW - 1),
        },
        3599,
    ),
    "managed identity of a virtual machine": (
        {
            "access_token": "abc",
            "client_id": "00000000",
            "expires_in": "86399",
            "expires_on": str(NOW + 86399),
            "ext_expires_in": "86399",
            "refresh_in": "43199",
        },
        86399,
    ),
    "managed identity of an app service": (
        {"access_token": "abc", "expires_on": "01/01/2030 01:00:00 AM +00:00", "resource": "x"},
        3600,
    ),
    "Zendesk": ({"access_token": "abc", "token_type": "bearer", "expires_at": NOW + 900}, 900),
    "Entra": (
        {
            "token_type": "Bearer",
            "expires_in": 3599,
            "ext_expires_in": 7199,
            "access_token": "eyJ0.e.x",
        },
        3599,
    ),
    "Keycloak": (
        {
            "access_token": jwt(exp=NOW + 60, iat=NOW),
            "expires_in": 60,
            "refresh_expires_in": 0,
            "token_type": "Bearer",
            "not-before-policy": 0,
            "scope": "email profile",
        },
        60,
    ),
    "GitLab": (
        {"access_token": "abc", "token_type": "bearer", "expires_in": 7200, "created_at": NOW},
        7200,
    ),
    "eBay": (
        {
            "access_token": "v^1.1#i^1#p^1#r^0",
            "expires_in": 7200,
            "token_type": "Application Access Token",
        },
        7200,
    ),
    "Weibo": ({"access_token": "2.00abc", "remind_in": "157679", "expires_in": 157679}, 157679),
    "Fitbit": (
        {
            "access_token": "abc",
            "expires_in": 28800,
            "refresh_token": "r",
            "scope": "activity",
            "token_type": "Bearer",
            "user_id": "U",
        },
        28800,
    ),
    "Slack": (
        {
            "ok": True,
            "access_token": "xoxb-1",
            "token_type": "bot",
            "scope": "commands,incoming-webhook",
            "expires_in": 43200,
            "authed_user": {"id": "U", "access_token": "xoxp-1", "expires_in": 60},
        },
        43200,
    ),
    "ASP.NET": (
        {
            "access_token": "abc",
            "token_type": "bearer",
            "expires_in": 1199,
            "userName": "a",
            ".issued": "Tue, 01 Jan 2030 00:00:00 GMT",
            ".expires": "Tue, 01 Jan 2030 00:20:00 GMT",
        },
        1199,
    ),
    "PayPal": (
        {
            "scope": "https://uri.example/a https://uri.example/b",
            "access_token": "A21AAE",
            "token_type": "Bearer",
            "app_id": "APP-80W",
            "expires_in": 31668,
            "nonce": "2030-01-01T00:00:00Zabc",
        },
        31668,
    ),
    "Google": (
        {
            "access_token": "ya29.c",
            "expires_in": 3599,
            "token_type": "Bearer",
            "id_token": jwt(exp=NOW + 60),
        },
        3599,
    ),
}


@pytest.mark.parametrize("vendor", VENDORS)
def test_vendors(vendor, caplog):
    """Responses in the formats that vendors document are read with their true lifetime."""
    body, seconds = VENDORS[vendor]
    answer = HttpAnswer(200, {}, json.dumps(body).encode())
    token = parse_token_response(answer, Expected("api", NOW))
    assert token.access_token == body["access_token"]
    assert token.token_type.lower() == "bearer"
    assert token.expires_at == SENT + timedelta(seconds=seconds)
    assert not caplog.records
