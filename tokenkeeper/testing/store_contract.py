"""The conformance tests of stores, for a store of your own."""

from __future__ import annotations

from tokenkeeper.testing.store_contract_claims import ClaimTests
from tokenkeeper.testing.store_contract_processes import ProcessTests
from tokenkeeper.testing.store_contract_records import RecordTests

__all__ = ["TokenStoreContract"]


class TokenStoreContract(ClaimTests, RecordTests, ProcessTests):
    """Tests of a :class:`~tokenkeeper.stores.TokenStore`, which pytest collects from a subclass.

    Derive a class whose name begins with ``Test``, and write :meth:`make_store`. Each test uses
    random keys, which it forgets entirely when it ends, so that it may run beside other users of
    the same data. Together the tests take a second or two.

    :cvar is_shared: whether other processes see what is stored; ``True`` by default. For a store in
        memory set it to ``False``.
    """
