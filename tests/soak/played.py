"""How often each kind of fault and disturbance has occurred."""

from collections import Counter


def played(books, mischief, nursery, clock):
    """Return how often each kind occurred, by name.

    :param books: the counts of the server.
    """
    answers = Counter()
    for name, count in books["played"].items():
        answers[name.partition(":")[0]] += count
    done = mischief.done
    return {
        "5xx": answers["5xx"],
        "stalls": answers["stall"],
        "garbage": answers["garbage"],
        "slow answers": answers["slow"],
        "requests into short outages": answers["outage, short"],
        "requests into long outages": answers["outage, long"],
        "short outages": books["outages"].get("short", 0),
        "long outages": books["outages"].get("long", 0),
        "wall clock steps of an hour": clock.steps,
        "forks": nursery.forked,
        "tokens forced": done["forced"],
        "tokens refused": done["refused"],
        "tokens cleared": done["cleared"],
        "providers replaced": done["replaced"],
    }
