"""Classes of clients before 0.73: a function per method, in fields that the protocol has lost since."""

from __future__ import annotations

from ionian import wire
from ionian.api import definitions, fields
from ionian.model import WebKind, WebSettings
from ionian.wire import api_pb2


def _text(number: int, text: str) -> bytes:
    key = number << 3 | 2
    return bytes([key & 0x7F | 0x80, key >> 7] if key > 0x7F else [key]) + bytes([len(text)]) + text.encode()


def _method(**settings: object) -> api_pb2.Function:
    known = api_pb2.Function(function_name="Model.add", is_method=True, **settings)  # type: ignore[arg-type]
    return api_pb2.Function.FromString(known.SerializeToString() + _text(54, "fu-service") + _text(55, "add"))


def test_what_the_method_stands_for_is_read() -> None:
    assert wire.old_method(_method()) == ("fu-service", "add")
    announced = api_pb2.FunctionPrecreateRequest.FromString(_text(6, "fu-service") + _text(7, "add"))
    assert wire.old_method(announced) == ("fu-service", "add")
    assert wire.old_method(api_pb2.Function(function_name="f")) == ("", "")


def test_it_is_not_taken_for_a_setting_of_a_newer_client() -> None:
    assert fields.check(_method()) == []


def test_it_survives_storing_and_tells_the_client_what_to_call() -> None:
    stored = api_pb2.Function.FromString(definitions.canonical(_method()))
    handle = definitions.handle(stored, "ap-1", "de-1", "")
    assert (handle.is_method, handle.use_method_name) == (True, "add")
    assert _text(40, "fu-service") in handle.SerializeToString()


def test_a_web_endpoint_among_them_answers_for_its_class() -> None:
    config = api_pb2.WebhookConfig(type=api_pb2.WEBHOOK_TYPE_FUNCTION, method="POST")
    assert fields.check(_method(webhook_config=config)) == []
    settings = definitions.settings_of(_method(webhook_config=config), "app-model-add")
    assert settings.stands_for == ("fu-service", "add")
    assert settings.web == WebSettings(WebKind.FUNCTION, "POST", False, "app-model-add")
