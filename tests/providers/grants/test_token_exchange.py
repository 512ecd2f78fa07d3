"""TokenExchange: what it sends (RFC 8693 §2.1), and what becomes of the answer."""

import pytest
from kit.servers.exchange import EXCHANGE, TYPES, HmacKey, claims_in, token_of

from tokenkeeper import GenericOAuth2Provider, InvalidConfigurationError, TokenAcquisitionError
from tokenkeeper.oauth.signed_jwt import SignedJwt
from tokenkeeper.providers.grants.token_exchange import TokenExchange


def test_impersonation(service):
    """Without an actor, subject and type are sent, and nothing that was not set."""
    token = service.provider("api", TokenExchange(token_of("ann"))).acquire_token()
    assert claims_in(token.access_token)["sub"] == "ann"
    assert token.extra["issued_token_type"] == TYPES + "access_token"
    (form,) = service.forms()
    assert form == {
        "grant_type": [EXCHANGE],
        "subject_token": [token_of("ann")],
        "subject_token_type": [TYPES + "access_token"],
    }


def test_delegation(service):
    """With an actor, its token and type are sent, and the new token says who acts."""
    grant = TokenExchange(
        token_of("ann"), actor=token_of("robot"), actor_token_type="jwt", subject_token_type="saml2"
    )
    claims = claims_in(service.provider("api", grant).acquire_token().access_token)
    assert (claims["sub"], claims["act"]) == ("ann", {"sub": "robot"})
    (form,) = service.forms()
    assert form["actor_token_type"] == [TYPES + "jwt"]
    assert form["subject_token_type"] == [TYPES + "saml2"]


def test_a_requested_jwt(service):
    """What is not an access token comes as N_A, which is accepted where it was asked for."""
    grant = TokenExchange(token_of("ann"), requested_token_type="jwt")
    token = service.provider("api", grant).acquire_token()
    assert (token.token_type, token.extra["issued_token_type"]) == ("N_A", TYPES + "jwt")


@pytest.mark.parametrize("requested", [None, "access_token"])
def test_n_a_that_was_not_requested(service, requested):
    """Where an access token was asked for, another kind of token is an error."""
    provider = service.provider("api", TokenExchange("x", requested_token_type=requested))
    assert "N_A" not in provider._reading["accept_token_types"]


def test_token_types_of_the_provider_stay(service):
    """What the provider accepts itself is accepted beside what the grant brings."""
    grant = TokenExchange("x", requested_token_type="jwt")
    provider = service.provider("api", grant, accept_token_types="Special")
    assert provider._reading["accept_token_types"] == ("Special", "N_A")


def test_targets_are_sent_verbatim(service, keeper_of):
    """Several resources and audiences arrive as they were given; the scope is the source's."""
    keeper = keeper_of({"api": TokenExchange(token_of("ann"))})
    targets = {"resource": ["https://b.test/", "https://a.test"], "audience": ["//x", "y z"]}
    keeper.source("api", scope="write read", **targets)()
    (form,) = service.forms()
    assert form["resource"] == ["https://a.test", "https://b.test/"]
    assert form["audience"] == ["//x", "y z"]
    assert form["scope"] == ["read write"]


def test_the_tokens_of_a_source_come_first(service, keeper_of):
    """A source's subject and actor replace those of the grant."""
    grant = TokenExchange(token_of("ann"), actor=token_of("robot"))
    keeper = keeper_of({"api": grant})
    own = claims_in(keeper.get_token("api"))
    other = claims_in(keeper.source("api", subject=token_of("bob"), actor=token_of("hal"))())
    assert (own["sub"], own["act"]["sub"]) == ("ann", "robot")
    assert (other["sub"], other["act"]["sub"]) == ("bob", "hal")


