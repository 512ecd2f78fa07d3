import os

from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tokenkeeper import TokenKeeper


def authenticated(uri, source, **options):
    """Connect with the current token; a rejected one is renewed once."""

    def connect_with(token):
        return connect(uri, additional_headers={"Authorization": f"Bearer {token}"}, **options)

    token = source()
    try:
        return connect_with(token)
    except InvalidStatus as error:
        if error.response.status_code != 401:
            raise
    return connect_with(source.renew_refused(token))


if __name__ == "__main__":
    with (
        TokenKeeper.from_env() as keeper,
        authenticated(os.environ["WEBSOCKET_URL"], keeper.source("oauth2")) as socket,
    ):
        socket.send("hello")
        print(socket.recv())
