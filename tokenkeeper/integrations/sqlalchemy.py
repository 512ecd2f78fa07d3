"""``sqlalchemy``: engines whose connections have a token as their password."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine, event
from sqlalchemy.util import await_only

from tokenkeeper._runtime.pickling import NotPicklable
from tokenkeeper._support.hiding import Hidden, without_frames
from tokenkeeper.exceptions import InvalidConfigurationError
from tokenkeeper.integrations._databases import BlockingTokens, connect
from tokenkeeper.integrations._tokens import AsyncTokens, Tokens
from tokenkeeper.integrations._unauthorized import Refusal
from tokenkeeper.keeper import TokenKeeper
from tokenkeeper.source import TokenSource

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect
    from sqlalchemy.ext.asyncio import AsyncEngine

__all__ = ["authenticate"]

_PROBE = "where the password goes"


def authenticate(
    engine: Engine | AsyncEngine,
    keeper: TokenKeeper | TokenSource,
    provider_name: str | None = None,
    *,
    password_argument: str | None = None,
    timeout: float | None = None,
) -> Callable[[], None]:
    """Have each new connection of *engine* use a token as its password.

    If the database rejects the token, it is renewed, and the connection is made again, once.
    However many connections are rejected at once, one renewal follows. Other errors, such as that
    of a database that is down, cause no renewal. Connections that are open keep working for as
    long as the database lets them.

    Under an async engine, nothing blocks the event loop. Thread-safe.

    :param engine: the engine. One that was created with ``creator=``, ``async_creator=`` or
        ``pool=`` does not ask for a password. Listeners to ``do_connect`` that are added later are
        not called.
    :param keeper: the keeper that has the tokens, or a source, which names its token itself.
    :param provider_name: the provider whose token to use.
    :param password_argument: the argument of the driver's ``connect()`` that takes the token; by
        default the one that takes the URL's password, such as ``password`` or ``passwd``.
    :param timeout: seconds to wait for a token at most; by default there is no limit.
    :returns: a function that ends this. Connections that are open are not closed.
    :raises InvalidConfigurationError: if the engine has such tokens already, or its driver takes
        no password as an argument of its own.
    """
    sync_engine = getattr(engine, "sync_engine", engine)
    if not isinstance(sync_engine, Engine):
        raise InvalidConfigurationError(
            f"engine must be an Engine or an AsyncEngine, not {type(engine).__name__}",
            field="engine",
        )
    tokens: BlockingTokens = (
        _TokensInGreenlet(AsyncTokens(keeper, provider_name, timeout))
        if sync_engine.dialect.is_async
        else Tokens(keeper, provider_name, timeout)
    )
    if any(_is_ours(listener) for listener in sync_engine.dialect.dispatch.do_connect):
        raise InvalidConfigurationError(
            "the engine already uses tokens. Call the function that authenticate() returned first.",
            field="engine",
        )
    listener = _Listener(tokens, password_argument or _password_argument(sync_engine)).connect
    event.listen(sync_engine, "do_connect", listener)
    return partial(event.remove, sync_engine, "do_connect", listener)


def _is_ours(listener: object) -> bool:
    return isinstance(getattr(listener, "__self__", None), _Listener)


def _password_argument(engine: Engine) -> str:
    """Return the name of the argument in which the dialect passes a URL's password."""
    _, arguments = engine.dialect.create_connect_args(engine.url.set(password=_PROBE))
    for name, value in arguments.items():
        if value == _PROBE:
            return name
    raise InvalidConfigurationError(
        f"{engine.dialect.driver!r} takes no password as an argument of its own. Set "
        "password_argument to the argument that takes a token.",
        field="password_argument",
    )


class _Listener(NotPicklable):
    """Makes the connections of one engine."""

    def __init__(self, tokens: BlockingTokens, argument: str) -> None:
        self._tokens = tokens
        self._argument = argument

    def connect(
        self, dialect: Dialect, record: object, args: Sequence[Any], arguments: dict[str, Any]
    ) -> Any:
        # The arguments are SQLAlchemy's, in a frame that error trackers show: a copy gets the token
        return connect(self._tokens, partial(_connect, dialect, args, arguments, self._argument))


@without_frames
def _connect(
    dialect: Dialect,
    args: Sequence[Any],
    arguments: dict[str, Any],
    argument: str,
    token: Hidden[str],
) -> Any:
    return dialect.connect(*args, **{**arguments, argument: token.text})


class _TokensInGreenlet:
    """Tokens for an async engine, which runs blocking code in a greenlet that can await."""

    def __init__(self, tokens: AsyncTokens) -> None:
        self._tokens = tokens

    def get(self) -> Hidden[str]:
        return await_only(self._tokens.get())

    def replace(self, refusal: Refusal) -> Hidden[str] | None:
        return await_only(self._tokens.replace(refusal))
