"""The cookbook's page on requests."""

import requests


def test_the_example_runs(run_example, server):
    """The example calls the API."""
    assert run_example("requests", API_URL=server.api_url) == "200 /api/things\n"


def test_a_crowd_recovers_with_one_renewal(server, source, crowd, requests_of):
    """Threads whose token was revoked share one renewal, and each gets its answer."""
    auth = source.auth()

    def get():
        with requests.Session() as session:
            session.auth = auth
            return session.get(server.api_url, timeout=10).status_code

    assert crowd(8, get) == [200] * 8
    server.revoke_all()
    assert crowd(8, get) == [200] * 8
    assert requests_of() == 2
