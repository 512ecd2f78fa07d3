"""The cookbook's page on databricks-sdk, with a stub of a workspace."""

import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.core import Config
from databricks.sdk.errors import Unauthenticated
from kit.cookbook import example
from kit.servers.base import Answer
from kit.servers.guarded import Guarded


class Workspace(Guarded):
    """A stub that knows one user."""

    def answer(self, request):
        if request.path.startswith("/.well-known/"):
            return Answer(body={"workspace_id": "7"})
        return super().answer(request)

    def granted(self, request):
        assert request.path == "/api/2.0/preview/scim/v2/Me", request.path
        return Answer(body={"userName": "ada"})

    def refused(self, request):
        return Answer(401, {"error_code": "UNAUTHENTICATED", "message": "Invalid access token."})


@pytest.fixture
def host(server, monkeypatch):
    """Return the URL of the stub."""
    with Workspace(server.is_alive) as workspace:
        monkeypatch.setenv("DATABRICKS_HOST", workspace.origin)
        yield workspace.origin


def test_a_crowd_recovers_with_one_renewal(server, source, host, crowd, requests_of):
    """Threads whose token was revoked share one renewal, and each gets its answer."""
    client = example("databricks_sdk").workspace(source)

    def me():
        return client.current_user.me().user_name

    assert crowd(8, me) == ["ada"] * 8
    server.revoke_all()
    assert crowd(8, me) == ["ada"] * 8
    assert requests_of() == 2


def test_the_strategy_alone_does_not_recover(server, source, host, requests_of):
    """A credentials strategy is asked for headers, and never hears of the 401."""
    strategy = example("databricks_sdk").KeeperCredentials(source)
    client = WorkspaceClient(config=Config(host=host, credentials_strategy=strategy))
    assert client.current_user.me().user_name == "ada"
    server.revoke_all()
    with pytest.raises(Unauthenticated):
        client.current_user.me()
    source.renew_refused(source())  # what the caller can do
    assert client.current_user.me().user_name == "ada"
    assert requests_of() == 2


def test_the_example_runs(run_example, host):
    """The example reads the user."""
    assert run_example("databricks_sdk", DATABRICKS_HOST=host) == "ada\n"