def test_each_subject_has_its_own_token(service, keeper_of):
    """Tokens are kept by subject: the second call for one makes no request."""
    keeper = keeper_of({"api": TokenExchange()})
    sources = [keeper.source("api", subject=token_of(sub)) for sub in ("ann", "bob", "ann")]
    assert [claims_in(source())["sub"] for source in sources] == ["ann", "bob", "ann"]
    assert len(service.forms()) == 2
    assert sources[0] is sources[2]
    assert token_of("ann") not in sources[0].name


def test_no_subject(keeper_of):
    """A token without a subject is refused without a request, with what to do."""
    keeper = keeper_of({"api": TokenExchange()})
    with pytest.raises(TokenAcquisitionError, match=r"source\(name, subject=") as caught:
        keeper.get_token("api")
    assert not caught.value.transient
    assert claims_in(keeper.source("api", subject=token_of("ann"))())["sub"] == "ann"


def test_a_subject_that_is_read_anew(service, tmp_path):
    """A subject in a file is read for each request."""
    file = tmp_path / "token"
    provider = service.provider("api", TokenExchange(file))
    for sub in ("ann", "bob"):
        file.write_text(token_of(sub) + "\n")
        assert claims_in(provider.acquire_token().access_token)["sub"] == sub


def test_a_subject_that_is_signed(service):
    """A signed JWT without an audience is meant for the server that gets it."""
    grant = TokenExchange(SignedJwt(HmacKey(), issuer="me"), subject_token_type="jwt")
    provider = service.provider("api", grant)
    provider.acquire_token()
    (form,) = service.forms()
    assert claims_in(form["subject_token"][0])["aud"] == f"{service.origin}/token"


@pytest.mark.parametrize(
    ("subject", "why"), [(token_of("mallory"), "revoked"), (token_of("ann", exp=1), "expired")]
)
def test_a_subject_that_is_refused(service, keeper_of, subject, why):
    """A revoked or expired subject is a final error of its own; other subjects are served."""
    service.revoked.add("mallory")
    keeper = keeper_of({"api": TokenExchange()})
    refused = keeper.source("api", subject=subject)
    for _ in range(2):
        with pytest.raises(TokenAcquisitionError, match=why) as caught:
            refused()
    assert (caught.value.transient, caught.value.error) == (False, "invalid_request")
    assert "subject or actor token" in str(caught.value)
    assert subject not in str(caught.value)
    assert len(service.forms()) == 1  # the cooldown is that of this subject
    assert claims_in(keeper.source("api", subject=token_of("bob"))())["sub"] == "bob"
    assert keeper.health()["providers"]["api"]["status"] != "down"


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"subject": ""}, "subject"),
        ({"subject": 3}, "subject"),
        ({"actor": b"x"}, "actor"),
        ({"subject_token_type": "nonsense"}, "subject_token_type"),
        ({"actor_token_type": "nonsense"}, "actor_token_type"),
        ({"requested_token_type": ""}, "requested_token_type"),
    ],
)
def test_options_that_cannot_work(options, field):
    """Wrong options are refused when the grant is made, by name."""
    with pytest.raises(InvalidConfigurationError) as caught:
        TokenExchange(**options)
    assert caught.value.field == field


def test_identity(service, keeper_of, tmp_path):
    """Grants for different subjects or types differ, and show no token."""
    keeper = keeper_of({"github": None})
    grants = [
        TokenExchange(),
        TokenExchange("secret-a"),
        TokenExchange("secret-b"),
        TokenExchange(tmp_path / "token"),
        TokenExchange(keeper.source("github")),
        TokenExchange(keeper.source("github", scope="read")),
        TokenExchange(SignedJwt(HmacKey(), issuer="me")),
        TokenExchange(actor="secret-a"),
        TokenExchange(requested_token_type="jwt"),
        TokenExchange(subject_token_type="jwt"),
    ]
    identities = [
        repr(GenericOAuth2Provider(service.config("api"), grant=grant).identity())
        for grant in grants
    ]
    assert len(set(identities)) == len(grants)
    assert "secret-" not in repr(identities)
    assert "secret-a" not in repr(grants[1])
    assert TokenExchange(lambda: "x").identity()["subject"] is None
