"""Token flows: a client without a token waits until somebody who has one approves it. In memory, for ten minutes.

Two secrets guard a flow: only the client that began it knows ``wait_secret`` and can collect the token; only who sees
that client's terminal knows ``code``, and approving needs a valid token besides. A restart of the server ends them all.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
from dataclasses import dataclass, field

from ionian.errors import InvalidRequest, NotFound, ResourceExhausted
from ionian.model import new_id

FLOW_S = 600.0  # how long a flow may be approved and collected
MAX_FLOWS = 200  # anybody who reaches the port can begin one
_LETTERS = "BCDFGHJKLMNPQRSTVWXZ"  # no vowels, nothing that reads as a digit
_AGAIN = "run `modal token new` again"


@dataclass(slots=True)
class Flow:
    """One wish for a token. ``token``: id and secret, once it was collected: a repeated wait gets the same one."""

    flow_id: str
    code: str
    wait_secret: str
    expires_at: float
    approved: asyncio.Event = field(default_factory=asyncio.Event)
    approver: str = ""
    token: tuple[str, str] | None = None


class Flows:
    """The open flows of one server. ``now`` is unix seconds."""

    def __init__(self) -> None:
        self._flows: dict[str, Flow] = {}

    def begin(self, now: float) -> Flow:
        """A new flow. Raises ResourceExhausted when too many are open."""
        self._flows = {key: flow for key, flow in self._flows.items() if flow.expires_at > now}
        if len(self._flows) >= MAX_FLOWS:
            raise ResourceExhausted(f"{MAX_FLOWS} token flows are open already; try again in {FLOW_S / 60:.0f} minutes")
        code = "".join(secrets.choice(_LETTERS) for _ in range(8))
        flow = Flow(new_id("tf"), f"{code[:4]}-{code[4:]}", secrets.token_urlsafe(24), now + FLOW_S)
        self._flows[flow.flow_id] = flow
        return flow

    def get(self, flow_id: str, now: float) -> Flow:
        """An open flow. Raises NotFound."""
        flow = self._flows.get(flow_id)
        if flow is None or flow.expires_at <= now:
            raise NotFound(f"this token request has expired, or the server was started anew since; {_AGAIN}")
        return flow

    def waiting(self, flow_id: str, wait_secret: str, now: float) -> Flow:
        """The flow for the client that began it. Raises NotFound, InvalidRequest for another's secret."""
        flow = self.get(flow_id, now)
        if not hmac.compare_digest(flow.wait_secret.encode(), wait_secret.encode()):
            raise InvalidRequest(f"wait_secret is not the one of this token request; {_AGAIN}")
        return flow

    def of_code(self, code: str, now: float) -> Flow:
        """The flow that shows this code. Raises NotFound."""
        for flow in self._flows.values():
            if flow.expires_at > now and same_code(flow.code, code):
                return flow
        raise NotFound(
            f"no open token request has the code {code!r}: compare it with what `modal token new` prints; "
            f"a code is good for {FLOW_S / 60:.0f} minutes, and not beyond a restart of the server"
        )


def same_code(code: str, typed: str) -> bool:
    """Whether this is the code, typed in any case and with or without its dash."""
    letters = "".join(letter for letter in typed.upper() if letter.isalpha())
    return hmac.compare_digest(code.replace("-", "").encode(), letters.encode())
