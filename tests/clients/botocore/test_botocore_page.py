"""The cookbook's page on botocore, with a stub of AWS STS."""

import os
from datetime import UTC, datetime, timedelta

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.session import Session
from kit.guards import until
from kit.servers.base import Answer, LoopbackServer

ROLE = "arn:aws:iam::123456789012:role/reader"
GRANTED = """<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>ASIA7</AccessKeyId>
<SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken>
<Expiration>{expiration:%Y-%m-%dT%H:%M:%SZ}</Expiration></Credentials>
</AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"""
IDENTITY = f"""<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<GetCallerIdentityResult><Arn>{ROLE}</Arn></GetCallerIdentityResult></GetCallerIdentityResponse>"""
REFUSED = """<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error>
<Type>Sender</Type><Code>InvalidIdentityToken</Code><Message>no</Message></Error></ErrorResponse>"""


class Sts(LoopbackServer):
    """A stub that takes tokens of the authorization server for temporary credentials.

    :ivar seconds: the lifetime of the credentials.
    :ivar exchanges: the tokens that were sent.
    """

    def __init__(self, is_alive):
        self.is_alive = is_alive
        self.seconds = 3600
        self.exchanges = []
        super().__init__()

    def answer(self, request):
        form = dict(request.form)
        if form["Action"] == "GetCallerIdentity":
            assert "Credential=ASIA7/" in request.headers["authorization"]
            return _xml(200, IDENTITY)
        assert form["RoleArn"] == ROLE
        self.exchanges.append(form["WebIdentityToken"])
        if not self.is_alive(form["WebIdentityToken"]):
            return _xml(400, REFUSED)
        return _xml(200, GRANTED.format(expiration=self._expiration()))

    def _expiration(self):
        return datetime.now(UTC) + timedelta(seconds=self.seconds)


def _xml(status, text):
    return Answer(status, text.encode(), {"Content-Type": "text/xml"})


@pytest.fixture
def sts(server, monkeypatch, tmp_path):
    """Return the stub; clients use it, and no settings of this machine."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    with Sts(server.is_alive) as sts:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", sts.origin)
        yield sts


@pytest.fixture
def file(source, tmp_path, monkeypatch):
    """Return a file that has the token."""
    path = tmp_path / "token"
    source.write_to(path)
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(path))
    monkeypatch.setenv("AWS_ROLE_ARN", ROLE)
    return path


@pytest.fixture
def arn(sts, file):
    """Return a function that calls the API, and returns who calls."""
    once = Config(retries={"total_max_attempts": 1, "mode": "standard"})
    client = Session().create_client("sts", region_name="eu-central-1", config=once)
    return lambda: client.get_caller_identity()["Arn"]


def test_a_crowd_shares_one_exchange(server, sts, arn, crowd, requests_of):
    """Temporary credentials outlive the token that they were exchanged for."""
    assert crowd(8, arn) == [ROLE] * 8
    server.revoke_all()
    assert crowd(8, arn) == [ROLE] * 8
    assert len(sts.exchanges) == 1
    assert requests_of() == 1


def test_a_renewed_token_is_read_from_the_file(source, sts, file, arn):
    """The next exchange has the token that the file has by then."""
    sts.seconds = 60  # botocore replaces credentials ten minutes before they expire
    assert arn() == ROLE
    renewed = source.get_token(force_refresh=True)
    until(lambda: file.read_text() == renewed)
    assert arn() == ROLE
    assert sts.exchanges[0] != renewed
    assert sts.exchanges[-1] == renewed


def test_a_revoked_token(server, source, sts, file, arn, crowd, requests_of):
    """If STS rejects the token, callers get its error until one of them reports the token."""
    sts.seconds = 60
    assert arn() == ROLE
    refused = source()
    server.revoke_all()
    with pytest.raises(ClientError, match="InvalidIdentityToken"):
        arn()
    renewed = crowd(8, lambda: source.renew_refused(refused))[0]
    until(lambda: file.read_text() == renewed)
    assert crowd(8, arn) == [ROLE] * 8
    assert requests_of() == 2


def test_the_example_runs(run_example, sts, tmp_path):
    """The example asks STS who it is, and removes the file."""
    assert run_example("botocore", AWS_ENDPOINT_URL_STS=sts.origin) == f"{ROLE}\n"
    assert not (tmp_path / "web-identity-token").exists()
