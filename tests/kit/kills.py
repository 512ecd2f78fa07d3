"""Processes that are killed in the middle of a write to an SQLite store, and what they leave."""

import hashlib
import os
import random
import signal
import sqlite3

from kit.processes import Child
from tokenkeeper.stores.sqlite import SQLiteTokenStore

KEY = "written by a process that dies"
HASH_BYTES = 32
CONTENT_BYTES = 20_000
LEAST_WRITES = 3
MOST_WRITES = 20


def write_until_killed(path, pipe):
    """Publish tokens that contain their own hash, and write a byte to *pipe* after each."""
    store = SQLiteTokenStore(path, timeout_seconds=30.0)
    generation = store.read(KEY).generation
    while True:
        content = os.urandom(CONTENT_BYTES)
        published = store.publish(
            KEY,
            owner="writer",
            replaces=generation,
            generation=generation + 1,
            sealed=hashlib.sha256(content).digest() + content,
            lifetime_seconds=3600.0,
            age_seconds=0.0,
            keep=False,
        )
        assert published
        generation += 1
        os.write(pipe, b".")


def kill_in_mid_write(path, rounds, seed=None):
    """Kill *rounds* writers with ``SIGKILL``, and check after each what the file has.

    Return how many tokens were published. A torn record, or one that is lost although its writer
    was done with it, raises an ``AssertionError``.
    """
    chance = random.Random(seed)
    generation = 0
    for round_ in range(rounds):
        reader, writer = os.pipe()
        child = Child(lambda pipe=writer: write_until_killed(path, pipe))
        os.close(writer)
        wanted = chance.randint(LEAST_WRITES, MOST_WRITES)
        done = 0
        while done < wanted and (some := os.read(reader, wanted - done)):
            done += len(some)
        os.kill(child.pid, signal.SIGKILL)
        os.waitpid(child.pid, 0)
        os.close(child._reader)
        while some := os.read(reader, 4096):
            done += len(some)
        os.close(reader)
        assert done >= wanted, "the writer ended on its own"
        record = SQLiteTokenStore(path, timeout_seconds=30.0).read(KEY)
        content = record.sealed[HASH_BYTES:]
        assert hashlib.sha256(content).digest() == record.sealed[:HASH_BYTES], f"torn: {round_}"
        # The last one may have been published without its byte.
        assert generation + done <= record.generation <= generation + done + 1, f"lost: {round_}"
        generation = record.generation
    connection = sqlite3.connect(path)
    try:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    finally:
        connection.close()
    return generation
