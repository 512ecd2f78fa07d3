"""Providers that helper processes can make again, because this module can be imported."""

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import ClassVar

from tokenkeeper import BaseOAuth2Provider, OAuth2Token, TokenAcquisitionError
from tokenkeeper.oauth.claims import is_claimed, last_look


class Portable(BaseOAuth2Provider):
    """Grants tokens that tell which method was asked, and with which token."""

    repeatable = False
    asked: ClassVar[list] = []

    def __init__(self, name="api", *, refusal=None):
        super().__init__(name)
        self.refusal = refusal

    def acquire_token(self):
        return self._granted("first")

    def refresh_token(self, token):
        return self._granted(f"after-{token.access_token}")

    def replace_refused_token(self, token):
        return self._granted(f"in-place-of-{token.access_token}")

    def _granted(self, text):
        last_look()
        assert is_claimed()
        self.asked.append(text)
        if self.refusal:
            raise TokenAcquisitionError(
                "no", provider_name=self.provider_name, error=self.refusal, transient=False
            )
        ends = datetime.now(UTC) + timedelta(hours=1)
        return OAuth2Token(text, "Bearer", ends, refresh_token="next")

    def for_another_process(self):
        return partial(type(self), self.provider_name, refusal=self.refusal)


class Fixed(Portable):
    """Stays with its process: it does not say how it is made."""

    for_another_process = BaseOAuth2Provider.for_another_process


class Reduced(Fixed):
    """Can be pickled."""

    def __reduce__(self):
        return type(self), (self.provider_name,)


class Unpicklable(Portable):
    """Says how it is made by something that can't be pickled."""

    def for_another_process(self):
        return lambda: self


class OfMain(Portable):
    """Says that it is made by the program that was started."""

    def for_another_process(self):
        return partial(exec, "from __main__ import provider")
