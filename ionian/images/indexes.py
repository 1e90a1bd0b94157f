"""The user's pip and uv settings, PURE: where packages come from, said in the variables that uv and pip read.

uv does not read pip's settings. What is set for uv wins over what is set for pip; a local index that is not there is
dropped, as pip does.
"""

from __future__ import annotations

import configparser
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

_KEYS = {
    "index-url": "PIP_INDEX_URL",
    "extra-index-url": "PIP_EXTRA_INDEX_URL",
    "find-links": "PIP_FIND_LINKS",
    "cert": "PIP_CERT",
    "trusted-host": "PIP_TRUSTED_HOST",
    "no-index": "PIP_NO_INDEX",
}
_TRUE = ("1", "true", "yes", "on")
_SYSTEM_CERTIFICATES = (  # Debian, Fedora, SUSE: where pip, curl and git of the system look; uv would use its own list
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
)
_CERTIFICATES_CHOSEN = ("SSL_CERT_FILE", "SSL_CERT_DIR", "UV_SYSTEM_CERTS", "UV_NATIVE_TLS")


def config_paths(environ: Mapping[str, str], home: str, prefixes: Sequence[str] = ()) -> tuple[str, ...]:
    """The pip.conf files that pip would read, least important first. ``prefixes``: of active virtual environments."""
    chosen = environ.get("PIP_CONFIG_FILE", "")
    if chosen == "/dev/null":
        return ()
    system = [f"{folder}/pip/pip.conf" for folder in environ.get("XDG_CONFIG_DIRS", "/etc/xdg").split(":") if folder]
    user = environ.get("XDG_CONFIG_HOME") or f"{home}/.config"
    paths = [*reversed(system), "/etc/pip.conf", f"{home}/.pip/pip.conf", f"{user}/pip/pip.conf"]
    return (*paths, *(f"{prefix}/pip.conf" for prefix in prefixes), *([chosen] if chosen else []))


def pip_settings(environ: Mapping[str, str], texts: Sequence[str]) -> dict[str, str]:
    """pip's own settings as ``PIP_*`` variables. ``texts``: contents of pip.conf files, least important first."""
    found: dict[str, str] = {}
    for section in ("global", "install"):
        for text in texts:
            parser = configparser.RawConfigParser(strict=False)
            try:
                parser.read_string(text)
            except configparser.Error:
                continue  # pip itself will complain to its user; a build does not depend on it
            for key, value in parser[section].items() if parser.has_section(section) else ():
                if (name := _KEYS.get(key.replace("_", "-"))) and value.strip():
                    found[name] = " ".join(value.split())
    found.update({name: value for name in _KEYS.values() if (value := environ.get(name, "").strip())})
    return found


def uv_settings(environ: Mapping[str, str], pip: Mapping[str, str], exists: Callable[[str], bool]) -> dict[str, str]:
    """What to add to ``environ`` so that uv finds what pip would. ``pip``: from ``pip_settings``."""
    out: dict[str, str] = {}
    if default := _present(pip.get("PIP_INDEX_URL", ""), exists):
        out["UV_DEFAULT_INDEX"] = default[0]
    if extra := _present(pip.get("PIP_EXTRA_INDEX_URL", ""), exists):
        out["UV_INDEX"] = " ".join(extra)
        out["UV_INDEX_STRATEGY"] = "unsafe-best-match"  # pip takes the best version of all indexes
    if links := _present(pip.get("PIP_FIND_LINKS", ""), exists):
        out["UV_FIND_LINKS"] = ",".join(links)
    if pip.get("PIP_NO_INDEX", "").lower() in _TRUE:
        out["UV_NO_INDEX"] = "1"
    if hosts := pip.get("PIP_TRUSTED_HOST", ""):
        out["UV_INSECURE_HOST"] = hosts
    system = () if any(environ.get(name) for name in _CERTIFICATES_CHOSEN) else _SYSTEM_CERTIFICATES
    if cert := next((path for path in (pip.get("PIP_CERT", ""), *system) if path and exists(path)), ""):
        out["SSL_CERT_FILE"] = cert
    old = {"UV_DEFAULT_INDEX": "UV_INDEX_URL", "UV_INDEX": "UV_EXTRA_INDEX_URL"}
    return {name: value for name, value in out.items() if not environ.get(name) and not environ.get(old.get(name, ""))}


def local_path(location: str) -> str:
    """The directory or file that an index or find-links entry names on this machine, or "" when it is an address."""
    if location.startswith("file:"):
        return unquote(urlsplit(location).path)
    return location if "://" not in location and PurePosixPath(location).is_absolute() else ""


def _present(value: str, exists: Callable[[str], bool]) -> list[str]:
    return [entry for entry in value.split() if not local_path(entry) or exists(local_path(entry))]
