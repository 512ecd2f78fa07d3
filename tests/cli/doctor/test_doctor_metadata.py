"""``tokenkeeper doctor`` on the server's metadata."""

import pytest
from kit.servers.faulty import SECRET


class TestMetadata:
    """The server's metadata."""

    def test_none(self, describe, examine, server):
        """Metadata is looked for in each likely place, and need not exist."""
        describe()
        code, seen = examine()
        assert code == 0
        assert "none found" in seen["metadata"].text
        assert server.seen[:-1] == [
            ("GET", "/.well-known/oauth-authorization-server/oauth"),
            ("GET", "/oauth/.well-known/openid-configuration"),
            ("GET", "/.well-known/oauth-authorization-server"),
            ("GET", "/.well-known/openid-configuration"),
        ]

    def test_an_issuer_with_a_path(self, describe, examine, server):
        """An issuer is found in the path of the token endpoint."""
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
                "https://x.example/t, the configured one http",
                "token_url",
            ),
            (
                {"token_endpoint_auth_methods_supported": ["private_key_jwt"]},
                "is not supported: token_endpoint_auth_methods_supported lists private_key_jwt",
                "token_endpoint_auth_method",
            ),
            (
                {"grant_types_supported": ["authorization_code"]},
                "is not supported: grant_types_supported lists authorization_code",
                "permit the grant type",
            ),
            (
                {"issuer": "https://other.example"},
                "issuer in the metadata is https://other.example",
                "§3.3",
            ),
        ],
    )
    def test_metadata_that_does_not_match(self, describe, examine, server, changes, text, advice):
        """Metadata that does not match the configuration is a warning, not a failure."""
        server.publish(**changes)
        describe()
        code, seen = examine()
        assert code == 0
        assert seen["metadata"].status == "warning"
        assert text in seen["metadata"].text
        assert advice in seen["metadata"].advice

    @pytest.mark.parametrize("body", [b"<html>", b"[]", b"[" * 9999, {"token_endpoint": 7}])
    def test_a_page_without_metadata(self, describe, examine, server, body):
        """A page that is not metadata does not count."""
        server.documents["/.well-known/oauth-authorization-server"] = body
        describe()
        code, seen = examine()
        assert code == 0
        assert "none found" in seen["metadata"].text

    def test_metadata_of_another_server(self, describe, examine, server):
        """Metadata of another server on the same host is not compared with the configuration."""
        server.publish(issuer="https://other.example", token_endpoint="https://other.example/t")
        describe()
        _, seen = examine()
        assert "none found" in seen["metadata"].text

    def test_a_query_is_not_shown(self, describe, run, server):
        """The query of a token endpoint may contain a key, and is not shown."""
        describe(server.token_url + "?code=" + SECRET)
        assert server.token_url in run("doctor").stdout  # run() looks for the secret
