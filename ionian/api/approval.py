"""The page on which a token request is approved, and the same for programs.

There are no accounts and no cookies: approving needs a valid token in the request itself, so that no other web page can
do it in anybody's name. The page is shown to everybody who has its address and tells nothing.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from html import escape
from typing import Protocol
from urllib.parse import parse_qs

from ionian.api.blobs import HttpAnswer
from ionian.api.context import Context
from ionian.api.flows import Flow, same_code
from ionian.errors import InvalidRequest, IonianError, Unauthenticated
from ionian.state import tokens

MAX_BODY_BYTES = 4096
log = logging.getLogger("ionian.api")

_HEADERS = (
    (b"content-type", b"text/html; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (
        b"content-security-policy",
        b"default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    ),
)
_STYLE = (
    "body{font:1rem/1.5 system-ui,sans-serif;max-width:34rem;margin:3rem auto;padding:0 1rem;"
    "color:#1b1b1b;background:#fff}label{display:block;margin:1rem 0 .2rem}"
    "input{font:1rem monospace;width:100%;padding:.5rem;box-sizing:border-box}"
    "button{font:inherit;margin-top:1.2rem;padding:.5rem 1.5rem}code{background:#eee;padding:.1rem .3rem}"
    "[role=alert]{border-left:.3rem solid #b00020;padding-left:.8rem}"
    "@media(prefers-color-scheme:dark){body{color:#eee;background:#161616}code{background:#333}}"
)
_FORM = """<p>A program on some machine asks for a token of the workspace <b>{workspace}</b>. A token has all rights
here: approve it only when you started <code>modal token new</code> yourself and its code is the one you see there.</p>
<form method="post" autocomplete="on">
<label for="code">Code that <code>modal token new</code> shows</label>
<input id="code" name="code" required autofocus autocomplete="off" placeholder="XXXX-XXXX">
<label for="token_id">A token you have: id</label>
<input id="token_id" name="token_id" required autocomplete="username" placeholder="ak-...">
<label for="token_secret">and its secret</label>
<input id="token_secret" name="token_secret" type="password" required autocomplete="current-password"
 placeholder="as-...">
<button>Approve</button>
</form>
<p>No token at hand? <code>ionian env</code> prints one on the server's machine, where <code>ionian approve CODE</code>
does the same as this page.</p>"""


class HttpRequest(Protocol):
    """What these handlers need of an HTTP request."""

    @property
    def method(self) -> str: ...

    @property
    def body(self) -> AsyncIterator[bytes]: ...


async def answer(ctx: Context, flow_id: str, request: HttpRequest) -> HttpAnswer:
    """One HTTP request for the page of a flow."""
    if request.method not in ("GET", "HEAD", "POST"):
        return HttpAnswer(405, ((b"allow", b"GET, POST"),))
    try:
        flow = ctx.flows.get(flow_id, ctx.now)
    except IonianError as error:
        return _page(error.http, _alert(str(error)))
    form = _FORM.format(workspace=escape(ctx.config.workspace))
    if request.method != "POST":
        return _page(200, form)
    try:
        given = _fields(await body(request))
        await _approve_form(ctx, flow, given)
    except IonianError as error:
        return _page(error.http, _alert(str(error)) + form)
    return _page(200, "<p>Approved. The program has its token; this page can be closed.</p>")


async def by_code(ctx: Context, request: HttpRequest, approver: str) -> None:
    """Approve the flow that a JSON body ``{"code": ...}`` names. The caller has checked the approver's token.

    Raises InvalidRequest, NotFound.
    """
    try:
        code = str(json.loads(await body(request))["code"])
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidRequest('send JSON such as {"code": "XXXX-XXXX"}') from error
    _approve(ctx.flows.of_code(code, ctx.now), approver)


async def _approve_form(ctx: Context, flow: Flow, given: dict[str, str]) -> None:
    row = await ctx.database.read(tokens.check, given.get("token_id", ""), given.get("token_secret", ""))
    if row is None:
        raise Unauthenticated("This token is not valid here, or its secret is wrong. Nothing was approved.")
    if not same_code(flow.code, given.get("code", "")):
        raise InvalidRequest("This is not the code that the program shows. Nothing was approved.")
    _approve(flow, row["token_id"])


def _approve(flow: Flow, approver: str) -> None:
    if not flow.approved.is_set():
        log.info("a token request (%s) was approved by %s", flow.flow_id, approver)
        flow.approver = approver
        flow.approved.set()


async def body(request: HttpRequest) -> bytes:
    """The whole body. Raises InvalidRequest when it is larger than any form of ours."""
    data = b""
    async for piece in request.body:
        data += piece
        if len(data) > MAX_BODY_BYTES:
            raise InvalidRequest(f"more than {MAX_BODY_BYTES} bytes were sent")
    return data


def _fields(data: bytes) -> dict[str, str]:
    try:
        parsed = parse_qs(data.decode("utf-8"), max_num_fields=10)
    except ValueError as error:
        raise InvalidRequest(f"this is no form of this page: {error}") from error
    return {name: values[-1].strip() for name, values in parsed.items()}


def _alert(text: str) -> str:
    return f'<p role="alert">{escape(text)}</p>'


def _page(status: int, content: str) -> HttpAnswer:
    text = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Ionian: approve a token</title><style>{_STYLE}</style></head>"
        f"<body><main><h1>Approve a token</h1>{content}</main></body></html>\n"
    )
    data = text.encode()
    return HttpAnswer(status, (*_HEADERS, (b"content-length", b"%d" % len(data))), data)
