"""What an error of redis-py means: its cause, its remedy, and whether waiting will help.

Servers word the same refusal differently inside a script, and redis-py removes the code at the
beginning of some. So the class and the whole text are searched. The messages are written here and
quote a server only where it says something unknown, and then without a command's arguments.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from tokenkeeper.exceptions import StoreUnavailableError
from tokenkeeper.oauth.redaction import sanitize

__all__ = [
    "CLUSTER_COMMANDS",
    "NEEDED_COMMANDS",
    "is_lost_cluster",
    "is_lost_connection",
    "is_read_only",
    "unavailable",
]

NEEDED_COMMANDS = (
    "+eval +evalsha +hmget +hset +hdel +hincrby +pttl +pexpire +persist +time +del +scan"
)
"""The rules of an ACL user that may use the store, beside ``~tokenkeeper:*``. ``+scan`` is only for
the list of records. Another database than 0, and a Cluster, need more."""

CLUSTER_COMMANDS = "+cluster +command"
"""What a user needs beside these in a Cluster."""


class _Meaning(NamedTuple):
    pattern: re.Pattern[str]
    message: str
    is_misconfigured: bool


def _meaning(pattern: str, message: str, *, waits: bool = False) -> _Meaning:
    return _Meaning(re.compile(pattern, re.IGNORECASE), message, not waits)


# The first that matches applies.
_MEANINGS = (
    _meaning("MasterNotFound.*: .*Authentication", "a Sentinel rejects the password. Set "
             "sentinel_password in the URL's query"),
    _meaning("MasterNotFound.*: .*(refused|timeout|connection)", "no Sentinel can be reached that "
             "knows a healthy primary. Check the Sentinels", waits=True),
    _meaning("MasterNotFound", "the Sentinels know no healthy primary of that name. Check the name "
             "in the URL, and SENTINEL MASTERS", waits=True),
    _meaning("TKFOREIGN|WRONGTYPE", "another program uses its key. Give Tokenkeeper a database of "
             "its own, or delete that key; nothing was overwritten"),
    _meaning("TKNEWER", "the record was written by a newer version of Tokenkeeper. Upgrade this "
             "one; nothing was overwritten"),
    _meaning("TKDAMAGED", "the record is damaged. Delete it with 'tokenkeeper store purge'; "
             "nothing was overwritten"),
    _meaning("NoPermission|NOPERM|no permission|user executing the script",
             f"the user lacks a permission. Grant it: ACL SETUSER name ~tokenkeeper:* "
             f"{NEEDED_COMMANDS} (with +select for another database than 0, and in a Cluster with "
             f"{CLUSTER_COMMANDS})"),
    _meaning("unknown command", "the server does not allow a command that the store needs: one of "
             f"{NEEDED_COMMANDS}. Enable it, or use another server"),
    _meaning("NOAUTH|authentication required|without any password", "the server wants a password, "
             "or wants none. Check user and password in the URL"),
    _meaning("AuthenticationE|WRONGPASS|invalid password|invalid username|AuthenticationWrong",
             "the server rejects the user or the password. Check both in the URL"),
    _meaning("certificate.verify.failed|CERTIFICATE_VERIFY|doesn't match|hostname mismatch",
             "the server's certificate is not trusted. Set ssl_ca_certs in the URL's query to the "
             "file of its authority, and use the host name that the certificate is for"),
    _meaning("WRONG_VERSION_NUMBER|record layer|UNKNOWN_PROTOCOL|PACKET_LENGTH_TOO_LONG",
             "the port does not use TLS. Use redis:// instead of rediss://, or the port for TLS"),
    _meaning("CERTIFICATE_REQUIRED|BAD_CERTIFICATE|HANDSHAKE_FAILURE",
             "the server refuses the TLS connection. Set ssl_certfile and ssl_keyfile in the URL's "
             "query if it wants a client's certificate"),
    _meaning(r"SSLError|\[SSL|ssl[._]", "TLS failed. Check the options that begin with ssl_ in the "
             "URL's query"),
    _meaning("No such file", "a file that the URL's query names does not exist. Correct the path"),
    _meaning("InvalidResponse|Protocol Error|invalid RESP", "the port does not speak the protocol "
             "of Redis. Check host and port in the URL"),
    _meaning("OutOfMemory|OOM |maxmemory", "the server has no memory left (maxmemory). Raise the "
             "limit, or give Tokenkeeper a server of its own", waits=True),
    _meaning("MISCONF|stop-writes-on-bgsave", "the server accepts no writes because it can't save "
             "to its disk. Check the server's disk and log", waits=True),
    _meaning("NOREPLICAS", "the server accepts no writes because too few replicas are connected. "
             "Check its replicas", waits=True),
    _meaning("MasterDown|MASTERDOWN", "the server is a replica that lost its primary. Check the "
             "primary, or name it in the URL", waits=True),
    _meaning("ReadOnly|READONLY|previous master is now", "the server is a replica, which can't be "
             "written to. Name the primary in the URL, or use redis+sentinel://", waits=True),
    _meaning("BusyLoading|LOADING", "the server is still loading its data. Wait until it has "
             "started", waits=True),
    _meaning("BUSY ", "another script blocks the server. Find it with SLOWLOG, and end it with "
             "SCRIPT KILL", waits=True),
    _meaning("Cluster mode is not enabled|cluster support disabled",
             "the server is not part of a Cluster, or the user may not ask. Use redis:// "
             f"instead of redis+cluster://, or grant it: ACL SETUSER name {CLUSTER_COMMANDS}"),
    _meaning("MOVED|ASK ", "the server is part of a Cluster. Use redis+cluster://"),
    _meaning("ClusterDown|CLUSTERDOWN|slots? (is |are )?not (served|covered)|SlotNotCovered",
             "the Cluster is down, because servers for some slots are missing. Check CLUSTER INFO",
             waits=True),
    _meaning("TTL exhausted", "the servers of the Cluster do not agree on who has its slot. Check "
             "CLUSTER NODES on each, unless a slot is being moved", waits=True),
    _meaning("DB index|invalid DB|SELECT is not allowed", "the server has no such database. "
             "Correct its number in the URL"),
    _meaning("max number of clients|Too many connections", "the server or the client has too many "
             "connections. Raise maxclients or max_connections", waits=True),
    _meaning("Name or service|name resolution|nodename|getaddrinfo|Errno -[2-5]|Error -[2-5]",
             "its host name can't be resolved. Check the name in the URL, and DNS", waits=True),
    _meaning("refused", "nothing accepts connections there. Check that the server is running, and "
             "host and port in the URL", waits=True),
    _meaning("timeout|timed out|total time", "it did not answer in time. Check its load, the "
             "network, and whether it uses TLS, or raise timeout_seconds", waits=True),
    _meaning("closed by server|while (reading|writing)|reset by peer|broken pipe|EOF occurred",
             "the connection was lost. Check that the server is running, and that it does not "
             "expect TLS (rediss://)", waits=True),
    _meaning("cannot be connected", "no server of the Cluster can be reached. Check that they are "
             "running, and the hosts in the URL", waits=True),
)  # fmt: skip

# Such as redis-ssl.internal, whose name does not mean that TLS failed.
_PLACE = re.compile(r"((?:connecting to|reading from) )\S+", re.IGNORECASE)

_LOST = re.compile("closed by server|while (reading|writing)|previous master is now")


def is_lost_connection(error: BaseException) -> bool:
    """Return whether a connection was lost that had been established, so that another may work."""
    return type(error).__name__ == "ConnectionError" and bool(_LOST.search(str(error)))


def is_lost_cluster(error: BaseException) -> bool:
    """Return whether the client of a Cluster should be replaced.

    Some versions of redis-py forget servers that failed, until they know none, or never again ask
    for a slot that once had no server.
    """
    kinds = {kind.__name__ for kind in type(error).__mro__}
    return not kinds.isdisjoint({"ClusterError", "RedisClusterException"})


def is_read_only(error: BaseException) -> bool:
    """Return whether a server refused to write because it is a replica."""
    return bool(re.search("ReadOnlyError|READONLY ", _text(error)))


def unavailable(error: BaseException, label: str) -> StoreUnavailableError:
    """Return the error that a store raises in place of *error*. It has no cause and no secret.

    :param label: the store's URL, without a password.
    """
    text = _text(error)
    without_places = _PLACE.sub(r"\1", text)
    for pattern, message, is_misconfigured in _MEANINGS:
        if pattern.search(without_places):
            return StoreUnavailableError(
                f"the store {label} can't be used: {message}", is_misconfigured=is_misconfigured
            )
    # A server quotes the arguments of a command it doesn't know, and a token may be one of them.
    said = sanitize(re.split("with args|, args", text)[0], limit=150)
    return StoreUnavailableError(
        f"the store {label} can't be used: {said}. Check the server and its log"
    )


def _text(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
