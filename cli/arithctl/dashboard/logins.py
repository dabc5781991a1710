"""Who may come in: one token, sessions of browsers that have shown it, and a brake on guessing.

Sessions live in this process: a restart ends them all. The brake counts failures of everybody together, since
behind a tunnel or a container all come from one address; who is in already does not feel it.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections import deque
from collections.abc import Callable

#: Failed tries in this many seconds after which none is looked at any more.
MAX_FAILURES, WINDOW_S = 10, 60.0
#: Seconds after its login that a session ends.
SESSION_S = 12 * 3600.0
#: Sessions at one time; the oldest goes first.
_MAX_SESSIONS = 500
#: Characters of a token that somebody has chosen: fewer can be guessed, brake or not.
MIN_TOKEN = 16


class Logins:
    """Decides about tokens and sessions; for use from one thread (the server's loop)."""

    def __init__(self, token: str, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` gives seconds that never go back."""
        self._digest = _digest(token)
        self._clock = clock
        self._failures: deque[float] = deque(maxlen=MAX_FAILURES)
        self._sessions: dict[str, float] = {}
        #: Cookies do not know ports: dashboards on one machine must not take each other's.
        self.cookie = f"arithctl-{_digest('cookie' + token).hex()[:8]}"

    def wait_s(self) -> float:
        """Seconds until a token will be looked at again; 0 if now."""
        if len(self._failures) < MAX_FAILURES:
            return 0.0
        return max(0.0, self._failures[0] + WINDOW_S - self._clock())

    def accepts(self, token: str) -> bool:
        """Whether this is the token; a wrong one is counted. In constant time; always False while the brake holds."""
        if self.wait_s():
            return False
        right = hmac.compare_digest(_digest(token), self._digest)
        if not right:
            self._failures.append(self._clock())
        return right

    def open_session(self) -> str:
        """A new session for someone whose token was accepted."""
        while len(self._sessions) >= _MAX_SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        name = secrets.token_urlsafe(32)
        self._sessions[_digest(name).hex()] = self._clock() + SESSION_S
        return name

    def knows(self, session: str) -> bool:
        """Whether the session is open."""
        ends = self._sessions.get(_digest(session).hex())
        return ends is not None and self._clock() < ends

    def close_session(self, session: str) -> None:
        """End a session; does nothing if there is none."""
        self._sessions.pop(_digest(session).hex(), None)


def _digest(text: str) -> bytes:
    # Of equal length whatever was sent, and what is looked up in a table says nothing about how near a guess was.
    return hashlib.sha256(text.encode()).digest()
