"""Hosts and paths to targets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ionian.errors import NotFound
from ionian.gateway.router import Router, WebFunction, app_label

PREDICT = WebFunction("fu-p", "local", "Iris_App", "predict", "local--iris-app-predict", 300)
HEALTH = WebFunction("fu-h", "local", "Iris_App", "health", "local--custom", 300)
DEV = WebFunction("fu-d", "local", "Iris_App", "predict", "local-dev--iris-app-predict", 300, "dev")


@pytest.fixture
def router() -> Router:
    router = Router(["apps.example.org"])
    router.replace([PREDICT, HEALTH, DEV])
    return router


FORM = "/_web/local--iris-app"


@pytest.mark.parametrize(
    ("host", "path", "function", "expected", "root"),
    [
        ("local--iris-app-predict.localhost", "/", PREDICT, "/", ""),
        ("LOCAL--Iris-App-Predict.LocalHost.:9900", "/x?", PREDICT, "/x?", ""),
        ("local--custom.localhost:1", "/health", HEALTH, "/health", ""),
        ("local--iris-app.localhost", "/predict", PREDICT, "/predict/", "/predict"),
        ("local--iris-app.localhost", "/predict/", PREDICT, "/predict/", "/predict"),
        ("local--iris-app.localhost", "/health/a%20b", HEALTH, "/health/a%20b", "/health"),
        ("local-dev--iris-app.localhost", "/predict", DEV, "/predict/", "/predict"),
        ("local--iris-app.apps.example.org", "/predict", PREDICT, "/predict/", "/predict"),
        ("127.0.0.1:9900", FORM + "-predict", PREDICT, FORM + "-predict/", FORM + "-predict"),
        ("[::1]:9900", "/_web/local--custom/x", HEALTH, "/_web/local--custom/x", "/_web/local--custom"),
        ("localhost", FORM + "/predict", PREDICT, FORM + "/predict/", FORM + "/predict"),
        ("box.lan", FORM + "/health/y", HEALTH, FORM + "/health/y", FORM + "/health"),
    ],
)  # fmt: skip
def test_addresses(router: Router, host: str, path: str, function: WebFunction, expected: str, root: str) -> None:
    for _ in range(2):  # the second answer comes through the cache of hosts
        assert router.resolve(host.encode(), path.encode()) == (function, expected.encode(), root.encode())


@pytest.mark.parametrize(
    "host", ["127.0.0.1:9900", "localhost:80", "[::1]", "", "example.org", "localhost.evil.org", ".localhost"]
)
def test_plain_hosts(router: Router, host: str) -> None:
    assert router.resolve(host.encode(), b"/health") is None


@pytest.mark.parametrize(
    ("host", "path", "said"),
    [
        ("local--iris-app-gone.localhost", "/", "local--iris-app-predict"),
        ("local--other.localhost", "/", "local--iris-app"),
        ("local--iris-app.localhost", "/", "/predict, /health"),
        ("local--iris-app.localhost", "/nope/x", "/predict, /health"),
        ("a.local--iris-app-predict.localhost", "/", "a.local--iris-app-predict.localhost"),
        ("127.0.0.1", "/_web/local--zzz/", "/_web/local--zzz"),
        ("127.0.0.1", "/_web/", "/_web/"),
    ],
)
def test_unknown_says_what_exists(router: Router, host: str, path: str, said: str) -> None:
    with pytest.raises(NotFound) as caught:
        router.resolve(host.encode(), path.encode())
    assert said in str(caught.value)


def test_replace_forgets(router: Router) -> None:
    assert router.resolve(b"local--custom.localhost", b"/")
    router.replace([])
    with pytest.raises(NotFound, match="no app with web functions"):
        router.resolve(b"local--custom.localhost", b"/")


def test_a_function_label_wins_over_an_app() -> None:
    router = Router()
    clash = WebFunction("fu-c", "local", "iris", "app", "local--iris-app", 300)
    router.replace([PREDICT, clash])
    target = router.resolve(b"local--iris-app.localhost", b"/predict")
    assert target is not None
    assert target.function is clash
    assert app_label(PREDICT) == "local--iris-app"


@given(host=st.binary(max_size=80), path=st.binary(max_size=80))
def test_any_bytes(host: bytes, path: bytes) -> None:
    router = Router()
    router.replace([PREDICT])
    try:
        target = router.resolve(host, b"/" + path)
    except NotFound:
        return
    assert target is None or target.path.startswith(target.root_path)
