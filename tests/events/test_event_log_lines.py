"""The log lines of a token's life, and what they must not contain."""

import json
import logging
import queue
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from kit.watching import Watcher, at

from tokenkeeper import TokenAcquisitionError, TokenRejectedError
from tokenkeeper._renewal.notifier import write_log_line
from tokenkeeper.events import (
    ClaimTakenOver,
    ClocksDisagree,
    RecordReplaced,
    StoreRecovered,
    StoreUnavailable,
    TokenAdopted,
)

WRONG_SECRET = TokenAcquisitionError("wrong secret", error="invalid_client", status_code=401)
OUTAGE = TokenAcquisitionError("down", status_code=503)


class WarningsAsTheyCome(logging.Handler):
    """Lets a test wait for a line that a thread of the keeper logs."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.records = queue.SimpleQueue()

    def emit(self, record):
        self.records.put(record)


class TestLogLines:
    """The log gets the same events as hooks, and its records have the events' fields."""

    @pytest.fixture(autouse=True)
    def level(self, caplog):
        caplog.set_level(logging.DEBUG, "tokenkeeper")

    def test_a_token_that_came(self, keeper, clock, caplog):
        """An acquisition is logged with its figures."""
        keeper.get_token("api")
        keeper.close()
        (record,) = caplog.records
        assert (record.name, record.levelname) == ("tokenkeeper.events", "INFO")
        assert record.getMessage() == "provider 'api': token acquired"
        assert record.event_name == "TokenAcquired"
        assert record.provider_name == "api"
        assert (record.attempts, record.duration_seconds) == (1, 0.0)
        assert record.remaining_seconds == 3600.0
        assert record.occurred_at == at(clock).isoformat()

    def test_a_token_that_did_not_come(self, keeper, source, caplog):
        """A failure is a warning, with the server's code in a field; a cooldown is not logged."""
        source.error = WRONG_SECRET
        with pytest.raises(TokenAcquisitionError):
            keeper.get_token("api")
        keeper.close()
        (record,) = caplog.records
        assert record.levelname == "WARNING"
        assert record.getMessage() == "provider 'api': token not acquired: wrong secret"
        assert (record.event_name, record.error, record.status_code) == (
            "AcquisitionFailed",
            "invalid_client",
            401,
        )

    def test_a_pause_after_refusals(self, keeper, caplog):
        """A pause is one warning, however often tokens are rejected during it."""
        warnings = WarningsAsTheyCome()
        logging.getLogger().addHandler(warnings)
        try:
            for _ in range(10):
                with suppress(TokenRejectedError):
                    keeper.renew_refused("api", keeper.get_token("api"))
            record = warnings.records.get(timeout=20)
        finally:
            logging.getLogger().removeHandler(warnings)
        keeper.close()
        assert sum(each.levelname == "WARNING" for each in caplog.records) == 1
        assert record.getMessage() == (
            "provider 'api': an API rejects newly granted tokens (4 in a row). For 30 s, its "
            "rejections cause no token request"
        )
        assert (record.event_name, record.tokens) == ("TokenRejected", 4)
        assert record.pause_seconds == 30.0

    def test_the_provider_is_named_once(self, keeper, source, caplog):
        """An error that names its provider is logged unchanged."""
        source.error = TokenAcquisitionError("provider 'api': down", status_code=503)
        with pytest.raises(TokenAcquisitionError):
            keeper.get_token("api")
        keeper.close()
        assert caplog.messages == ["token not acquired: provider 'api': down"]

    def test_a_renewal_that_failed(self, keeper, source, clock, look, caplog):
        """A failed renewal is logged with the remaining lifetime of the current token."""
        keeper.get_token("api")
        source.error = OUTAGE
        clock.step(3241)
        look(keeper)
        keeper.close()
        record = caplog.records[-1]
        assert record.getMessage() == "provider 'api': token not renewed: down"
        assert record.remaining_seconds == 359.0

    def test_no_secret(self, keeper, caplog):
        """No field of a record contains the token."""
        token = keeper.get_token("api")
        keeper.close()
        (record,) = caplog.records
        assert token not in json.dumps(vars(record))

    def test_no_secret_of_an_error(self, keeper, source, caplog):
        """The text of another library's error, which may contain a token, is never logged."""
        watcher = Watcher()
        keeper.add_hook(watcher)
        source.error = ValueError("no JSON: access_token=s3cr3t")
        with pytest.raises(TokenAcquisitionError):
            keeper.get_token("api")
        reported = watcher.next()
        keeper.close()
        (record,) = caplog.records
        assert record.exc_info is None
        assert "s3cr3t" not in json.dumps(vars(record)) + repr(reported) + str(reported.reason)

    def test_an_hour_of_outage(self, keeper, source, clock, look, caplog):
        """An hour of outage is some hundred lines, not thousands."""
        keeper.get_token("api")
        source.error = OUTAGE
        clock.step(3241)
        began = clock.monotonic()
        while clock.monotonic() < began + 3600:
            look(keeper)
            clock.step(1)
        keeper.close()
        assert 50 < len(caplog.records) < 200

    def test_a_wrong_secret_in_a_hot_loop(self, keeper, source, caplog):
        """Two thousand calls that are refused during one cooldown are one line."""
        source.error = WRONG_SECRET
        for _ in range(2000):
            with pytest.raises(TokenAcquisitionError):
                keeper.get_token("api")
        keeper.close()
        assert len(caplog.records) == 1

    def test_nothing_is_made_for_nobody(self, keeper, caplog):
        """With a higher log level, no line is written."""
        caplog.set_level(logging.ERROR, "tokenkeeper")
        keeper.get_token("api")
        keeper.close()
        assert not caplog.records


