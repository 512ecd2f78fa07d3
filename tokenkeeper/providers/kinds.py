"""The kinds of providers: their names, their classes, and how they describe themselves.

A kind is one of ours, the name of an entry point in the group ``tokenkeeper.providers``, or the
path of a class, ``package.module:Class``. The module of a class is imported, so a configuration
has to be as trustworthy as the program.
"""

from __future__ import annotations

import difflib
import inspect
import re
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import PurePath
from typing import Any, Literal, TypedDict, cast

from tokenkeeper._runtime.fork import late_import
from tokenkeeper.exceptions import InvalidConfigurationError
from tokenkeeper.providers.base import BaseOAuth2Provider

__all__ = [
    "ENTRY_POINTS",
    "OURS",
    "Description",
    "Kind",
    "Parameters",
    "did_you_mean",
    "kind_of",
    "nearest_to",
    "parameters_of",
    "place_of",
    "provider_class",
]

ENTRY_POINTS = "tokenkeeper.providers"
"""The group of entry points with the provider classes of packages."""

OURS: Mapping[str, str] = {
    "azure": "tokenkeeper.providers.azure:AzureADProvider",
    "azure_default": "tokenkeeper.providers.azure_default:AzureDefaultProvider",
    "azure_managed_identity": "tokenkeeper.providers.managed_identity:ManagedIdentityProvider",
    "generic": "tokenkeeper.providers.generic:GenericOAuth2Provider",
}


class Description(TypedDict, total=False):
    """The entries of ``provider.describe()`` that have a meaning. None of them is a secret.

    A custom provider may leave out any of them, and add others.
    """

    type: str
    """The class, as ``package.module:Class``."""

    token_url: str
    """The token endpoint, without its query."""

    authority: str
    """The login host of Microsoft Entra ID, in place of ``token_url``."""

    issuer: str
    """The server's issuer identifier, if it is known (RFC 8414)."""

    tenant_id: str

    allowed_tenants: Sequence[str]
    """Further tenants that a source may name; ``*`` stands for every tenant."""

    client_id: str

    scope: str | None
    """What is asked for, separated by spaces."""

    grant_type: str

    redirect_uri: str
    """Where a browser is sent after a sign-in, if it is a URL of a web application."""

    redirect_port: int
    """The port on this machine where it is sent, if it is configured."""

    token_endpoint_auth_method: str
    """By its name in RFC 7591 §2."""

    request_format: str

    headers: Sequence[str]
    """The names of further headers."""

    refresh_tokens: bool

    dpop: bool
    """Whether tokens are bound to a key (RFC 9449)."""

    verify: bool | str | None
    """The CA certificates: a path, ``None`` for the usual ones, ``False`` for no check."""

    default_lifetime_seconds: float
    """How long a token is assumed to live if the server does not say."""

    lifetime_seconds: float | None
    """How long every token lives, whatever the server says; ``None`` if the server decides."""

    never_expires: bool

    omitted: Sequence[str]
    """Which of ``expires_in`` and ``scope`` the server left out of its last answer."""


Kind = Literal["azure", "azure_default", "azure_managed_identity", "generic", "custom"]


def kind_of(provider: BaseOAuth2Provider) -> Kind:
    """Return which kind *provider* is, also for a class that was derived from one of ours."""
    paths = {f"{each.__module__}:{each.__qualname__}" for each in type(provider).__mro__}
    for kind, path in OURS.items():
        if path in paths:
            return cast("Kind", kind)
    return "custom"


_PATH = re.compile(r"[^\W\d][\w.]*:[^\W\d][\w.]*")


def provider_class(kind: object) -> type[BaseOAuth2Provider]:
    """Import and return the class that *kind* names.

    :raises InvalidConfigurationError: if it does not exist or can't be used, with what to do.
    """
    path = OURS.get(kind) if isinstance(kind, str) else None
    if path is None:
        path = kind if isinstance(kind, str) and _PATH.fullmatch(kind) else _from_packages(kind)
    module_name, _, name = path.partition(":")
    module = _imported(module_name)
    found = module
    for step in name.split("."):
        found = getattr(found, step, None)
        if found is None:
            near = did_you_mean(name, (n for n, v in vars(module).items() if inspect.isclass(v)))
            raise _unfit(f"names {path}, but {module_name} has no {name}{near}")
    if not (inspect.isclass(found) and issubclass(found, BaseOAuth2Provider)):
        raise _unfit(f"names {path}, which is not a class derived from BaseOAuth2Provider")
    if inspect.isabstract(found):
        missing = ", ".join(sorted(found.__abstractmethods__))
        raise _unfit(f"names {path}, which is abstract: it needs a method {missing}")
    return found


