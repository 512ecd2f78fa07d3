"""Errors contain no secret, whatever the response."""

import pytest
from oauth.responses import refused


class TestSecrets:
    """Errors contain no secrets."""

    @pytest.mark.parametrize(
        "body",
        [
            {"error": "invalid_hunter2", "error_description": "hunter2 is wrong"},
            {"error": {"code": "hunter2", "message": "hunter2"}},
            {"message": "hunter2"},
            {"title": "hunter2"},
            "no such secret: hunter2",
            "hunter2",
            '"hunter2"',
            "error=hunter2",
            "<html><title>hunter2</title>",
            "<Error><Code>hunter2</Code></Error>",
        ],
    )
    def test_secrets_of_the_request(self, body):
        """Echoed secrets of the request are hidden, wherever they are."""
        error = refused(body, 400)
        assert "hunter2" not in str(error) + repr(error.__dict__)

    @pytest.mark.parametrize(
        ("status", "headers"),
        [
            (302, {"location": "https://hunter2/"}),
            (401, {"www_authenticate": 'Bearer error="hunter2", error_description="hunter2"'}),
            (401, {"www_authenticate": 'Basic realm="hunter2"'}),
            (401, {"www_authenticate": "hunter2"}),
        ],
    )
    def test_secrets_in_headers(self, status, headers):
        """Echoed secrets in headers are hidden too."""
        error = refused("", status, **headers)
        assert "[hidden]" in str(error)
        assert "hunter2" not in str(error) + repr(error.__dict__)

    @pytest.mark.parametrize("name", ["access_token", "refresh_token", "id_token", "client_secret"])
    @pytest.mark.parametrize("inside", [False, True])
    def test_secrets_of_the_answer(self, name, inside):
        """A token beside an error that repeats it is hidden."""
        said = {"error": "x_y", "error_description": "not s3cr3t-t0ken", name: "s3cr3t-t0ken"}
        error = refused({"error": said} if inside else said, 400)
        assert "s3cr3t" not in str(error) + repr(error.__dict__)

    def test_unruly_words(self):
        """Line breaks are replaced, and a long text is truncated."""
        error = refused({"error": "a\nb", "error_description": "x\r\n" * 1000}, 400)
        assert error.error == "a?b"
        assert len(error.error_description) <= 300
        assert len(str(error)) < 600

    @pytest.mark.parametrize(
        "body",
        [
            "[" * 100_000,
            '{"error": ' * 100_000,
            {"error": {"error": {"error": {"error": {"error": {"error": "x"}}}}}},
            '{"error": 1e999, "code": NaN, "status": -1}',
            {"error": "x" * 100_000, "message": ["y" * 100_000] * 10},
            "a=" * 1000 + "&error=" + "b" * 100_000,
            "<" * 20_000,
            "<a>" + " " * 60_000,
            "<html>" + "<title" * 10_000,
            "a" * 60_000,
            "the " + "a" * 60_000,
            {"error_description": "is " * 60_000},
            {"error_description": "a concurrent " * 20_000},
            "<a>" * 20_000,
            "\ud83d",
            {"error": None, "error_description": None, "code": None},
            {"error": True, "status": False},
            {"error": [], "errors": [[]], "detail": [None, 1]},
        ],
        ids=range(18),
    )
    def test_hostile_bodies(self, body):
        """The error is one short line, whatever the body."""
        body = body.encode(errors="surrogatepass") if isinstance(body, str) else body
        # A pattern that backtracks without bound would run into the timeout of every test.
        assert len(str(refused(body, 500))) < 700