NOW = datetime(2030, 1, 1, tzinfo=UTC)
STORE = "redis://cache.example:6379/0"


class TestLogLinesOfFleets:
    """What goes wrong in a fleet is logged, and what is taken over is not."""

    @pytest.fixture(autouse=True)
    def level(self, caplog):
        caplog.set_level(logging.DEBUG, "tokenkeeper")

    @pytest.mark.parametrize(
        ("event", "severity", "line"),
        [
            (
                StoreUnavailable("api", NOW, store=STORE, reason="it is down. Start it."),
                "WARNING",
                f"the store {STORE} is unavailable: it is down. Start it.",
            ),
            (
                StoreUnavailable("api", NOW, store=STORE, reason=f"the store {STORE} is full."),
                "WARNING",
                f"the store {STORE} is full.",
            ),
            (
                StoreRecovered("api", NOW, store=STORE, unavailable_seconds=9.4),
                "INFO",
                f"the store {STORE} is available again, after 9 s",
            ),
            (
                ClaimTakenOver("api", NOW, claim_age_seconds=40.0, intent="h:1 is about to ask"),
                "WARNING",
                (
                    "provider 'api': another process claimed a token request and did not finish it "
                    "(h:1 is about to ask). It is made here instead"
                ),
            ),
            (
                RecordReplaced("api", NOW, reason="it was cut short"),
                "WARNING",
                "provider 'api': an unreadable record was replaced: it was cut short",
            ),
            (
                ClocksDisagree("api", NOW, difference_seconds=-90.0),
                "WARNING",
                (
                    "this host's clock is 90 s behind another clock of the fleet, so tokens are "
                    "renewed too often. Check NTP on all hosts"
                ),
            ),
            (
                ClocksDisagree("api", NOW, difference_seconds=7.0),
                "WARNING",
                (
                    "this host's clock is 7 s ahead of another clock of the fleet, so tokens are "
                    "renewed too often. Check NTP on all hosts"
                ),
            ),
        ],
    )
    def test_a_line(self, caplog, event, severity, line):
        """Each has its level, and a line that says what to do; the record has its fields."""
        write_log_line(event)
        (record,) = caplog.records
        assert (record.levelname, record.getMessage()) == (severity, line)
        assert (record.event_name, record.provider_name) == (type(event).__name__, "api")
        assert not hasattr(record, "token_name")

    def test_adopted(self, caplog):
        """A token that is taken over has no line: every process of a fleet takes over each."""
        figures = {"age_seconds": 0.1, "remaining_seconds": 9.0, "generation": 2}
        write_log_line(TokenAdopted("api", NOW, granted_to="host:1", **figures))
        assert not caplog.records
