"""A request head while and after it is parsed, and the rules that make it a valid request."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

from ionian.gateway import headers

MAX_HEADERS = 500


class Reject(Exception):
    """The request ends here with this status; the connection closes after the answer."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


class Head:
    """One request. ``fields`` alternates lower-case names and values of the headers that travel on."""

    __slots__ = (
        "complete",
        "connection",
        "encoding",
        "expect",
        "fields",
        "host",
        "keep_alive",
        "length",
        "method",
        "path",
        "pieces",
        "query",
        "ready",
        "received",
        "reject",
        "size",
        "upgrade",
        "url",
        "version",
    )

    def __init__(self) -> None:
        self.method = b""
        self.url = b""
        self.version = b"1.1"
        self.path = b""
        self.query = b""
        self.host: bytes | None = None
        self.fields: list[bytes] = []
        self.length: int | None = None  # content-length
        self.encoding = False  # chunked body
        self.connection: list[bytes] | None = None  # members of Connection
        self.expect = False  # the client waits for 100 Continue
        self.upgrade = b""
        self.keep_alive = True
        self.ready = False  # the head is complete and valid
        self.complete = False  # the whole request has arrived
        self.received = 0  # bytes of body so far
        self.pieces: list[bytes] = []  # body that arrived while an earlier request was being answered
        self.size = 0  # bytes read while the head was incomplete
        self.reject: Reject | None = None

    def special(self, kind: int, value: bytes) -> None:
        """Take in a header that concerns this hop or the framing."""
        if kind == headers.HOST:
            if self.host is not None:
                raise Reject(400, "the request has more than one Host header")
            self.host = value
            self.fields += (b"host", value)
        elif kind == headers.LENGTH:
            self._length(value)
        elif kind == headers.ENCODING:
            if self.encoding or value.strip().lower() != b"chunked":
                raise Reject(501, f"transfer-encoding {value.decode('latin-1')!r} is not supported; use chunked")
            self.encoding = True
        elif kind == headers.CONNECTION:
            self.connection = (self.connection or []) + headers.tokens(value)
        elif kind == headers.EXPECT:
            if value.lower() != b"100-continue":
                raise Reject(417, f"expectation {value.decode('latin-1')!r} is not supported")
            self.expect = True
        elif kind == headers.UPGRADE:
            self.upgrade = value.lower()

    def _length(self, value: bytes) -> None:
        try:
            length = headers.content_length(value)
        except ValueError as error:
            raise Reject(400, str(error)) from None
        if self.length is not None:
            raise Reject(400, "the request has more than one content-length")
        self.length = length
        self.fields += (b"content-length", value)

    def check(self, method: bytes, version: str, max_body: int) -> None:
        """Complete the head. Raises ``Reject`` when the request may not go on."""
        self.method = method
        if version != "1.1":
            if version != "1.0":
                raise Reject(505, f"HTTP/{version} is not supported")
            self.version = b"1.0"
            self.keep_alive = self.expect = False
            if self.encoding:
                raise Reject(400, "HTTP/1.0 has no transfer-encoding")
        elif self.host is None:
            raise Reject(400, "the request has no Host header")
        if self.encoding and self.length is not None:
            raise Reject(400, "the request has both content-length and transfer-encoding")
        if self.length is not None and self.length > max_body:
            raise Reject(413, f"the body is over the limit of {max_body} bytes (setting max_body_bytes)")
        if len(self.fields) > 2 * MAX_HEADERS:
            raise Reject(431, f"the request has more than {MAX_HEADERS} headers")
        if self.connection is not None:
            self._hop()
        if method == b"CONNECT" or method == b"TRACE":
            raise Reject(405, f"method {method.decode()} is not allowed")
        self._target()
        self.ready = True

    def _hop(self) -> None:
        """Apply the Connection header: keep-alive, and drop what it names."""
        named = set(self.connection or ())
        if b"close" in named:
            self.keep_alive = False
        elif self.version == b"1.0":
            self.keep_alive = b"keep-alive" in named
        if b"upgrade" in named and b"websocket" in self.upgrade:
            raise Reject(501, "WebSocket is not supported yet")
        extra = named - {b"close", b"keep-alive", b"upgrade", b"host", b"content-length"}
        if extra:
            pairs = zip(self.fields[::2], self.fields[1::2], strict=True)
            self.fields = [field for pair in pairs if pair[0] not in extra for field in pair]

    def _target(self) -> None:
        """Split the request target into path and query; check that the path decodes."""
        url = self.url
        if url[:1] != b"/":
            url = self._absolute(url)
        path, _, self.query = url.partition(b"?")
        if b"#" in url:
            raise Reject(400, "the request target has a fragment")
        if b"%" in path or not path.isascii():
            try:
                decoded = unquote_to_bytes(path).decode("utf-8")
            except UnicodeDecodeError:
                raise Reject(400, "the path is not valid UTF-8") from None
            if "\0" in decoded:
                raise Reject(400, "the path contains a NUL character")
        self.path = path

    def _absolute(self, url: bytes) -> bytes:
        """The origin form of an absolute or asterisk target; the target's host overrules the Host header."""
        if url == b"*" and self.method == b"OPTIONS":
            return b"/*"
        scheme, mark, rest = url.partition(b"://")
        if not mark or scheme.lower() not in (b"http", b"https"):
            raise Reject(400, "the request target is neither a path nor an http address")
        end = min(index for index in (rest.find(b"/"), rest.find(b"?"), len(rest)) if index >= 0)
        host, path = rest[:end], rest[end:]
        if self.host is not None:
            self.fields[self.fields.index(b"host") + 1] = host
        self.host = host
        return path if path[:1] == b"/" else b"/" + path
