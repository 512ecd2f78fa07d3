"""Django and FastAPI connect an account for each customer, across processes with one store.

What a customer does runs in processes with the test client of the framework. ``get`` asks the
project for a page, ``consent`` is the person's browser at the authorization server, and ``use`` is
what calls the API for a customer: Django's Celery task, or a route of FastAPI.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from kit.guards import PROGRAM_SECONDS
from kit.servers.consent import CLIENT, SECRET, ConsentServer

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
INTERPRETER_STATE = shutil.ignore_patterns("__pycache__", ".pytest_cache")

DJANGO = """
import os

import django

os.environ["DJANGO_SETTINGS_MODULE"] = "project.settings"
django.setup()

from customers.tasks import fetch_contacts
from django.test import Client

from tokenkeeper import OAuth2Error


def get(path, cookies=()):
    client = Client()
    client.cookies.load(dict(cookies))
    answer = client.get(path, secure=True)
    kept = {name: each.value for name, each in client.cookies.items()}
    return answer.status_code, answer.headers.get("Location"), kept, answer.content.decode()


def use(customer):
    try:
        return fetch_contacts.apply(args=[customer]).get()["account"]
    except OAuth2Error as error:
        return type(error).__name__
"""

FASTAPI = """
from fastapi.testclient import TestClient

from invoices.asgi import app


def get(path, cookies=()):
    options = {"base_url": "https://testserver", "follow_redirects": False}
    with TestClient(app, cookies=dict(cookies), **options) as client:
        answer = client.get(path)
        return answer.status_code, answer.headers.get("Location"), dict(client.cookies), answer.text


def use(customer):
    status, _, _, body = get(f"/customers/{customer}/contacts")
    return json.loads(body)["account"] if status == 200 else json.loads(body)["detail"]
"""

COMMON = """
import json
import sys
from urllib.parse import urlsplit

import requests


def consent(url):
    answer = requests.get(url, allow_redirects=False, timeout=30)
    callback = urlsplit(answer.headers["Location"])
    return f"{callback.path}?{callback.query}"


def connect(customer):
    _, url, cookies, _ = get(f"/customers/{customer}/connect")
    return get(consent(url), cookies)


"""

PROGRAMS = {"django": DJANGO, "fastapi": FASTAPI}
NOT_CONNECTED = {"django": "AuthorizationRequiredError", "fastapi": "Connect HubSpot first."}


@pytest.fixture
def server():
    """Return an authorization server where somebody consents, and its API."""
    with ConsentServer() as server:
        yield server


@pytest.fixture(params=PROGRAMS)
def site(request, server, tmp_path):
    """Return a function that runs one step of a project in a process of its own."""
    name = request.param
    folder = shutil.copytree(EXAMPLES / name, tmp_path / name, ignore=INTERPRETER_STATE)
    hidden = ("AZURE_", "OAUTH2_", "TOKENKEEPER_", "DJANGO_", "PYTEST_")
    own = {key: value for key, value in os.environ.items() if not key.startswith(hidden)}
    environment = {
        **own,
        "BILLING_API": server.origin,
        "BILLING_SECRET": "not used here",
        "HUBSPOT_API": server.origin,
        "HUBSPOT_CLIENT": CLIENT,
        "HUBSPOT_SECRET": SECRET,
        "HUBSPOT_SIGN_IN": f"{server.origin}/authorize",
        "HUBSPOT_TOKEN_URL": f"{server.origin}/token",
        "TOKENKEEPER_CONFIG": "tokens.yaml",
        "TOKEN_STORE": f"sqlite:///{tmp_path}/tokens.db",
    }

    def run(expression, *given):
        """Return the value of an expression in a new process. *given* is there as ``given``."""
        end = f"given = json.loads(sys.argv[1])\nprint(json.dumps({expression}))\n"
        (folder / "program.py").write_text(COMMON + PROGRAMS[name] + end)
        done = subprocess.run(
            [sys.executable, "program.py", json.dumps(given)],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=PROGRAM_SECONDS,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    run.name = name
    return run


def test_an_account_for_each_customer(site, server):
    """The link, the callback and each use may be in processes of their own."""
    links = site("[get('/customers/acme/connect'), get('/customers/initech/connect')]")
    answers = site("[get(consent(url), cookies) for _, url, cookies, _ in given]", *links)
    assert [status for status, *_ in answers] == [200, 200]
    acme, initech, again = site("[use('acme'), use('initech'), use('acme')]")
    assert acme == again != initech
    assert server.grants == ["authorization_code", "authorization_code"]


def test_a_refused_token_is_renewed_in_another_process(site, server):
    """A process whose token the API refuses renews it by the refresh token in the store."""
    status, account = site("[connect('acme')[0], use('acme')]")
    assert status == 200
    server.revoke_access_tokens()
    assert site("[use('acme'), use('acme')]") == [account, account]
    assert server.grants == ["authorization_code", "refresh_token"]
    assert server.reused == 0


def test_a_customer_without_an_account(site, server):
    """Without a sign-in nothing is requested, and the error says so."""
    assert site("use('acme')") == NOT_CONNECTED[site.name]
    assert server.received == []


def test_the_answer_of_another_browser(site, server):
    """A callback in a browser that began no sign-in, or another one, is refused."""
    ours, theirs = site("[get('/customers/acme/connect'), get('/customers/mallory/connect')]")
    callback = server.consent(ours[1])
    everyone = "[get(given[0], cookies)[0] for cookies in given[1:]]"
    assert site(everyone, callback, {}, theirs[2], ours[2]) == [400, 400, 200]
    assert server.grants == ["authorization_code"]


def test_a_person_who_refuses(site, server):
    """A refusal reaches the person, who sees no state of the sign-in; no token is requested."""
    server.denies = True
    status, _, _, body = site("connect('acme')")
    assert status == 400
    assert "was not connected" in body
    assert "state" not in body
    assert [request.path for request in server.received] == ["/authorize"]


def test_a_callback_that_comes_twice(site, server):
    """A callback that is loaded again requests no second token, and harms nothing."""
    link = site("get('/customers/acme/connect')")
    callback = server.consent(link[1])
    seen = site("[get(*given)[0], get(*given)[0], use('acme')]", callback, link[2])
    assert seen[:2] == [200, 400]
    assert seen[2].startswith("account-")
    assert server.grants == ["authorization_code"]
    assert server.reused == 0