def _from_packages(kind: object) -> str:
    """Return the path of the class that an entry point calls *kind*."""
    offered = {each.name: each.value for each in entry_points(group=ENTRY_POINTS)}
    if isinstance(kind, str) and kind in offered:
        path = offered[kind].partition("[")[0].replace(" ", "")
        if _PATH.fullmatch(path):
            return path
        raise _unfit(f"names the entry point {kind!r}, whose value is not package.module:Class")
    near = did_you_mean(kind, [*OURS, *offered]) if isinstance(kind, str) else ""
    *names, last = map(repr, dict.fromkeys([*OURS, *sorted(offered)]))
    choices = f"{', '.join(names)} or {last}"
    raise _unfit(f"must be {choices}, or the path of a class, package.module:Class{near}")


def _imported(name: str) -> Any:
    try:
        return late_import(name)
    except ModuleNotFoundError as missing:
        if missing.name and f"{name}.".startswith(f"{missing.name}."):
            problem = (
                f"names the module {name}, which can't be found: install its package, or put its "
                "directory on PYTHONPATH"
            )
        else:
            problem = f"names the module {name}, which needs {missing.name}: install it"
    except (Exception, SystemExit) as error:  # noqa: BLE001 - its text may contain a secret
        problem = (
            f"names the module {name}, which can't be imported: {type(error).__name__}"
            f"{place_of(error)}"
        )
    raise _unfit(problem)


def place_of(error: BaseException) -> str:
    """Return where *error* was raised, as `` in FILE, line N``, without its text."""
    if isinstance(error, SyntaxError) and error.filename:
        return f" in {PurePath(error.filename).name}, line {error.lineno}"
    _, *frames = traceback.extract_tb(error.__traceback__)  # the first frame is ours
    frames = [each for each in frames if not each.filename.startswith("<frozen")]
    return f" in {PurePath(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else ""


@dataclass(frozen=True)
class Parameters:
    """The parameters of a class, by keyword.

    :ivar names: all known parameters, including those of the base class if the constructor ends
        with ``**options``.
    :ivar own: the parameters of the class's own constructor.
    :ivar required: the own parameters without a default.
    :ivar takes_any: whether the own constructor ends with ``**options``.
    """

    names: tuple[str, ...]
    own: tuple[str, ...]
    required: tuple[str, ...]
    takes_any: bool


def parameters_of(kind: type) -> Parameters:
    """Return the parameters of the class *kind*."""
    constructors = [each.__dict__["__init__"] for each in kind.__mro__ if "__init__" in vars(each)]
    names: dict[str, None] = {}
    for constructor in constructors:
        names |= dict.fromkeys(parameter.name for parameter in _keywords(constructor))
        if not _takes_any(constructor):
            break
    own = list(_keywords(constructors[0]))
    return Parameters(
        tuple(names),
        tuple(parameter.name for parameter in own),
        tuple(each.name for each in own if each.default is inspect.Parameter.empty),
        _takes_any(constructors[0]),
    )


def _keywords(constructor: Any) -> Iterator[inspect.Parameter]:
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    _, *parameters = inspect.signature(constructor).parameters.values()
    return (each for each in parameters if each.kind in kinds)


def _takes_any(constructor: Any) -> bool:
    parameters = inspect.signature(constructor).parameters.values()
    return any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters)


def nearest_to(name: str, names: Iterable[str]) -> str | None:
    """Return the one of *names* that *name* may be a misspelling of."""
    return next(iter(difflib.get_close_matches(name, list(names), n=1, cutoff=0.5)), None)


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Return a sentence that suggests the nearest of *names*; "" if none is near."""
    nearest = nearest_to(name, names)
    return f". Did you mean {nearest!r}?" if nearest else ""


def _unfit(problem: str) -> InvalidConfigurationError:
    return InvalidConfigurationError(f"provider_type {problem}", field="provider_type")
