"""What errors of redis-py mean, in the words of several versions of the servers."""

import pytest
import redis.exceptions as errors
from redis.sentinel import MasterNotFoundError

from tokenkeeper.stores._redis_errors import unavailable

ERRORS = [
    # What Redis 6, Redis 7 and Valkey say inside a script differs.
    (errors.ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value"),
     True, "another program uses its key"),
    (errors.ResponseError("Error running script (call to f_12): @user_script:15: WRONGTYPE Oper"),
     True, "another program uses its key"),
    (errors.NoPermissionError("User app has no permissions to run the 'evalsha' command"),
     True, "ACL SETUSER name ~tokenkeeper:"),
    (errors.ResponseError("The user executing the script can't run this command or subcommand"),
     True, r"\+evalsha"),
    (errors.ResponseError("unknown command 'EVALSHA', with args beginning with: 'secret'"),
     True, "does not allow a command"),
    (errors.AuthenticationError("Authentication required."), True, "wants a password"),
    (errors.AuthenticationError("invalid username-password pair or user is disabled."),
     True, "rejects the user or the password"),
    (errors.ConnectionError("Error 1 connecting to a:1. [SSL: CERTIFICATE_VERIFY_FAILED] cert"),
     True, "ssl_ca_certs"),
    (errors.ConnectionError("Error 1 connecting to a:1. [SSL: WRONG_VERSION_NUMBER] wrong ver"),
     True, "does not use TLS"),
    (errors.ConnectionError("Error 1 connecting to a:1. [SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED]"),
     True, "ssl_certfile"),
    (errors.ConnectionError("Error 1 connecting to a:1. [SSL] something"), True, "TLS failed"),
    (errors.ConnectionError("Error 2 connecting to a:1. No such file or directory."),
     True, "does not exist"),
    (errors.InvalidResponse("Protocol Error: b'TTP/1.1 400 Bad Request'"), True, "protocol"),
    (errors.OutOfMemoryError("command not allowed when used memory > 'maxmemory'."),
     False, "no memory left"),
    (errors.ResponseError("MISCONF Redis is configured to save RDB snapshots, but"), False, "disk"),
    (errors.ResponseError("NOREPLICAS Not enough good replicas to write."), False, "few replicas"),
    (errors.ResponseError("MASTERDOWN Link with MASTER is down"), False, "lost its primary"),
    (errors.MasterDownError("Link with MASTER is down"), False, "lost its primary"),
    (errors.ReadOnlyError("You can't write against a read only replica."), False, "is a replica"),
    (errors.ConnectionError("The previous master is now a slave"), False, "is a replica"),
    (errors.BusyLoadingError("Redis is loading the dataset in memory"), False, "still loading"),
    (errors.ResponseError("BUSY Redis is busy running a script."), False, "SCRIPT KILL"),
    (errors.RedisClusterException("Redis Cluster cannot be connected. Please provide at least one "
                                  "reachable node: Cluster mode is not enabled on this node"),
     True, "not part of a Cluster"),
    (errors.RedisClusterException("Redis Cluster cannot be connected. Please provide at least one "
                                  "reachable node: Error 111 connecting to a:1. Connection refused"
                                  ), False, "nothing accepts connections"),
    (errors.ResponseError("MOVED 866 127.0.0.1:7001"), True, r"redis\+cluster://"),
    (errors.ClusterDownError("CLUSTERDOWN Hash slot not served"), False, "the Cluster is down"),
    (errors.ClusterDownError("Hash slot not served"), False, "the Cluster is down"),
    (MasterNotFoundError("No master found for 'x'"), False, "no healthy primary of that name"),
    (MasterNotFoundError("No master found for 'x' : <Redis> - network:TimeoutError"),
     False, "no Sentinel can be reached"),
    (MasterNotFoundError("No master found for 'x' : <Redis> - auth:AuthenticationError"),
     True, "sentinel_password"),
    (errors.ResponseError("DB index is out of range"), True, "no such database"),
    (errors.ConnectionError("max number of clients reached"), False, "maxclients"),
    (errors.MaxConnectionsError("Too many connections"), False, "max_connections"),
    (errors.ConnectionError("Error -2 connecting to nope:6379. Name or service not known."),
     False, "can't be resolved"),
    (errors.ConnectionError("Error 111 connecting to a:1. Connection refused."),
     False, "nothing accepts connections"),
    (errors.ConnectionError("Error 111 connecting to redis-ssl.x:1. Connection refused."),
     False, "nothing accepts connections"),
    (errors.ConnectionError("Error while reading from oom-moved.ssl.x:1 : (104, 'reset by peer')"),
     False, "connection was lost"),
    (errors.TimeoutError("Timeout reading from a:1"), False, "did not answer in time"),
    (TimeoutError("the total time of the operation is over"), False, "did not answer in time"),
    (errors.ConnectionError("Connection closed by server."), False, "connection was lost"),
    (errors.ResponseError("something\nnew"), False, "ResponseError: something.*new"),
]  # fmt: skip


@pytest.mark.parametrize(("error", "is_misconfigured", "words"), ERRORS)
def test_errors(error, is_misconfigured, words):
    """Each error becomes one line with a cause and a remedy, and says whether waiting helps."""
    shown = unavailable(error, "redis://cache:6379/0")
    assert shown.is_misconfigured is is_misconfigured
    with pytest.raises(type(shown), match=f"^the store redis://cache:6379/0 .*{words}"):
        raise shown
    assert str(shown).isprintable()
    assert "secret" not in str(shown)


def test_unknown_errors_without_arguments():
    """A server that quotes a command's arguments in an unknown error is not quoted itself."""
    error = errors.ResponseError("strange command 'HSET', with args beginning with: 'secret'")
    shown = str(unavailable(error, "redis://cache"))
    assert "strange command" in shown
    assert "secret" not in shown
