"""Which provider an error is about."""

import pytest

from tokenkeeper.exceptions import TokenAcquisitionError
from tokenkeeper.oauth.attribution import attributed_to, unattributed


def raised_in(context, error):
    with pytest.raises(type(error)) as caught, context:
        raise error
    return caught.value


def test_an_error_that_names_no_provider():
    """The provider's name is added to a copy, which keeps all else."""
    cause = ValueError("x")
    error = TokenAcquisitionError("no file", transient=True, retry_after=3.0, status_code=503)
    error.__cause__ = cause
    found = raised_in(attributed_to("api"), error)
    assert (str(found), found.provider_name) == ("provider 'api': no file", "api")
    assert (found.transient, found.retry_after, found.status_code) == (True, 3.0, 503)
    assert found.__cause__ is cause
    assert found.__suppress_context__
    assert (str(error), error.provider_name) == ("no file", None)


class VaultError(TokenAcquisitionError):
    """An error of a caller's own, which is made in another way than its base class."""

    def __init__(self, path, *, code):
        super().__init__(f"{path} is sealed", status_code=code)
        self.path = path


@pytest.mark.parametrize("context", [attributed_to("api"), unattributed("CI")], ids=["to", "un"])
def test_an_error_with_a_constructor_of_its_own(context):
    """A caller's own class of errors keeps its class and attributes, whatever it is made from."""
    error = VaultError("kv/app", code=503)
    found = raised_in(context, error)
    assert str(found).endswith("kv/app is sealed")
    assert (type(found), found.path, found.status_code) == (VaultError, "kv/app", 503)


def test_an_error_that_names_another_provider():
    """An error about another provider stays the same object."""
    error = TokenAcquisitionError("provider 'github': no token", provider_name="github")
    assert raised_in(attributed_to("api"), error) is error


def test_other_errors():
    """Errors of other kinds pass unchanged, and so does success."""
    for context in (attributed_to("api"), unattributed("api")):
        error = ConnectionError("x")
        assert raised_in(context, error) is error
    with attributed_to("api"), unattributed("api"):
        pass


def test_a_name_that_is_not_a_provider():
    """A name that only filled a gap is removed again."""
    error = TokenAcquisitionError("provider 'CI': request to x failed", provider_name="CI")
    found = raised_in(unattributed("CI"), error)
    assert (str(found), found.provider_name) == ("request to x failed", None)
