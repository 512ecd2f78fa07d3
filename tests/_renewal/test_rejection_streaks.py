"""The arithmetic of pauses after rejections; test_rejections.py has what callers see of it."""

import pytest

from tokenkeeper._renewal.rejections import Rejections, Ruling
from tokenkeeper.testing import SteppedClock

RENEWED = Ruling(renews=True, keeps=False, is_first=True, pause_begins=False)
PAUSED = Ruling(renews=False, keeps=True, is_first=True, pause_begins=True)
STILL_PAUSED = Ruling(renews=False, keeps=True, is_first=False, pause_begins=False)
RENEWED_AFTER_A_PAUSE = Ruling(renews=True, keeps=True, is_first=False, pause_begins=False)


@pytest.fixture
def clock():
    return SteppedClock(monotonic=1000.0)


@pytest.fixture
def rejections(clock):
    return Rejections(clock)


@pytest.fixture
def reject(rejections):
    """Return a function that lets tokens be granted, and rejected immediately."""

    def reject(*tokens):
        rulings = []
        for token in tokens:
            rejections.granted("api", token)
            rulings.append(rejections.note("api", token))
        return rulings

    return reject


def test_a_pause_begins(rejections, reject):
    """Three tokens in a row are replaced at once; the fourth begins a pause."""
    assert reject("a", "b", "c", "d") == [RENEWED, RENEWED, RENEWED, PAUSED]
    assert rejections.note("api", "d") == STILL_PAUSED
    assert rejections.tokens("api") == 4
    assert rejections.pause_seconds("api") == 30.0
    assert rejections.is_paused("api")
    assert rejections.is_rejecting("api")


@pytest.mark.parametrize("tokens", ["", "a", "ab"])
def test_before_a_pause(rejections, reject, tokens):
    """Fewer rejections cause no pause, and health does not degrade."""
    reject(*tokens)
    assert rejections.tokens("api") == len(tokens)
    assert rejections.pause_seconds("api") == 0.0
    assert not rejections.is_paused("api")
    assert not rejections.is_rejecting("api")


@pytest.mark.parametrize(("after", "is_paused"), [(0.0, True), (29.5, True), (30.0, False)])
def test_a_pause_ends(clock, rejections, reject, after, is_paused):
    """After the pause a rejection of the same token renews it, and begins a longer pause."""
    reject("a", "b", "c", "d")
    clock.step(after)
    assert rejections.is_paused("api") is is_paused
    assert rejections.pause_seconds("api") == 30.0 - after
    assert rejections.is_rejecting("api") is is_paused
    ruling = rejections.note("api", "d")
    assert ruling == (STILL_PAUSED if is_paused else RENEWED_AFTER_A_PAUSE)
    assert rejections.pause_seconds("api") == (30.0 - after if is_paused else 60.0)


def test_each_pause_is_announced_once(clock, rejections, reject):
    """The first rejection within each pause announces it."""
    reject("a", "b", "c", "d")
    clock.step(30.0)
    rejections.note("api", "d")
    assert reject("e", "e") == [PAUSED, STILL_PAUSED]
    assert rejections.pause_seconds("api") == 60.0


def test_a_long_time_after_a_pause(clock, rejections, reject):
    """A pause that ended long ago has no seconds left, not fewer than none."""
    reject("a", "b", "c", "d")
    clock.step(100.0)
    assert rejections.pause_seconds("api") == 0.0


def test_still_rejecting_after_a_pause(clock, rejections, reject):
    """Health is degraded for half a minute after the last rejection, even if the pause is over."""
    reject("a", "b", "c", "d")
    clock.step(20.0)
    rejections.note("api", "d")
    clock.step(29.5)
    assert not rejections.is_paused("api")
    assert rejections.is_rejecting("api")
    clock.step(0.5)
    assert not rejections.is_rejecting("api")


def test_a_new_token_is_not_rejected_yet(rejections, reject):
    """Once another token was granted, health waits for its rejection; the pause goes on."""
    reject("a", "b", "c")
    rejections.granted("api", "d")
    assert not rejections.is_rejecting("api")
    assert rejections.is_paused("api")


