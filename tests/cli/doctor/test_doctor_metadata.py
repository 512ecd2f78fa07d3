"""``tokenkeeper doctor`` on what a server says of itself."""

import pytest
from servers.ailing import SECRET


class TestMetadata:
    """What the server says of itself."""

    def test_none(self, describe, examine, server):
        """A server without metadata is asked where they may be, and that is no fault."""
        describe()
        code, seen = examine()
        assert code == 0
        assert "publishes none" in seen["metadata"].text
        assert server.seen[:-1] == [
            ("GET", "/.well-known/oauth-authorization-server/oauth"),
            ("GET", "/oauth/.well-known/openid-configuration"),
            ("GET", "/.well-known/oauth-authorization-server"),
            ("GET", "/.well-known/openid-configuration"),
        ]

    def test_an_issuer_with_a_path(self, describe, examine, server):
        """The issuer is found in the token endpoint's path."""
        url = server.origin + "/tenants/main/token"
        server.publish(
            "/tenants/main/.well-known/openid-configuration",
            issuer=server.origin + "/tenants/main",
            token_endpoint=url,
        )
        describe(url)
        _, seen = examine()
        assert seen["metadata"].facts["issuer"] == server.origin + "/tenants/main"
        assert seen["metadata"].status == "ok"

    @pytest.mark.parametrize(
        ("changes", "text", "advice"),
        [
            (
                {"token_endpoint": "https://x.example/t"},
                "https://x.example/t, and http",
                "token_url",
            ),
            (
                {"token_endpoint_auth_methods_supported": ["private_key_jwt"]},
                "client_secret_basic is not among token_endpoint_auth_methods_supported: private",
                "token_endpoint_auth_method",
            ),
            (
                {"grant_types_supported": ["authorization_code"]},
                "client_credentials is not among grant_types_supported: authorization_code",
                "permitted",
            ),
            ({"issuer": "https://other.example"}, "calls itself https://other.example", "§3.3"),
        ],
    )
    def test_what_does_not_fit(self, describe, examine, server, changes, text, advice):
        """Metadata that does not fit the configuration draw a warning; the grant decides."""
        server.publish(**changes)
        describe()
        code, seen = examine()
        assert code == 0
        assert seen["metadata"].status == "warning"
        assert text in seen["metadata"].text
        assert advice in seen["metadata"].advice

    @pytest.mark.parametrize("body", [b"<html>", b"[]", b"[" * 9999, {"token_endpoint": 7}])
    def test_what_is_no_metadata(self, describe, examine, server, body):
        """A page that is no metadata counts as none."""
        server.documents["/.well-known/oauth-authorization-server"] = body
        describe()
        code, seen = examine()
        assert code == 0
        assert "publishes none" in seen["metadata"].text

    def test_metadata_of_another_server(self, describe, examine, server):
        """Metadata of somebody else at the same host are not held against the configuration."""
        server.publish(issuer="https://other.example", token_endpoint="https://other.example/t")
        describe()
        _, seen = examine()
        assert "publishes none" in seen["metadata"].text

    def test_a_query_is_kept_to_ourselves(self, describe, run, server):
        """The query of a token endpoint may hold a key, and is not shown."""
        describe(server.token_url + "?code=" + SECRET)
        assert server.token_url in run("doctor").stdout  # run() looks for the secret
