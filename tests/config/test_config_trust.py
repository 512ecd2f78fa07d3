"""Files that other users can write: which are rejected, and with which command."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from tokenkeeper import InvalidConfigurationError, TokenKeeper
from tokenkeeper.config.files import check_trusted, read_file
from tokenkeeper.config.trust import Writer, find_trusted

pytestmark = pytest.mark.skipif(os.name != "posix", reason="files have no owners on this platform")
needs_root = pytest.mark.skipif(
    os.name == "posix" and os.geteuid() != 0, reason="only root can give files away"
)

ROOT, WE, OTHER = 0, 1001, 2002
OURS, ALSO_OURS, FOREIGN = 1001, 3003, 4004
PROCESS = Writer(WE, frozenset({OURS, ALSO_OURS}))


@pytest.fixture
def top():
    """Return a directory of root's that every user can enter."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        directory = Path(name)
        directory.chmod(0o755)
        yield directory


@pytest.fixture
def build(top):
    """Return a function that builds a tree from names with modes and owners, or link targets."""

    def build(tree):
        for name, (_, uid, gid) in tree.items():
            place = top / name.partition(" -> ")[0]
            if " -> " in name:
                place.symlink_to(name.partition(" -> ")[2].replace("TOP", str(top)))
            elif name.endswith("/"):
                place.mkdir()
            else:
                place.write_text("oauth2: {}")
            os.chown(place, uid, gid, follow_symlinks=False)
        for name, (mode, _, _) in tree.items():
            if " -> " not in name:
                (top / name).chmod(mode)
        return top

    return build


FINE = {
    "one's own": {"app/": (0o755, WE, OURS), "app/f": (0o600, WE, OURS)},
    "root's": {"app/": (0o755, ROOT, ROOT), "app/f": (0o644, ROOT, ROOT)},
    "a checkout with umask 002": {"app/": (0o775, WE, OURS), "app/f": (0o664, WE, OURS)},
    "a group that we are in": {"app/": (0o2775, WE, ALSO_OURS), "app/f": (0o660, ROOT, ALSO_OURS)},
    "ours in a sticky directory": {"tmp/": (0o1777, ROOT, ROOT), "tmp/f": (0o600, WE, OURS)},
    "root's in a sticky directory": {"tmp/": (0o1777, ROOT, FOREIGN), "tmp/f": (0o644, ROOT, ROOT)},
    "a mounted Kubernetes secret": {
        "run/": (0o1777, ROOT, ROOT),
        "run/..2026_11_28/": (0o755, ROOT, ROOT),
        "run/..2026_11_28/f": (0o440, ROOT, ALSO_OURS),
        "run/..data -> ..2026_11_28": (0, ROOT, ROOT),
        "run/f -> ..data/f": (0, ROOT, ROOT),
    },
    "one with fsGroup": {
        "run/": (0o3777, ROOT, ALSO_OURS),
        "run/..2026_11_28/": (0o2775, ROOT, ALSO_OURS),
        "run/..2026_11_28/f": (0o660, ROOT, ALSO_OURS),
        "run/..data -> ..2026_11_28": (0, ROOT, ROOT),
        "run/f -> ..data/f": (0, ROOT, ROOT),
    },
    "a Docker secret": {"secrets/": (0o755, ROOT, ROOT), "secrets/f": (0o444, ROOT, ROOT)},
    "a link of our own to root's file": {
        "etc/": (0o755, ROOT, ROOT),
        "etc/f": (0o644, ROOT, ROOT),
        "app/": (0o700, WE, OURS),
        "app/f -> ../etc/f": (0, WE, OURS),
    },
    "a link across a sticky directory": {
        "tmp/": (0o1777, ROOT, ROOT),
        "etc/": (0o755, ROOT, ROOT),
        "etc/g": (0o644, ROOT, ROOT),
        "tmp/f -> TOP/etc/g": (0, WE, OURS),
    },
    "beside a directory that is open": {
        "open/": (0o777, ROOT, ROOT),
        "app/": (0o755, WE, OURS),
        "app/f": (0o600, WE, OURS),
    },
}

