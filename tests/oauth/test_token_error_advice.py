"""What an error advises."""

import pytest
from oauth.responses import GOOD, SENT, refused

from tokenkeeper.oauth.error_codes import BY_AADSTS, CODES
from tokenkeeper.oauth.exchange import Expected


class TestAdvice:
    """Advice in the message."""

    def test_what_it_says_is_on_the_error(self):
        """Code, description and status are attributes, and the message says what to do."""
        body = {"error": "invalid_client", "error_description": "who are you?"}
        error = refused(body, 401)
        assert (error.error, error.error_description) == ("invalid_client", "who are you?")
        assert str(error) == (
            "provider 'api': token request failed (HTTP 401): invalid_client "
            '("who are you?"). Check client_id and client_secret. The secret may be '
            "wrong, expired, or sent by the wrong token_endpoint_auth_method."
        )

    def test_a_server_that_fails(self):
        """The message for an outage."""
        assert str(refused({}, 503)) == (
            "provider 'api': token request failed (HTTP 503). "
            "If this persists, contact the server's operator."
        )

    def test_an_error_in_a_success(self):
        """An error in a 200 is an error, even beside a token."""
        assert refused(GOOD | {"error": "server_error"}).error == "server_error"

    def test_an_unusable_token_beside_other_words(self):
        """The message names the fault of the token, even if other members look like errors."""
        body = GOOD | {"access_token": "a b", "message": "ok", "status": "approved"}
        error = refused(body)
        assert "access_token" in str(error)
        assert "approved" not in str(error)
        assert error.transient is False

    @pytest.mark.parametrize("code", sorted(CODES))
    def test_codes(self, code):
        """Each known error code has its own advice."""
        assert CODES[code].advice in str(refused({"error": code}, 400))

    @pytest.mark.parametrize("number", sorted(BY_AADSTS))
    def test_entra_numbers(self, number):
        """Entra ID's own numbers take precedence over its error codes."""
        description = f"AADSTS{number}: something. Trace ID: 1"
        body = {"error": "invalid_request", "error_description": description}
        error = refused(body, 400)
        assert BY_AADSTS[number].advice in str(error)
        assert error.transient is BY_AADSTS[number].transient

    @pytest.mark.parametrize(
        ("status", "says"),
        [
            (400, "operator"),
            (401, "secret"),
            (403, "permissions"),
            (404, "URL"),
            (415, "request_format"),
            (429, "too many requests"),
            (500, "persists"),
            (503, "persists"),
        ],
    )
    @pytest.mark.parametrize("body", ["", "oops", "{}", '{"error": 7}', "[]"])
    def test_answers_that_say_nothing(self, status, says, body):
        """Without a usable body the status decides the advice."""
        error = refused(body, status)
        assert says in str(error)
        assert f"HTTP {status}" in str(error)
        assert error.error is None

    @pytest.mark.parametrize(
        "code", ["invalid_grant", "consent_required", "interaction_required", "login_required"]
    )
    def test_client_credentials_never_ask_to_sign_in(self, code):
        """For client credentials the advice does not ask a user to sign in."""
        for grant in ("client_credentials", "refresh_token"):
            expected = Expected("api", SENT.timestamp(), grant=grant)
            said = str(refused({"error": code}, 400, expected)).lower()
            assert ("sign in" in said) is (grant != "client_credentials" and "grant" not in code)
        client = Expected("api", SENT.timestamp(), grant="client_credentials")
        assert "refresh token" not in str(refused({"error": code}, 400, client))

    def test_a_dead_refresh_token_is_called_one(self):
        """For a refresh token grant the advice is about the refresh token."""
        expected = Expected("api", SENT.timestamp(), grant="refresh_token")
        assert "The refresh token has expired" in str(
            refused({"error": "invalid_grant"}, 400, expected)
        )

    @pytest.mark.parametrize(
        ("body", "status", "shown"),
        [
            ({"error": "invalid_client"}, 400, True),
            ({"error": "invalid_client"}, 401, True),
            ("", 401, True),
            ({"message": "Client authentication failed"}, 400, True),
            ({"error": "unauthorized"}, 401, True),
            ({"error": "invalid_scope"}, 401, False),
            ("", 503, False),
        ],
    )
    def test_advice_on_the_client_s_authentication(self, body, status, shown):
        """Advice on client authentication is given if the client was refused."""
        expected = Expected("api", SENT.timestamp(), auth_advice=lambda usual: f"{usual} Try this.")
        assert ("Try this." in str(refused(body, status, expected))) is shown

    @pytest.mark.parametrize(
        "body",
        [
            "<html><head><title>400 No required SSL certificate was sent</title></head></html>",
            "<html><head><title>400 The SSL certificate required</title></head></html>",
            {"error": "invalid_client", "error_description": "Client certificate is required"},
            {"error": "invalid_request", "error_description": "missing client certificate"},
            "client certificate not provided",
        ],
    )
    def test_a_server_that_wants_a_certificate(self, body):
        """A server that requires a client certificate is reported as such."""
        assert "requires a TLS client certificate" in str(refused(body, 400))
