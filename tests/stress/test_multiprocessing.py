"""``multiprocessing`` by fork, forkserver and spawn, while the parent has a request in flight."""

import itertools
import json
import multiprocessing

import pytest
from stress.holding import Held

HEAD = """
import json, logging, multiprocessing, os, threading
from concurrent.futures import ProcessPoolExecutor

from tokenkeeper import (
    GenericOAuth2Provider, OAuth2Config, OAuth2TokenManager, RetryPolicy, TokenAcquisitionError,
    TokenKeeper,
)

WARM, COLD = NAME + "-warm", NAME + "-cold"
SECRET = "correct horse battery staple"


def config(name, url=ISSUER + "/token"):
    return OAuth2Config(name, name, SECRET, url)


keeper = TokenKeeper()  # a forked child has this one; any other makes its own
keeper.add_provider(GenericOAuth2Provider(config(WARM)))
# Its answer is delayed while workers start, which takes long on a busy machine.
keeper.add_provider(GenericOAuth2Provider(config(COLD), read_timeout=100, total_timeout=120))


def work(_):
    return os.getpid(), keeper.get_token(WARM), keeper.get_token(COLD)


def work_and_send(number, pipe):
    pipe.send(work(number))
    pipe.close()


def start_worker(first):
    global own
    own = TokenKeeper()
    own.add_provider(GenericOAuth2Provider(first))


def work_with_own(_):
    return os.getpid(), own.get_token(own.list_providers()[0])


def fail(_):
    logging.getLogger("tokenkeeper").addHandler(logging.NullHandler())
    other = TokenKeeper(retry=RetryPolicy(attempts=1))
    other.add_provider(GenericOAuth2Provider(config("nobody", "http://127.0.0.1:1/token")))
    other.get_token("nobody")


def token_of(any_keeper, pipe):
    pipe.send(any_keeper.get_token(WARM))
    pipe.close()


def ask(process, pipe):
    process.start()
    got = pipe.recv() if pipe.poll(20) else None
    process.join(20)
    assert process.exitcode == 0, process.exitcode
    return got


def main(context):
"""

PROGRAMS = {
    "Process": """
        seen = []
        for number in range(3):
            ours, theirs = context.Pipe(duplex=False)
            seen.append(ask(context.Process(target=work_and_send, args=(number, theirs)), ours))
        return seen
    """,
    "Pool": """
        with context.Pool(3) as pool:
            seen = pool.map(work, range(30), chunksize=1)
            pool.close()
            pool.join()
        return seen
    """,
    "Pool whose workers retire": """
        with context.Pool(2, maxtasksperchild=2) as pool:
            seen = pool.map(work, range(8), chunksize=1)
            pool.close()
            pool.join()
        return seen
    """,
    "ProcessPoolExecutor": """
        with ProcessPoolExecutor(3, mp_context=context) as pool:
            return list(pool.map(work, range(30)))
    """,
}

MAIN = """

if __name__ == "__main__":
    warm = keeper.get_token(WARM)
    send("hold", COLD)
    waiting = threading.Thread(target=keeper.get_token, args=(COLD,))
    waiting.start()
    while COLD not in seen_by_server()["held"]:
        pass
    seen = main(multiprocessing.get_context(METHOD))
    assert waiting.is_alive()
    send("release", COLD)
    waiting.join(20)
    seen.append((os.getpid(), warm, keeper.get_token(COLD)))
    print(json.dumps(seen))
"""

CONTROLS = """
import json, time
from urllib.request import urlopen

def send(command, client):
    urlopen(f"{ISSUER}/{command}/{client}", data=b"").close()

def seen_by_server():
    time.sleep(0.01)
    with urlopen(ISSUER + "/seen") as answer:
        return json.load(answer)
"""

# What can be pickled: a configuration, a token and an error, but no keeper.
TRAVEL = """
    with context.Pool(2, initializer=start_worker, initargs=(config(COLD),)) as pool:
        seen = pool.map(work_with_own, range(10), chunksize=1)
        assert len(set(seen)) == len({pid for pid, _ in seen}), "a token for each worker"
        try:
            pool.map(fail, range(1))
        except TokenAcquisitionError as error:
            assert error.provider_name == "nobody", error
            assert error.transient, error
            assert "refused" in str(error), error
            assert SECRET not in str(error) + repr(vars(error))
        else:
            raise AssertionError("there was a token")
        pool.close()
        pool.join()
    ours, theirs = context.Pipe(duplex=False)
    for travels in (keeper, OAuth2TokenManager(keeper), GenericOAuth2Provider(config("x"))):
        process = context.Process(target=token_of, args=(travels, theirs))
        if METHOD == "fork" and travels is keeper:
            assert ask(process, ours) == keeper.get_token(WARM)  # nothing is pickled by fork
        elif METHOD != "fork":
            try:
                process.start()
            except TypeError as error:
                assert "make one in each process" in str(error), error
            else:
                raise AssertionError(f"{travels!r} was pickled")
    return []


if __name__ == "__main__":
    keeper.get_token(WARM)
    main(multiprocessing.get_context(METHOD))
    print("worked")
"""

METHODS = [
    method
    for method in ("fork", "forkserver", "spawn")
    if method in multiprocessing.get_all_start_methods()
]
# Since Python 3.12 a fork of a process with threads warns; it is tested here.
NO_WARNING = ("-W", "ignore:This process:DeprecationWarning")

numbers = itertools.count()


@pytest.fixture(scope="module")
def held():
    with Held() as server:
        yield server


def dedented(text):
    return "\n".join(line.removeprefix(" " * 4) for line in text.split("\n"))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("program", PROGRAMS)
def test_one_request_for_each_process(make_script, held, method, program):
    """A forked worker has the parent's token; each requests once what it lacks; nothing hangs."""
    name = f"mp-{next(numbers)}"
    facts = f"ISSUER, NAME, METHOD = {held.issuer!r}, {name!r}, {method!r}\n"
    text = facts + CONTROLS + HEAD + dedented(PROGRAMS[program]) + MAIN
    code, output, errors = make_script(text, *NO_WARNING).result()
    assert (code, errors) == (0, "")
    *seen, (parent, warm, cold) = json.loads(output)
    workers = {pid for pid, _, _ in seen}
    assert workers
    assert parent not in workers
    assert len({(pid, *tokens) for pid, *tokens in seen}) == len(workers)
    assert len({cold, *(each for _, _, each in seen)}) == 1 + len(workers)
    requests = held.requests
    assert requests[f"{name}-cold"] == 1 + len(workers)
    if method == "fork":
        assert {each for _, each, _ in seen} == {warm}
        assert requests[f"{name}-warm"] == 1
    else:
        assert requests[f"{name}-warm"] == 1 + len(workers)


@pytest.mark.parametrize("method", METHODS)
def test_what_travels(make_script, held, method):
    """Configurations and errors reach workers; a keeper does so only by a fork."""
    name = f"travel-{next(numbers)}"
    facts = f"ISSUER, NAME, METHOD = {held.issuer!r}, {name!r}, {method!r}\n"
    script = make_script(facts + HEAD + TRAVEL, *NO_WARNING)
    assert script.result() == (0, "worked\n", "")