REFUSED = {
    "a file that all may write": (
        {"app/": (0o755, WE, OURS), "app/f": (0o666, WE, OURS)},
        ["chmod o-w TOP/app/f"],
    ),
    "a directory that all may write": (
        {"app/": (0o777, WE, ALSO_OURS), "app/f": (0o600, WE, OURS)},
        ["chmod o-w TOP/app"],
    ),
    "a file that another group may write": (
        {"app/": (0o755, WE, OURS), "app/f": (0o664, WE, FOREIGN)},
        ["chmod g-w TOP/app/f"],
    ),
    "a directory that another group may write": (
        {"app/": (0o775, ROOT, FOREIGN), "app/f": (0o600, WE, OURS)},
        ["chmod g-w TOP/app"],
    ),
    "both": (
        {"app/": (0o777, WE, FOREIGN), "app/f": (0o600, WE, OURS)},
        ["chmod go-w TOP/app"],
    ),
    "another user's file": (
        {"app/": (0o755, WE, OURS), "app/f": (0o644, OTHER, OURS)},
        ["chown 1001 TOP/app/f"],
    ),
    "a file that its owner can't write now": (
        {"app/": (0o755, WE, OURS), "app/f": (0o444, OTHER, OTHER)},
        ["chown 1001 TOP/app/f"],
    ),
    "another user's directory": (
        {"app/": (0o755, OTHER, OURS), "app/f": (0o644, WE, OURS)},
        ["chown 1001 TOP/app"],
    ),
    "another user's sticky directory": (
        {"app/": (0o1777, OTHER, OURS), "app/f": (0o644, WE, OURS)},
        ["chown 1001 TOP/app"],
    ),
    "another user's file in a sticky directory": (
        {"tmp/": (0o1777, ROOT, ROOT), "tmp/f": (0o644, OTHER, OTHER)},
        ["chown 1001 TOP/tmp/f"],
    ),
    "an open file in a sticky directory": (
        {"tmp/": (0o1777, ROOT, ROOT), "tmp/f": (0o646, WE, OURS)},
        ["chmod o-w TOP/tmp/f"],
    ),
    "a sticky file, which means nothing": (
        {"app/": (0o755, WE, OURS), "app/f": (0o1666, WE, OURS)},
        ["chmod o-w TOP/app/f"],
    ),
    "a directory far above": (
        {
            "a/": (0o777, WE, OURS),
            "a/b/": (0o755, WE, OURS),
            "a/b/c/": (0o755, WE, OURS),
            "a/b/c/f": (0o600, WE, OURS),
        },
        ["chmod o-w TOP/a"],
    ),
    "several": (
        {"app/": (0o757, WE, OURS), "app/f": (0o600, OTHER, OURS)},
        ["chmod o-w TOP/app"],
    ),
    "the target of a link": (
        {
            "open/": (0o777, WE, OURS),
            "open/g": (0o600, WE, OURS),
            "app/": (0o755, WE, OURS),
            "app/f -> ../open/g": (0, WE, OURS),
        },
        ["chmod o-w TOP/open"],
    ),
    "where a link is": (
        {
            "etc/": (0o755, WE, OURS),
            "etc/g": (0o600, WE, OURS),
            "app/": (0o777, WE, OURS),
            "app/f -> TOP/etc/g": (0, WE, OURS),
        },
        ["chmod o-w TOP/app"],
    ),
    "between two links": (
        {
            "etc/": (0o755, WE, OURS),
            "etc/g": (0o600, WE, OURS),
            "open/": (0o777, WE, OURS),
            "open/h -> TOP/etc/g": (0, WE, OURS),
            "app/": (0o755, WE, OURS),
            "app/f -> TOP/open/h": (0, WE, OURS),
        },
        ["chmod o-w TOP/open"],
    ),
    "a link to a directory": (
        {
            "open/": (0o777, WE, OURS),
            "open/d/": (0o755, WE, OURS),
            "open/d/f": (0o600, WE, OURS),
            "app -> open/d": (0, WE, OURS),
        },
        ["chmod o-w TOP/open"],
    ),
    "another user's link in a sticky directory": (
        {
            "etc/": (0o755, WE, OURS),
            "etc/g": (0o600, WE, OURS),
            "tmp/": (0o1777, ROOT, ROOT),
            "tmp/f -> TOP/etc/g": (0, OTHER, OTHER),
        },
        ["chown -h 1001 TOP/tmp/f"],
    ),
    "a name with blanks": (
        {"a b/": (0o757, WE, OURS), "a b/f": (0o600, WE, OURS)},
        ["chmod o-w 'TOP/a b'"],
    ),
}


