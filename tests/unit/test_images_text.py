"""The pure text parts: Dockerfile words and variables, pip's settings for uv, pins, Debian command lines."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ionian.errors import InvalidRequest
from ionian.images import indexes, packages, running
from ionian.images.dockerfile import expand, instructions, words


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("plain", "plain"),
        ("$A", "one"),
        ("${A}x", "onex"),
        ("'$A'", "$A"),
        ('"$A b"', "one b"),
        (r"\$A", "$A"),
        (r'"\$A \x"', r"$A \x"),
        ("$NOPE", ""),
        ("${NOPE:-$A}", "one"),
        ("${A:+set}", "set"),
        ("${NOPE:+set}", ""),
        ("/x:$PATH", "/x:/bin"),
        ("'it'\"'\"'s'", "it's"),
        ("100$", "100$"),
    ],
)
def test_words_expand_as_in_a_dockerfile(word: str, value: str) -> None:
    assert expand(word, {"A": "one", "PATH": "/bin"}) == value


@given(st.text(st.characters(exclude_characters="\r\n\\", exclude_categories=("Cs", "Cc", "Z")), min_size=1))
def test_what_the_client_quotes_comes_out_unchanged(value: str) -> None:
    import shlex

    quoted = shlex.quote(value)
    assert words(f"{quoted} next") == [quoted, "next"]
    assert expand(quoted, {"A": "wrong"}) == value


def test_an_unclosed_quote_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="unclosed"):
        words("A='x")


def test_another_escape_character_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="escape"):
        instructions(["# escape=`", "FROM base"])
    assert [i.text for i in instructions(["FROM base", "# escape=`"])] == ["FROM base"]


def test_pip_settings_come_from_files_then_the_environment() -> None:
    low = "[global]\nindex-url = https://low.test/simple\nextra_index_url =\n  https://a.test/s\n  https://b.test/s\n"
    high = "[global]\nindex-url = https://high.test/simple\n[install]\nno-index = true\n"
    found = indexes.pip_settings({"PIP_FIND_LINKS": "/w"}, [low, "not an ini", high])
    assert found == {
        "PIP_INDEX_URL": "https://high.test/simple",
        "PIP_EXTRA_INDEX_URL": "https://a.test/s https://b.test/s",
        "PIP_NO_INDEX": "true",
        "PIP_FIND_LINKS": "/w",
    }


def test_pip_settings_become_uvs_and_missing_local_places_are_dropped() -> None:
    pip = {
        "PIP_INDEX_URL": "https://i.test/simple",
        "PIP_EXTRA_INDEX_URL": "file:///there/simple file:///gone/simple https://e.test/s",
        "PIP_FIND_LINKS": "/there /gone https://l.test/",
        "PIP_TRUSTED_HOST": "i.test",
        "PIP_CERT": "/there/ca.pem",
        "PIP_NO_INDEX": "0",
    }
    assert indexes.uv_settings({}, pip, lambda path: path.startswith("/there")) == {
        "UV_DEFAULT_INDEX": "https://i.test/simple",
        "UV_INDEX": "file:///there/simple https://e.test/s",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_FIND_LINKS": "/there,https://l.test/",
        "UV_INSECURE_HOST": "i.test",
        "SSL_CERT_FILE": "/there/ca.pem",
    }


def test_what_is_set_for_uv_wins() -> None:
    pip = {"PIP_INDEX_URL": "https://pip.test/simple", "PIP_EXTRA_INDEX_URL": "https://e.test/s", "PIP_CERT": "/c"}
    environ = {"UV_INDEX_URL": "https://uv.test/simple", "SSL_CERT_FILE": "/mine", "UV_INDEX_STRATEGY": "first-index"}
    assert indexes.uv_settings(environ, pip, lambda path: True) == {"UV_INDEX": "https://e.test/s"}


@pytest.mark.parametrize(
    ("environ", "pip", "expected"),
    [
        ({}, {}, {"SSL_CERT_FILE": "/etc/ssl/certs/ca-certificates.crt"}),
        ({}, {"PIP_CERT": "/mine.pem"}, {"SSL_CERT_FILE": "/mine.pem"}),
        ({"UV_SYSTEM_CERTS": "false"}, {}, {}),
        ({"SSL_CERT_DIR": "/certs"}, {}, {}),
    ],
)
def test_certificates_are_the_systems_unless_chosen(
    environ: dict[str, str], pip: dict[str, str], expected: dict[str, str]
) -> None:
    assert indexes.uv_settings(environ, pip, lambda path: True) == expected
    assert indexes.uv_settings({}, {}, lambda path: False) == {}


def test_config_files_are_those_of_pip() -> None:
    paths = indexes.config_paths({"XDG_CONFIG_HOME": "/x", "PIP_CONFIG_FILE": "/mine"}, "/home/u", ["/venv"])
    assert paths == (
        "/etc/xdg/pip/pip.conf",
        "/etc/pip.conf",
        "/home/u/.pip/pip.conf",
        "/x/pip/pip.conf",
        "/venv/pip.conf",
        "/mine",
    )
    assert indexes.config_paths({"PIP_CONFIG_FILE": "/dev/null"}, "/home/u") == ()


def test_pins_are_read_by_normalised_name() -> None:
    assert packages.pins(
        "Typing_Extensions==4.1\n# via x\nfoo @ https://x.test/f.whl\nA.B==1 ; python_version<'4'\n"
    ) == {
        "typing-extensions": "4.1",
        "a-b": "1",
    }


@pytest.mark.parametrize("command", ["apt-get update", "true", "apt-get update && apt-get install -y dpkg", ":"])
def test_without_namespaces_what_the_host_has_is_accepted(command: str) -> None:
    assert running.accepted(command, ())


@pytest.mark.parametrize(
    "command",
    [
        "apt-get install -y no-such-package-x",
        "echo hi > /etc/x",
        "apt-get update; rm -rf /x",
        "apt-get update | sh",
        "make",
    ],
)
def test_without_namespaces_nothing_else_is(command: str) -> None:
    assert running.accepted(command, ()) is None


def test_a_missing_host_package_is_named() -> None:
    text = running.missing("process", "apt-get update && apt-get install -y dpkg no-such-package-x")
    assert "install no-such-package-x on this host" in text
    assert "namespaces" in text
