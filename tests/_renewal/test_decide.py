"""The whole table of decisions: what a caller gets, in every situation that the slow path knows."""

import itertools

import pytest

from tokenkeeper._renewal.cached_token import CachedToken
from tokenkeeper._renewal.decide import Action, decide, is_usable
from tokenkeeper._renewal.need import Need

NOW = 1000.0
SERVE, JOIN, START, REFUSE = Action

PLAIN = Need("api", asked=10)
FORCED = Need("api", asked=10, force=True)
REJECTING = Need("api", asked=10, refused="rejected")


def cached(*, state="valid", due=False, sent=1, text="token"):
    """Return a token that is valid or dead now, is due for renewal or not yet."""
    return CachedToken(
        access_token=text,
        stale_at=NOW - 1,
        dead_at=NOW + 100 if state == "valid" else NOW,
        ends_at=NOW + 110,
        renew_at=NOW if due else NOW + 1,
        token=None,
        sent=sent,
    )


VALID = cached()
DUE = cached(due=True)
DEAD = cached(state="dead", due=True)
OLD = cached(due=True, sent=9)  # requested before the caller asked
NEW = cached(due=True, sent=11)  # requested after the caller asked
REJECTED = cached(text="rejected")

# need, cached, is it rejected, does the keeper renew inline: what happens when nothing is under
# way, when a renewal is, when a refusal stands, and when both.
TABLE = {
    "nothing cached": (PLAIN, None, False, False, START, JOIN, REFUSE, JOIN),
    "nothing cached, inline": (PLAIN, None, False, True, START, JOIN, REFUSE, JOIN),
    "valid": (PLAIN, VALID, False, False, SERVE, SERVE, SERVE, SERVE),
    "valid, inline": (PLAIN, VALID, False, True, SERVE, SERVE, SERVE, SERVE),
    "due": (PLAIN, DUE, False, False, SERVE, SERVE, SERVE, SERVE),
    "due, inline": (PLAIN, DUE, False, True, START, SERVE, START, SERVE),
    "dead": (PLAIN, DEAD, False, False, START, JOIN, REFUSE, JOIN),
    "dead, inline": (PLAIN, DEAD, False, True, START, JOIN, REFUSE, JOIN),
    "forced, nothing cached": (FORCED, None, False, False, START, JOIN, REFUSE, JOIN),
    "forced, older token": (FORCED, OLD, False, False, START, JOIN, REFUSE, JOIN),
    "forced, older token, inline": (FORCED, OLD, False, True, START, JOIN, REFUSE, JOIN),
    "forced, newer token": (FORCED, NEW, False, False, SERVE, SERVE, SERVE, SERVE),
    "forced, newer token, inline": (FORCED, NEW, False, True, SERVE, SERVE, SERVE, SERVE),
    "rejected token": (REJECTING, REJECTED, True, False, START, JOIN, REFUSE, JOIN),
    "rejected token, inline": (REJECTING, REJECTED, True, True, START, JOIN, REFUSE, JOIN),
    "rejected by others": (REJECTING, VALID, True, False, START, JOIN, REFUSE, JOIN),
    "replaced since the rejection": (REJECTING, VALID, False, False, SERVE, SERVE, SERVE, SERVE),
    "rejected, nothing cached": (REJECTING, None, False, False, START, JOIN, REFUSE, JOIN),
}


@pytest.mark.parametrize(
    ("need", "token", "rejected", "inline", "idle", "under_way", "refused", "both"),
    TABLE.values(),
    ids=TABLE,
)
def test_table(need, token, rejected, inline, idle, under_way, refused, both):
    """Each situation has one decision."""
    expected = {
        (False, False): idle,
        (True, False): under_way,
        (False, True): refused,
        (True, True): both,
    }
    for (is_under_way, is_refused), action in expected.items():
        assert action is decide(
            need,
            token,
            NOW,
            rejected=rejected,
            is_under_way=is_under_way,
            is_refused=is_refused,
            renews_inline=inline,
        )


SITUATIONS = list(
    itertools.product(
        (PLAIN, FORCED, REJECTING),
        (None, VALID, DUE, DEAD, OLD, NEW, REJECTED),
        *[(False, True)] * 4,
    )
)


@pytest.mark.parametrize(
    ("need", "token", "rejected", "is_under_way", "is_refused", "renews_inline"), SITUATIONS
)
def test_promises(need, token, rejected, is_under_way, is_refused, renews_inline):
    """No dead or rejected token is served, and no second renewal is started."""
    usable = is_usable(need, token, NOW, rejected=rejected)
    action = decide(
        need,
        token,
        NOW,
        rejected=rejected,
        is_under_way=is_under_way,
        is_refused=is_refused,
        renews_inline=renews_inline,
    )
    if action is SERVE:
        assert usable
        assert token.dead_at > NOW
    if is_under_way:
        assert action is not START
    if usable:
        assert action is not REFUSE
        assert action is not JOIN
