"""Texts that are read when they are needed: from a file, or by a call."""

from pathlib import Path

import pytest

from tokenkeeper.exceptions import InvalidConfigurationError, TokenAcquisitionError
from tokenkeeper.oauth.late_text import checked_late_text, read_late


class BytesPath:
    """A path that is not text."""

    def __fspath__(self):
        return b"token"


def raising(error):
    """Return a callable that raises *error*."""

    def call():
        raise error

    return call


@pytest.mark.parametrize("value", ["a-token", b"a-token", 7, None, ["x"]])
def test_what_can_not_be_read_later(value):
    """Only a callable or a path is read later; a string could be either a path or a token."""
    with pytest.raises(InvalidConfigurationError, match="subject must be a callable") as caught:
        checked_late_text(value, "subject")
    assert caught.value.field == "subject"
    assert "a-token" not in str(caught.value)


@pytest.mark.parametrize(
    "path", [Path("to\0ken"), Path("to\nken"), BytesPath()], ids=["NUL", "lines", "bytes"]
)
def test_paths_of_no_file(path):
    """A path that names no file is refused when it is set, not when it is read."""
    with pytest.raises(InvalidConfigurationError, match=r"^subject ") as caught:
        checked_late_text(path, "subject")
    assert caught.value.field == "subject"


def test_read_again_each_time(tmp_path):
    """A file and a callable are asked each time, and outer spaces are dropped."""
    file, numbers = tmp_path / "token", iter("12")
    for number in "12":
        file.write_text(f" token-{number}\n")
        assert read_late(checked_late_text(file, "t"), "the token") == f"token-{number}"
        assert read_late(lambda: f"token-{next(numbers)} ", "the token") == f"token-{number}"


@pytest.mark.parametrize(
    ("value", "says", "transient"),
    [
        (lambda: "", "the token is empty", True),
        (lambda: None, "its callable returned NoneType, not a string", False),
        (raising(ValueError("hunter2")), "its callable raised ValueError", False),
        (Path("/no/such/file"), "the token: /no/such/file can't be read: No such file", True),
        (Path("/"), "the token: / can't be read: Is a directory", True),
        (Path("to\0ken"), "can't be read: ValueError", True),
    ],
    ids=["empty", "not text", "raises", "no file", "directory", "NUL"],
)
def test_what_goes_wrong(value, says, transient):
    """The error says what is missing and why, without the text of a callable's exception."""
    with pytest.raises(TokenAcquisitionError) as caught:
        read_late(value, "the token")
    assert says in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert caught.value.transient is transient
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    ("content", "says"), [(b"\xff\xfe", "is not text"), (b"x" * 70_000, "is larger than 64 KiB")]
)
def test_files_with_something_else(tmp_path, content, says):
    """A file with other content is not read as a token, and its content is not shown."""
    file = tmp_path / "token"
    file.write_bytes(content)
    with pytest.raises(TokenAcquisitionError, match=says) as caught:
        read_late(file, "the token")
    assert "xxx" not in str(caught.value)


@pytest.mark.parametrize("error", [TokenAcquisitionError("no"), ConnectionError(), TimeoutError()])
def test_errors_that_say_enough(error):
    """An error of the library, or of the network, is the caller's as it is."""
    with pytest.raises(type(error)) as caught:
        read_late(raising(error), "the token")
    assert caught.value is error
