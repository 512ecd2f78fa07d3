"""Many threads and tasks that wait for one token while the wire fails."""

import anyio
import pytest
from kit.servers import fault_proxy as faults

from tokenkeeper import OAuth2TokenManager, TokenAcquisitionError

EACH = 32  # for threads and for tasks each
FAULTS = [
    faults.RESET_AT_ONCE,
    faults.RESET_BEFORE,
    faults.STALL_IN_HEAD,
    faults.TRUNCATE_BODY,
    faults.STATUS_LINE,
]


def crowd(kit, client):
    """Have threads and tasks ask at once; return what each got, once all have returned."""
    everybody = EACH * 2

    def complete():
        keeper = client.keeper
        return (
            kit.threads_waiting(keeper, client.name) + kit.tasks_waiting(keeper, client.name)
            == everybody
        )

    # The first attempt may fail before all callers wait. The second one waits until they do.
    client.clock.before_retry = lambda: kit.until(complete, "the whole crowd waiting")
    manager = OAuth2TokenManager(client.keeper)
    outcomes = []

    async def task():
        try:
            outcomes.append(await manager.get_token(client.name))
        except TokenAcquisitionError as error:
            outcomes.append(error)

    async def tasks():
        async with anyio.create_task_group() as group:
            for _ in range(EACH):
                group.start_soon(task)

    threads = [lambda: client.keeper.get_token(client.name)] * EACH
    *by_threads, _ = kit.Crowd(*threads, lambda: anyio.run(tasks)).join()
    client.clock.before_retry = None
    assert len(by_threads + outcomes) == everybody
    return by_threads + outcomes


@pytest.mark.parametrize("fault", FAULTS, ids=repr)
def test_one_fault(kit, client, proxy, fault):
    """A single fault costs all callers one retry, and all get the same token."""
    proxy.plan(fault)
    (token,) = set(crowd(kit, client))
    client.present(token)
    assert proxy.attempts == 2


@pytest.mark.parametrize("fault", FAULTS, ids=repr)
def test_a_fault_that_lasts(kit, client, proxy, faulty, fault):
    """All callers together make no more attempts than one caller, and get the same error."""
    proxy.always(fault)
    errors = crowd(kit, client)
    assert {type(error) for error in errors} == {TokenAcquisitionError}
    assert len({str(error) for error in errors}) == 1
    faulty.assert_clear(errors[0], client)
    assert len({id(error) for error in errors}) == len(errors)
    assert proxy.attempts == faulty.POLICY.attempts


def test_a_refusal(kit, make_client, proxy):
    """An answer that no retry can fix causes one request for all callers."""
    client = make_client()
    proxy.always(faults.JSON_BYTE)
    outcomes = crowd(kit, client)
    (text,) = {str(error) for error in outcomes}
    assert "has no access_token" in text
    assert proxy.attempts == 1
