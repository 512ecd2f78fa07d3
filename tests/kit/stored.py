"""Fills a store with what a fleet would put there: tokens, claims, failures and garbage."""

from datetime import UTC, datetime

from tokenkeeper.clock import SYSTEM_CLOCK
from tokenkeeper.exceptions import TokenAcquisitionError
from tokenkeeper.models import OAuth2Token
from tokenkeeper.names import TokenName, TokenParameters
from tokenkeeper.stores.contents import StoredFailure, StoredToken
from tokenkeeper.stores.sealed import Plain
from tokenkeeper.stores.settings import StoreSettings
from tokenkeeper.testing.stores import MemoryTokenStore

ACCESS_TOKEN = "access-token-which-is-never-shown"
REFRESH_TOKEN = "refresh-token-which-is-never-shown"
ACCOUNT = "ada.lovelace@example.com"


class StoredFleet:
    """A store with records, and how to make more of them.

    :param store: by default a store in memory.
    """

    def __init__(self, store=None, sealer=None, clock=SYSTEM_CLOCK):
        self.store = MemoryTokenStore(clock) if store is None else store
        self.sealer = sealer or Plain()
        self.clock = clock

    @property
    def settings(self):
        """Return what the dashboard gets."""
        return StoreSettings(self.store, self.sealer, label="memory://test")

    def records(self):
        """Return all records by their keys."""
        return {key: self.store.read(key) for key in list(self.store.keys())}

    def key(self, provider, **parameters):
        """Return the key of a token's record."""
        return self.sealer.record_key(TokenName.of(provider, TokenParameters.of(**parameters)))

    def token(
        self,
        provider,
        *,
        age=0.0,
        lifetime=3600.0,
        granted_to="web-1:4711",
        wall_age=None,
        refresh_after=None,
        **parameters,
    ):
        """Claim and publish the next token, as a process did *age* seconds ago; return the key."""
        key = self.key(provider, **parameters)
        requested_at = self.clock.time() - (age if wall_age is None else wall_age)
        refresh_at = refresh_after and datetime.fromtimestamp(requested_at + refresh_after, UTC)
        token = OAuth2Token(
            access_token=ACCESS_TOKEN,
            token_type="Bearer",
            refresh_token=REFRESH_TOKEN,
            expires_at=datetime.fromtimestamp(requested_at + lifetime, UTC),
            refresh_at=refresh_at,
        )
        name = TokenName.of(provider, TokenParameters.of(**parameters))
        content = StoredToken(token, str(name), requested_at, granted_to).to_bytes()
        self.claim(key, owner="the-publisher")
        before = self.store.read(key)
        assert self.store.publish(
            key,
            owner="the-publisher",
            replaces=before.generation,
            generation=before.generation + 1,
            sealed=self.sealer.seal(content, key, "token"),
            lifetime_seconds=lifetime,
            age_seconds=age,
            keep=False,
        )
        return key

    def claim(self, key, owner="0f1e2d3c4b5a", intent="web-1:4711 is about to request a token"):
        """Claim the next token of a record; return its fence."""
        claim = self.store.claim(
            key,
            owner=owner,
            generation=self.store.read(key).generation,
            older_than_seconds=35.0,
            intent=intent,
        )
        assert claim.granted
        return claim.record.fence

    def failure(
        self, provider, message, *, stands=30.0, failures=3, reported_by="web-2:815", **parameters
    ):
        """Claim, and share a failure; return the key."""
        key = self.key(provider, **parameters)
        failure = StoredFailure.of(
            TokenAcquisitionError(message, status_code=503, transient=True),
            token_name=str(TokenName.of(provider, TokenParameters.of(**parameters))),
            stands_seconds=stands,
            failures=failures,
            reported_by=reported_by,
        )
        sealed = self.sealer.seal(failure.to_bytes(), key, "failure")
        fence = self.claim(key, owner="one-that-fails")
        assert self.store.fail(key, owner="one-that-fails", fence=fence, sealed=sealed)
        return key

    def sealed(self, key, sealed, lifetime=3600.0, age=10.0):
        """Put bytes in place of a token; return the key."""
        generation = self.store.read(key).generation
        assert self.store.publish(
            key,
            owner="somebody",
            replaces=generation,
            generation=generation + 1,
            sealed=sealed,
            lifetime_seconds=lifetime,
            age_seconds=age,
            keep=False,
        )
        return key


def fill(fleet):
    """Put a record of each kind into a store, as in the pictures of the documentation."""
    fleet.token("billing", age=754, scope="invoices.read invoices.write")
    fleet.token("crm", age=3390, granted_to="worker-7:2201")
    fleet.claim(fleet.key("crm"), intent="worker-3:190 is about to request a token")
    fleet.token("mail", age=1210, granted_to="worker-2:77", account=ACCOUNT)
    fleet.token("mail", age=320, granted_to="worker-5:31", account="grace@example.com")
    fleet.token("storage", age=40_000, lifetime=86_400, tenant="contoso.example")
    fleet.token("warehouse", age=4000, granted_to="batch-1:9")
    fleet.token("payments", age=3500, granted_to="web-2:815")
    fleet.failure(
        "payments",
        "token request failed (HTTP 503). The server answered: Service Unavailable",
    )
    fleet.failure(
        "reports",
        "token request failed: invalid_client (HTTP 401): the client secret has expired",
        failures=1,
        reported_by="web-1:4711",
    )
    fleet.sealed(fleet.key("legacy"), b"1.k0." + bytes(80))
