"""The listener: which engines take it, which argument gets the token, and how it is removed."""

import types

import pytest
from sqlalchemy import create_engine, event
from sqlalchemy.pool import NullPool

from tokenkeeper import InvalidConfigurationError
from tokenkeeper.integrations.sqlalchemy import authenticate


class Driver(types.ModuleType):
    """A driver that notes its arguments, and rejects the first connection."""

    paramstyle = "format"
    threadsafety = 1
    version_info = __version__ = version = "9.9.9"
    Cursor = object
    Error = type("Error", (Exception,), {})

    def __init__(self):
        super().__init__("driver")
        self.calls = []

    def connect(self, *args, **arguments):
        self.calls.append(arguments)
        raise self.Error(1045, "Access denied for user 'app'")


@pytest.mark.parametrize(
    ("dialect", "argument"),
    [("mysql+mysqldb", "passwd"), ("mysql+pymysql", "password"), ("postgresql+pg8000", "password")],
)
def test_the_argument_of_the_url_s_password_gets_the_token(dialect, argument, source, requests_of):
    """The token is in the argument where the dialect puts a password, and so is the next one."""
    driver = Driver()
    engine = create_engine(f"{dialect}://app:unused@127.0.0.1/app", module=driver)
    authenticate(engine, source)
    with pytest.raises(Exception, match="Access denied"):
        engine.raw_connection()
    first, second = [call[argument] for call in driver.calls]
    assert second == source.get_token()
    assert len({"unused", first, second}) == 3
    assert requests_of() == 2


def test_another_argument(source):
    """password_argument names another argument, for drivers that have one for tokens."""
    driver = Driver()
    engine = create_engine("mysql+pymysql://app@127.0.0.1/app", module=driver)
    authenticate(engine, source, password_argument="access_token")
    with pytest.raises(Exception, match="Access denied"):
        engine.raw_connection()
    assert driver.calls[1]["access_token"] == source.get_token()
    assert "password" not in driver.calls[1]


def test_a_driver_without_such_an_argument_is_refused(source):
    """A driver that takes its password inside a connection string needs password_argument."""
    engine = create_engine("mssql+pyodbc://app@127.0.0.1/app?driver=x", module=Driver())
    with pytest.raises(InvalidConfigurationError, match="'pyodbc' takes no password"):
        authenticate(engine, source)


def test_what_is_not_an_engine_is_refused(source):
    """Something else is an error that names the argument."""
    with pytest.raises(InvalidConfigurationError, match="not str") as raised:
        authenticate("postgresql://127.0.0.1/app", source)
    assert raised.value.field == "engine"


def test_a_second_source_is_refused_until_the_first_is_removed(postgres, source, requests_of):
    """An engine has one source. The returned function removes it; then connections have none."""
    engine = create_engine(postgres.url("postgresql+psycopg"), poolclass=NullPool)
    stop = authenticate(engine, source)
    with pytest.raises(InvalidConfigurationError, match="already uses tokens"):
        authenticate(engine, source)
    engine.connect().close()
    stop()
    with pytest.raises(Exception, match="no password supplied"):
        engine.connect()
    authenticate(engine, source)
    engine.connect().close()
    assert requests_of() == 1


def test_the_arguments_of_earlier_listeners_are_used(postgres, source):
    """A listener that was added before may change the other arguments."""
    engine = create_engine(postgres.url("postgresql+psycopg", "missing"))

    @event.listens_for(engine, "do_connect")
    def set_database(dialect, record, args, arguments):
        arguments["dbname"] = "app"

    authenticate(engine, source)
    engine.connect().close()
    engine.dispose()


def test_an_engine_with_a_creator_takes_no_token(source, requests_of):
    """SQLAlchemy does not ask listeners if it was given a creator."""

    def creator():
        raise LookupError("its own connection")

    engine = create_engine("postgresql+psycopg://", creator=creator)
    authenticate(engine, source)
    with pytest.raises(LookupError, match="its own"):
        engine.connect()
    assert requests_of() == 0
