"""``tokenkeeper doctor`` on a provider whose token endpoint its issuer's metadata names."""

import pytest
from kit.servers.faulty import SECRET, TOKEN, FaultyServer

from tokenkeeper import GenericOAuth2Provider, OAuth2Config
from tokenkeeper.doctor.examine import examine
from tokenkeeper.doctor.findings import Report, Step, first_failed, ok
from tokenkeeper.doctor.provider_facts import read_facts
from tokenkeeper.doctor.targets import Target

OAUTH = "/.well-known/oauth-authorization-server"
OPENID = "/.well-known/openid-configuration"


@pytest.fixture
def examine_issuer(environment):
    """Return a function that examines such a provider: the failed step, and all steps by name."""

    def examine_issuer(issuer, **options):
        config = OAuth2Config("api", "an-id", SECRET, issuer=issuer, scope="read")
        facts = read_facts(GenericOAuth2Provider(config, **options), [SECRET])
        assert facts.shown_url == facts.description["issuer"] == issuer
        target = Target("api", facts, Report(Step.VARIABLES, (ok("set"),)))
        reports = list(examine(target, timeout=10.0))
        assert not any(secret in str(reports) for secret in (SECRET, TOKEN))
        return first_failed(reports), {each.step: each.as_dict() for each in reports}

    return examine_issuer


def texts(step):
    return "; ".join(each["text"] for each in step["findings"])


@pytest.mark.parametrize("place", [f"{OAUTH}/t1", f"{OPENID}/t1", f"/t1{OPENID}"])
def test_all_is_well(examine_issuer, server, place):
    """The metadata is found at each of its places, and a token is requested where it says."""
    issuer = f"{server.origin}/t1"
    server.publish(
        place, issuer=issuer, token_endpoint_auth_methods_supported=["client_secret_basic"]
    )
    failed, steps = examine_issuer(issuer)
    assert failed is None, steps
    metadata = steps[Step.METADATA]
    assert metadata["facts"] == {
        "url": server.origin + place,
        "issuer": issuer,
        "token_endpoint": server.token_url,
    }
    assert f"token endpoint {server.token_url}; client_secret_basic is sup" in texts(metadata)
    assert steps[Step.CLOCK]["facts"]["skew_seconds"] is not None
    assert steps[Step.CREDENTIALS]["status"] == "ok"
    assert steps[Step.TCP]["facts"]["port"] == server.server_port


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"issuer": "https://other.example"}, "is that of the issuer 'https://other.example', not"),
        ({"token_endpoint": None}, "the metadata has no token_endpoint"),
        ({"token_endpoint": "https://attacker.example/t"}, "which is not trusted"),
    ],
)
def test_metadata_that_can_not_be_used(examine_issuer, server, changes, problem):
    """Without a usable token endpoint, the step fails and no token is requested."""
    server.publish(**changes)
    failed, steps = examine_issuer(server.origin)
    assert failed is Step.METADATA
    assert problem in texts(steps[Step.METADATA])
    assert not any(method == "POST" for method, _ in server.seen)


def test_no_metadata(examine_issuer, server):
    """A server without metadata is a failure, with what it answered at each place."""
    failed, steps = examine_issuer(server.origin)
    assert failed is Step.METADATA
    assert f"{server.origin}{OPENID} answered HTTP 404" in texts(steps[Step.METADATA])
    assert server.seen == [("GET", OAUTH), ("GET", OPENID)]


def test_no_answer(examine_issuer, server, monkeypatch):
    """A server that breaks off each response is a failure of the metadata."""
    monkeypatch.setattr(server, "answer", lambda request: None)
    failed, steps = examine_issuer(server.origin)
    assert failed is Step.METADATA
    assert "request to 127.0.0.1" in texts(steps[Step.METADATA])


def test_unsupported_things_are_warnings(examine_issuer, server):
    """A method or a grant that the metadata does not list is a warning with advice."""
    server.publish(grant_types_supported=["authorization_code"])
    failed, steps = examine_issuer(server.origin)
    assert failed is None
    assert steps[Step.METADATA]["status"] == "warning"
    assert "client_credentials is not supported" in texts(steps[Step.METADATA])


def test_an_endpoint_on_another_host(examine_issuer, secure, context_of):
    """The way to a token endpoint of another origin is examined as well."""
    issuing = secure()
    with FaultyServer(context_of()) as tokens:
        issuing.publish(token_endpoint=tokens.token_url)
        failed, steps = examine_issuer(issuing.origin)
    assert failed is None, steps
    place = tokens.origin.removeprefix("https://")
    said = texts(steps[Step.METADATA])
    assert f"{place}: TCP: {place} accepts connections" in said
    assert f"{place}: TLS: TLSv1.3, verified by" in said
    assert tokens.seen == [("POST", "/oauth/token")]


def test_an_endpoint_that_can_not_be_reached(examine_issuer, secure, context_of):
    """If no connection to the token endpoint is possible, no request is made."""
    issuing = secure()
    with FaultyServer(context_of()) as tokens:
        tokens.stop()
        issuing.publish(token_endpoint=tokens.token_url)
        failed, steps = examine_issuer(issuing.origin)
    assert failed is Step.METADATA
    assert "TCP: 127.0.0.1" in texts(steps[Step.METADATA])
    assert "refused" in texts(steps[Step.METADATA])
    assert steps[Step.CREDENTIALS]["status"] == "skipped"
