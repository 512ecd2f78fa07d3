"""Answers with wrong bytes: none of them ever becomes a token."""

import itertools
import random

import pytest
from kit.servers import fault_proxy as faults

from tokenkeeper import RetryPolicy, TokenAcquisitionError

ONCE = RetryPolicy(attempts=1)


def outcome(client, faulty):
    """Force a renewal; present its token, or check its error."""
    try:
        return client.get(force_refresh=True)
    except TokenAcquisitionError as error:
        faulty.assert_clear(error, client)
        return None


def test_bytes_flipped(make_client, proxy, faulty, kit):
    """Whichever byte of an answer is wrong, the API accepts every token that is handed out.

    Every third byte is tried, from a random start.
    """
    client = make_client(retry=ONCE, read_timeout=0.2)
    length = []
    proxy.plan(faults.changed("measured", lambda answer: length.append(len(answer)) or answer))
    kit.until(lambda: outcome(client, faulty), "the first token")
    got = []
    places = range(random.randrange(3), length[0] - 1, 3)
    for place in places:
        proxy.plan(faults.flipped(place))
        got.append(outcome(client, faulty))
    assert len(proxy.applied) == 1 + len(places)
    assert None in got
    handed_out = [token for token in got if token]
    assert len(set(handed_out)) == len(handed_out)
    kit.until(lambda: outcome(client, faulty), "recovery")
    client.get()


def test_random_garbage(make_client, proxy, faulty, kit):
    """The API accepts every token although random bytes replaced a part of an answer."""
    client = make_client(retry=ONCE, read_timeout=0.2)
    chance = random.Random(20)

    def garbled(answer):
        begin = chance.randrange(len(answer) - 1)
        end = min(len(answer), begin + chance.randrange(1, 40))
        return answer[:begin] + bytes([chance.randrange(128, 256)]) * (end - begin) + answer[end:]

    proxy.plan(*[faults.changed("garbled", garbled)] * 60)
    got = [outcome(client, faulty) for _ in range(60)]
    assert len(proxy.applied) == 60
    assert None in got
    kit.until(lambda: outcome(client, faulty), "recovery")


@pytest.mark.parametrize(
    "fault", [faults.DUPLICATE, faults.DUPLICATE_LATER, faults.TOO_SHORT], ids=repr
)
def test_answers_stay_with_their_client(make_client, proxy, fault, faulty, kit):
    """Bytes that are left on a connection never reach another client."""
    clients = [make_client(retry=ONCE), make_client(retry=ONCE)]
    proxy.always(fault)
    for client in itertools.islice(itertools.cycle(clients), 8):
        outcome(client, faulty)  # presents the token, which must belong to this client
    proxy.clear()
    for client in clients:
        kit.until(lambda client=client: outcome(client, faulty), "recovery")


def test_a_valid_token_survives_corrupt_answers(make_client, proxy):
    """An unreadable answer does not replace the cached token, which is still served."""
    client = make_client(retry=ONCE)
    first = client.get()
    proxy.plan(faults.JSON_BYTE, faults.TRUNCATE_WITHOUT_LENGTH, faults.STATUS_LINE)
    for _ in range(3):
        assert client.keeper.refresh_all() == {client.name: False}
    assert client.get() == first
    assert client.info["failures"] == 3
