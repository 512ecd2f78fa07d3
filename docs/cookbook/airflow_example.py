from airflow.providers.http.hooks.http import HttpHook

from tokenkeeper import TokenKeeper


def hook(source, connection):
    """Return a hook whose requests carry the token. Airflow calls auth_type for each session."""
    return HttpHook(method="GET", http_conn_id=connection, auth_type=lambda *_: source.auth())


if __name__ == "__main__":
    with TokenKeeper.from_env() as keeper:
        answer = hook(keeper.source("oauth2"), "things").run("api/things")
        print(answer.status_code, answer.json()["path"])