def place_of(tree):
    """Return the file that a tree is about: "f", in "app" if that exists."""
    tops = {name.partition("/")[0].partition(" ->")[0] for name in tree}
    if "app" in tops:
        return "app/f"
    return [name.partition(" -> ")[0] for name in tree if "/f" in name][-1]


@needs_root
@pytest.mark.parametrize("tree", FINE.values(), ids=FINE)
def test_what_is_trusted(build, monkeypatch, tree):
    """A file that only we, our groups and root can write is read, wherever links lead."""
    monkeypatch.setattr("tokenkeeper.config.files.this_process", lambda: PROCESS)
    assert read_file(build(tree) / place_of(tree)) == "oauth2: {}"


@needs_root
@pytest.mark.parametrize(("tree", "commands"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_trusted(build, monkeypatch, tree, commands):
    """A file that another user can write or replace is rejected with the command that fixes it."""
    monkeypatch.setattr("tokenkeeper.config.files.this_process", lambda: PROCESS)
    top = build(tree)
    name = place_of(tree)
    with pytest.raises(InvalidConfigurationError, match=r"^can't be trusted: ") as refused:
        read_file(top / name)
    wanted = " && ".join(commands).replace("TOP", str(top))
    assert str(refused.value).partition(". Run: ")[2] == wanted


@needs_root
@pytest.mark.parametrize(("tree", "commands"), REFUSED.values(), ids=REFUSED)
def test_the_commands_help(build, monkeypatch, tree, commands):
    """After running the commands in the errors, the file is read."""
    monkeypatch.setattr("tokenkeeper.config.files.this_process", lambda: PROCESS)
    top = build(tree)
    name = place_of(tree)
    for _ in range(3):
        try:
            assert read_file(top / name) == "oauth2: {}"
            return
        except InvalidConfigurationError as refused:
            command = str(refused).partition(". Run: ")[2]
            subprocess.run(["sh", "-c", command], check=True)
    pytest.fail("the commands did not help")


def test_all_directories_are_named_at_once(tmp_path):
    """The error names all directories on the path that others can write, from the root down."""
    for name in ("a", "a/b", "a/b/c"):
        (tmp_path / name).mkdir()
        (tmp_path / name).chmod(0o777)
    (tmp_path / "a/b/c/f").write_text("text")
    with pytest.raises(InvalidConfigurationError) as refused:
        read_file(tmp_path / "a/b/c/f")
    command = str(refused.value).partition(". Run: ")[2]
    assert command.split(" && ") == [f"chmod o-w {tmp_path}/{e}" for e in ("a", "a/b", "a/b/c")]


def test_a_relative_path(tmp_path, monkeypatch):
    """The directories above the working directory are checked as well."""
    (tmp_path / "open" / "app").mkdir(parents=True)
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "open" / "app" / "f").write_text("text")
    monkeypatch.chdir(tmp_path / "open" / "app")
    for name in ("f", "./f", "../app/f"):
        with pytest.raises(InvalidConfigurationError, match=f"chmod o-w {tmp_path}/open$"):
            read_file(Path(name))


def test_links_without_end(tmp_path):
    """A link to itself is reported with the system's message."""
    (tmp_path / "f").symlink_to("f")
    with pytest.raises(InvalidConfigurationError, match="Too many levels of symbolic links"):
        read_file(tmp_path / "f")


def test_where_there_are_no_owners():
    """On Windows nothing is checked."""
    assert find_trusted(Path("relative"), None) == Path("relative")


BLOCK = """\
oauth2:
  provider_name: api
  provider_type: generic
  client_id: worker
  {secret}
  token_url: https://id.example.com/token
"""


@pytest.fixture
def opened(write, tmp_path):
    """Return a directory that every user can write, with a file "f" in it."""
    directory = tmp_path / "open"
    directory.mkdir()
    write("hunter2", name="f", directory=directory)
    directory.chmod(0o777)
    return directory


def refusal(make):
    with pytest.raises(InvalidConfigurationError) as refused:
        make()
    assert "hunter2" not in str(refused.value)
    return str(refused.value)


def test_every_file_of_a_configuration(write, environment, opened, tmp_path):
    """The file, secret files, a variable's file and the CA certificates are checked."""
    command = f"Run: chmod o-w {opened}"
    inside = write(BLOCK.format(secret="client_secret: ${API_SECRET}"), directory=opened)
    assert refusal(lambda: TokenKeeper.from_config(inside)).endswith(command)
    environment.setenv("TOKENKEEPER_CONFIG", str(inside))
    assert refusal(TokenKeeper.from_env).startswith("tokens.yaml can't be trusted: every user")
    environment.delenv("TOKENKEEPER_CONFIG")
    by_file = write(BLOCK.format(secret=f"client_secret_file: {opened}/f"))
    message = refusal(lambda: TokenKeeper.from_config(by_file))
    assert message.startswith("tokens.yaml, line 5: oauth2.client_secret_file can't be trusted")
    for verify in (opened, opened / "f"):
        ca = write(BLOCK.format(secret=f"client_secret: ${{API_SECRET}}\n  verify: {verify}"))
        message = refusal(lambda ca=ca: TokenKeeper.from_config(ca))
        assert message.startswith("tokens.yaml, line 6: oauth2.verify can't be trusted")
    environment.setenv("OAUTH2_CLIENT_ID", "worker")
    environment.setenv("OAUTH2_TOKEN_URL", "https://id.example.com/token")
    environment.setenv("OAUTH2_CLIENT_SECRET_FILE", str(opened / "f"))
    assert refusal(TokenKeeper.from_env).startswith("OAUTH2_CLIENT_SECRET_FILE can't be trusted")


def test_a_directory_that_is_opened_later(write):
    """A reload rejects a file that others can write by now; the previous content stays in use."""
    path = write()
    with TokenKeeper.from_config(path) as keeper:
        path.chmod(0o622)
        with pytest.raises(InvalidConfigurationError, match=r"chmod g?o-w"):
            keeper.reload()
        assert keeper.list_providers() == ["api"]


def test_ca_certificates_of_the_system():
    """The usual locations of CA certificates are trusted, including links."""
    for name in ("/etc/ssl/certs/ca-certificates.crt", "/etc/ssl/certs"):
        if os.path.exists(name):
            check_trusted(Path(name))


@needs_root
@pytest.mark.parametrize("mode", [0o440, 0o1777])
def test_another_user_reads_a_mounted_secret(top, mode):
    """A service that is not root can use a secret that Kubernetes mounted."""
    run = top / "run"
    data = run / "..2026_11_28"
    data.mkdir(parents=True)
    (data / "billing").write_text("s3cret")
    (run / "..data").symlink_to(data.name)
    (run / "billing").symlink_to("..data/billing")
    os.chown(data / "billing", 0, ALSO_OURS)
    (data / "billing").chmod(0o440)
    run.chmod(mode | 0o755)
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            os.setgroups([ALSO_OURS])
            os.setegid(OURS)
            os.seteuid(WE)
            code = 0 if read_file(run / "billing") == "s3cret" else 1
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    shutil.rmtree(run)
