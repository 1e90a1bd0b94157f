"""Where settings come from, and a home that cannot be one."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from ionian import config
from ionian.errors import FailedPrecondition, InvalidRequest


def test_later_sources_win(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('port = 1\nhost = "0.0.0.0"\nworkspace = "ünï"\n', encoding="utf-8")
    found = config.load({"home": str(tmp_path), "port": None}, {"IONIAN_PORT": "2", "IONIAN_HOST": "::1"})
    assert (found.port, found.host, found.workspace) == (2, "::1", "ünï")
    assert config.load({"home": str(tmp_path), "port": 3}, {"IONIAN_PORT": "2"}).port == 3


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("port = ", "not valid TOML"),
        ("colour = 1", "unknown setting colour"),
        ('port = "x"', "is not a whole number"),
        ("port = true", "is not a whole number"),
        ("port = 65536", "is not a port"),
        ("port = -1", "port=-1 is not a number from 0"),
        ("drain_s = -1", "drain_s=-1.0 is not a number from 0"),
        ("drain_s = nan", "drain_s=nan is not a number"),
        ("keep_alive_s = inf", "keep_alive_s=inf is not a number"),
        ("max_body_bytes = 0", "max_body_bytes=0 is not a number above 0"),
        ("max_containers = [1]", "is not a whole number"),
        ("workspace = '" + "w" * 41 + "'", "workspace has 41"),
        ("home = '/elsewhere'", "setting home"),
    ],
)
def test_a_bad_file_is_named(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "config.toml").write_text(text)
    with pytest.raises(InvalidRequest, match=complaint):
        config.load({"home": str(tmp_path)}, {})


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.toml").mkdir()
    with pytest.raises(InvalidRequest, match=r"cannot read .*config\.toml: Is a directory.*IONIAN_HOME"):
        config.load({"home": str(tmp_path)}, {})


def test_a_home_is_private(tmp_path: Path) -> None:
    made = config.Config(home=tmp_path / "deep" / "home")
    config.make_home(made)
    config.make_home(made)
    assert {stat.S_IMODE(path.stat().st_mode) for path in (made.home, made.run, made.logs)} == {0o700}
    made.run.rmdir()  # of a long home it is elsewhere


def test_a_home_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for home in (tmp_path / "file", tmp_path / "file" / "home"):
        with pytest.raises(InvalidRequest, match=rf"{home}: .*--home DIR"):
            config.make_home(config.Config(home=home))
        assert config.load({"home": str(home)}, {}).home == home


def test_a_home_has_one_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / ("long" * 20) / "home"
    home.mkdir(parents=True)
    (tmp_path / "link").symlink_to(home)
    monkeypatch.chdir(home)
    ways = [home, home / ".." / "home", tmp_path / "link", ".", "../home"]
    found = [config.load({"home": str(way)}, {}) for way in ways]
    found += [config.load({}, {"IONIAN_HOME": str(way)}) for way in ways]
    assert {(each.home, each.run) for each in found} == {(home, config.Config(home=home).run)}


def test_a_token_comes_back_as_it_was_written(tmp_path: Path) -> None:
    made = config.Config(home=tmp_path)
    assert config.read_token(made) is None
    made.token_file.write_text('{"token_id": "ak-1", "token_secret": "as-1"}')
    assert config.read_token(made) == ("ak-1", "as-1")


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b"{}", b"\xff\xfe", b'{"token_id": "", "token_secret": ""}',
                b'{"token_id": "ak-1", "token_secret": null}', b'{"token_id": 1, "token_secret": "as-1"}']
)  # fmt: skip
def test_a_damaged_token_is_no_token(tmp_path: Path, content: bytes) -> None:
    made = config.Config(home=tmp_path)
    made.token_file.write_bytes(content)
    with pytest.raises(FailedPrecondition, match=r"token\.json is damaged .*remove it"):
        config.read_token(made)
