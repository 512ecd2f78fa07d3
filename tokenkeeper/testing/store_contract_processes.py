"""Tests of a store's life: closed and used again, forked, and unavailable."""
# ruff: noqa: S101 - these are tests

from __future__ import annotations

import os
import signal
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from tokenkeeper.exceptions import StoreUnavailableError
from tokenkeeper.stores.base import TokenStore
from tokenkeeper.testing.store_contract_base import (
    GUARD_SECONDS,
    ContractTests,
    claimed,
    new_key,
    published,
)

__all__ = ["ProcessTests"]

FORKS = 4
BUSY_THREADS = 3


class ProcessTests(ContractTests):
    """Connections: closed, inherited by a forked child, and those that can't be made."""

    def test_a_closed_store_is_used_again(self) -> None:
        """After ``close()`` a store opens new connections; closing twice does no harm."""
        with self.clients() as (key, one, other):
            published(one, key)
            one.close()
            one.close()
            assert one.read(key).sealed == b"token"
            one.close()
            assert claimed(one, key, generation=1).granted
            assert other.read(key).is_claimed

    def test_a_closed_client_leaves_others_alone(self) -> None:
        """Closing one client closes no connection of another."""
        with self.clients() as (key, one, other):
            published(one, key)
            other.read(key)
            one.close()
            assert other.read(key).sealed == b"token"

    def test_a_forked_child(self) -> None:
        """A child uses the store that it inherited, even closes it, and does its parent no harm."""
        if not hasattr(os, "fork"):
            return
        with self.clients() as (key, one, _other):
            published(one, key)
            fence = claimed(one, key, generation=1).record.fence

            def child() -> None:
                assert one.read(key).sealed == b"token"
                assert not claimed(one, key, "child", generation=1).granted
                assert published(one, key, b"of the child", owner="child", replaces=1)
                one.close()
                assert one.read(key).sealed == b"of the child"
                one.close()

            assert exit_code_of(child) == 0
            record = one.read(key)
            seen = (2, b"of the child") if self.is_shared else (1, b"token")
            assert (record.generation, record.sealed) == seen
            assert one.fail(key, owner="first", fence=fence, sealed=b"why")

    def test_children_that_are_forked_at_any_moment(self) -> None:
        """A child works although other threads were using the store as it was forked."""
        if not hasattr(os, "fork"):
            return
        with self.clients() as (key, one, _other), busy(one):
            published(one, key)
            for number in range(FORKS):

                def child(replaces: int = number + 1) -> None:
                    start = replaces if self.is_shared else 1
                    assert one.read(key).generation == start
                    assert published(one, key, b"of a child", owner="child", replaces=start)
                    assert one.read(key).sealed == b"of a child"

                assert exit_code_of(child) == 0
            assert one.read(key).generation == (1 + FORKS if self.is_shared else 1)

    def test_an_unavailable_store(self) -> None:
        """Operations raise ``StoreUnavailableError``, with one line; ``close()`` raises nothing."""
        store = self.make_unavailable_store()
        if store is None:
            return
        operations: dict[str, Callable[[], object]] = {
            "read": partial(store.read, "key"),
            "claim": partial(claimed, store, "key"),
            "publish": partial(published, store, "key"),
            "fail": partial(store.fail, "key", owner="first", fence=1, sealed=b"why"),
            "forget": partial(store.forget, "key"),
            "forget entirely": partial(store.forget, "key", entirely=True),
            "keys": lambda: list(store.keys()),
        }
        for name, operation in operations.items():
            message = ""
            try:
                operation()
            except StoreUnavailableError as error:
                message = str(error)
            assert message, f"{name} raised no StoreUnavailableError"
            assert message.isprintable(), name
        store.close()


@contextmanager
def busy(store: TokenStore) -> Iterator[None]:
    """Use *store* on other threads until the block ends, and check that they meet no error."""
    stop = threading.Event()
    errors: list[BaseException] = []

    def use() -> None:
        key = new_key()
        try:
            while not stop.is_set():
                claimed(store, key)
                store.read(key)
            store.forget(key, entirely=True)
        except BaseException as error:  # noqa: BLE001 - it is reported below
            errors.append(error)

    threads = [threading.Thread(target=use, daemon=True) for _ in range(BUSY_THREADS)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(GUARD_SECONDS)
    assert not errors, errors
    assert not any(thread.is_alive() for thread in threads), "a thread of the parent hangs"


def exit_code_of(job: Callable[[], None]) -> int:
    """Return the exit code of a forked child that does *job*: 0 if it raised nothing.

    A child that hangs is killed.
    """
    with warnings.catch_warnings():
        # Python warns of forks beside threads, and those are what is tested.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    code = 1
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(int(GUARD_SECONDS))
        job()
        code = 0
    except BaseException:  # noqa: BLE001 - it is shown, and a child must never return
        traceback.print_exc()
    finally:
        os._exit(code)