@pytest.mark.parametrize(
    ("accepted_for", "ruling", "tokens"),
    [
        (0.0, PAUSED, 4),
        (29.0, PAUSED, 4),
        # a rejection after the pause renews, but the token is kept meanwhile
        (120.0, RENEWED_AFTER_A_PAUSE._replace(is_first=True), 4),
        (169.0, RENEWED_AFTER_A_PAUSE._replace(is_first=True), 4),
        # half a renewal is paid back, which is as good as one
        (170.0, RENEWED, 4),
        (240.0, RENEWED, 4),
        # a streak ends after ten minutes
        (599.5, RENEWED, 4),
        (600.0, RENEWED, 1),
        (9999.0, RENEWED, 1),
    ],
)
def test_accepted_tokens_pay_back(clock, rejections, reject, accepted_for, ruling, tokens):
    """A token that was accepted for a while allows a quick renewal again."""
    reject("a", "b", "c")
    rejections.granted("api", "d")
    clock.step(accepted_for)
    assert rejections.note("api", "d") == ruling
    assert rejections.tokens("api") == tokens


@pytest.mark.parametrize(
    ("accepted_for", "quick"),
    [(0, 0), (169, 0), (170, 1), (293, 1), (294, 2), (379, 2), (380, 3), (600, 3), (9999, 3)],
)
def test_how_much_is_paid_back(clock, rejections, reject, accepted_for, quick):
    """The longer a token was accepted, the more of the next ones are replaced at once."""
    reject("a", "b", "c")
    rejections.granted("api", "d")
    clock.step(accepted_for)
    rulings = [rejections.note("api", "d"), *reject("e", "f", "g")]
    assert sum(not each.keeps for each in rulings) == quick


def test_pauses_grow_up_to_ten_minutes(clock, rejections, reject):
    """Each renewal after a pause doubles the next one, and a long outage does not overflow."""
    reject("a", "b", "c", "d")
    pauses = []
    for _ in range(2000):
        pauses.append(rejections.pause_seconds("api"))
        clock.step(pauses[-1])
        rejections.note("api", "d")
    assert pauses[:6] == [30.0, 60.0, 120.0, 240.0, 480.0, 600.0]
    assert set(pauses[5:]) == {600.0}


def test_eight_tokens_are_remembered(rejections, reject):
    """The last eight rejected tokens are known; a repeated one counts as the latest."""
    reject(*"abcdefgh")
    assert all(rejections.knows("api", each) for each in "abcdefgh")
    rejections.granted("api", "x")
    rejections.note("api", "a")  # again, which makes "b" the oldest
    reject("i")
    assert [each for each in "abcdefghi" if rejections.knows("api", each)] == list("acdefghi")
    assert not rejections.knows("other", "a")


class TestGrantedAgain:
    """The server grants a rejected token again."""

    def test_a_pause_begins(self, clock, rejections, reject):
        """A pause begins, which the failure announced; the same token once more ends nothing."""
        reject("a")
        rejections.granted("api", "a")
        rejections.granted_again("api")
        assert rejections.insists("api")
        assert rejections.pause_seconds("api") == 30.0
        assert rejections.is_rejecting("api")
        assert rejections.note("api", "a") == STILL_PAUSED
        rejections.granted("api", "a")
        assert rejections.insists("api")
        clock.step(30.0)
        assert rejections.note("api", "a") == RENEWED_AFTER_A_PAUSE

    def test_another_token_at_last(self, rejections, reject):
        """Once another token was granted, the server no longer insists."""
        reject("a")
        rejections.granted_again("api")
        rejections.granted("api", "b")
        assert not rejections.insists("api")
        assert not rejections.is_rejecting("api")

    def test_within_a_streak(self, clock, rejections, reject):
        """It makes no pause shorter."""
        reject("a", "b", "c", "d")
        clock.step(30.0)
        rejections.note("api", "d")
        rejections.granted_again("api")
        assert rejections.pause_seconds("api") == 60.0

    def test_of_a_name_without_a_streak(self, rejections):
        """It needs no rejection by this process."""
        rejections.granted_again("api")
        assert rejections.pause_seconds("api") == 30.0
        assert rejections.tokens("api") == 0
        assert rejections.is_rejecting("api")


def test_forgotten(rejections, reject):
    """A forgotten name starts over."""
    reject("a", "b", "c", "d")
    rejections.forget("api")
    rejections.forget("unknown")
    assert not rejections.knows("api", "d")
    assert rejections.tokens("api") == 0
    assert reject("d") == [RENEWED]


def test_any_text_can_be_rejected(rejections):
    """A token of characters that no encoding has is remembered like any other."""
    rejections.note("api", "\ud800")
    assert rejections.knows("api", "\ud800")
