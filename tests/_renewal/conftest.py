"""What the tests of renewals share."""

import pytest

from tokenkeeper._renewal.rejections import QUICK_RENEWALS


@pytest.fixture
def reject(keeper):
    """Return a function that reports tokens as rejected until only a pause can follow.

    It returns the current token, which no API has rejected yet.
    """

    def reject():
        token = keeper.get_token("api")
        for _ in range(QUICK_RENEWALS):
            token = keeper.renew_refused("api", token)
        return token

    return reject
