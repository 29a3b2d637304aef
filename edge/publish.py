"""Answers for other machines, delivered through lost connections; and the webhook.

Each outlet has a thread and a bounded queue of its own, so that none can hold up listening. Every
answer is sent once at most: one whose receipt is in doubt, because the connection broke before it
was confirmed, is not sent again but counted among the missed, and the next answer says how many
those were and when.
"""

import http.client
import json
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol
from urllib.parse import urlsplit

MOST_ANSWERS = 64  # that wait
PATIENCE_SECONDS = 10.0  # that an answer may wait, unless it is the newest
RETRY_SECONDS = (1.0, 60.0)  # from one try to connect to the next: first, and at most
ANSWER_SECONDS = 5.0  # for a broker or server to answer
CLOSE_SECONDS = 3.0  # to deliver what waits when listening ends

Say = Callable[[str], None]


class AddressError(Exception):
    """An address cannot be used. The message is one line that starts with it."""


class UnreachableError(Exception):
    """An answer could not be delivered.

    Attributes:
        in_doubt: Whether it may have arrived all the same, or was refused for good.
    """

    def __init__(self, reason: object, in_doubt: bool = False) -> None:
        super().__init__(" ".join(str(reason).split()))
        self.in_doubt = in_doubt


class Outlet(Protocol):
    """Where answers go."""

    name: str

    def open(self) -> None:
        """Connect where that is not done yet; :class:`UnreachableError` if it cannot be."""

    def send(self, content: bytes) -> None:
        """Deliver, or raise :class:`UnreachableError`."""

    def close(self) -> None:
        """Take leave."""


class Publisher(threading.Thread):
    """Delivers answers to one outlet, through lost connections."""

    def __init__(self, outlet: Outlet, say: Say) -> None:
        """Deliver to ``outlet`` once started; ``say`` where that fails and where it works again."""
        super().__init__(daemon=True)
        self._outlet = outlet
        self._say = say
        self._news = threading.Condition()
        self._waiting: deque[tuple[float, dict[str, Any]]] = deque()
        self._missed: list[float] = []  # first and last time, and their number
        self._count = 0
        self._trouble: float | None = None  # when it began
        self._closing = False

    def put(self, when: float, answer: dict[str, Any]) -> None:
        """Queue an ``answer`` given at ``when``, in seconds since 1970."""
        with self._news:
            self._waiting.append((when, answer))
            if len(self._waiting) > MOST_ANSWERS:
                self._miss(self._waiting.popleft()[0])
            self._news.notify()

    def close(self) -> None:
        """Deliver what waits, within three seconds, and take leave."""
        with self._news:
            self._closing = True
            self._news.notify()
        self.join(CLOSE_SECONDS)
        for when, _ in list(self._waiting):
            self._miss(when)
        if self._count:
            self._say(f"{self._outlet.name}: {self._gap()}")

    def run(self) -> None:
        first, most = RETRY_SECONDS
        delay = first
        while True:
            try:
                self._outlet.open()
                entry = self._next()
                if entry is None:
                    break
                self._deliver(*entry)
                delay = first
            except UnreachableError as error:
                if self._trouble is None:
                    self._trouble = time.monotonic()
                    self._say(f"{self._outlet.name}: {error}; trying again")
                with self._news:
                    if self._news.wait_for(lambda: self._closing, delay):
                        break
                delay = min(2 * delay, most)
        self._outlet.close()

    def _next(self) -> tuple[float, dict[str, Any]] | None:
        """The next answer that is worth sending; None at the end.

        Raises UnreachableError with no answer taken where the connection is lost meanwhile.
        """
        while True:
            with self._news:
                self._news.wait_for(lambda: self._waiting or self._closing, 1.0)
                while len(self._waiting) > 1 and _age(self._waiting[0][0]) > PATIENCE_SECONDS:
                    self._miss(self._waiting.popleft()[0])
                if self._waiting:
                    return self._waiting.popleft()
                if self._closing:
                    return None
            self._outlet.open()

    def _deliver(self, when: float, answer: dict[str, Any]) -> None:
        count = self._count
        missed = {"missed": self._missed_fields()} if count else {}
        try:
            self._outlet.send(json.dumps(answer | missed).encode())
        except UnreachableError as error:
            with self._news:
                if error.in_doubt:
                    self._miss(when)
                else:
                    self._waiting.appendleft((when, answer))
            raise
        if self._trouble is not None:
            away = time.monotonic() - self._trouble
            gap = self._gap() if count else "every answer delivered"
            self._say(f"{self._outlet.name}: reached again after {away:.1f} s; {gap}")
            self._trouble = None
        with self._news:
            self._count -= count
            self._missed = self._missed if self._count else []

    def _miss(self, when: float) -> None:
        self._count += 1
        self._missed = [*self._missed, when]
        self._missed = [min(self._missed), max(self._missed)]

    def _missed_fields(self) -> dict[str, Any]:
        first, last = self._missed
        return {"answers": self._count, "from": iso(first), "to": iso(last)}

    def _gap(self) -> str:
        clocks = [time.strftime("%H:%M:%S", time.localtime(when)) for when in self._missed]
        answers = "answer" if self._count == 1 else "answers"
        return f"{self._count} {answers} from {clocks[0]} to {clocks[1]} not delivered"


class Webhook:
    """A server that takes each answer as a JSON object by POST."""

    def __init__(self, url: str) -> None:
        """Remember ``url``; raise an AddressError where it is none."""
        parts = urlsplit(url)
        host, port = host_and_port(url, parts, ("http", "https"))
        secure = parts.scheme == "https"
        self._connection = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        self._host, self._port = host, port
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self.name = f"webhook {parts.hostname}"  # the rest is often a secret

    def open(self) -> None:
        """A connection serves one answer only; an idle one could be closed under it."""

    def send(self, content: bytes) -> None:
        connection = self._connection(self._host, self._port, timeout=ANSWER_SECONDS)
        try:
            connection.connect()
        except OSError as error:
            raise UnreachableError(f"cannot be reached ({words(error)})") from None
        try:
            headers = {"Content-Type": "application/json", "User-Agent": "ser-tf"}
            connection.request("POST", self._path, content, headers)
            response = connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            raise UnreachableError(f"does not answer ({words(error)})", in_doubt=True) from None
        finally:
            connection.close()
        if not 200 <= response.status < 300:
            status = f"{response.status} {response.reason}".strip()
            raise UnreachableError(f"refuses the answer ({status})", in_doubt=True)

    def close(self) -> None:
        """Nothing is open."""


def host_and_port(address: str, parts: Any, schemes: tuple[str, ...]) -> tuple[str, int | None]:
    """Of an ``address``, split into ``parts``; an AddressError unless it has one of ``schemes``."""
    try:
        port = parts.port
    except ValueError:
        port = 0
    if parts.scheme not in schemes or not parts.hostname or port == 0:
        likely = (
            "HOST, HOST:PORT/NAME or mqtts://USER@HOST" if "mqtt" in schemes else "http(s)://HOST/…"
        )
        raise AddressError(f"{address}: is no address; it should look like {likely}")
    return parts.hostname, port


def words(error: Exception) -> str:
    """What went wrong, without a number."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _age(when: float) -> float:
    return time.time() - when


def iso(when: float) -> str:
    """``2026-01-31T14:03:07.120Z`` for seconds since 1970."""
    milliseconds = round(when * 1000)
    clock = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(milliseconds // 1000))
    return f"{clock}.{milliseconds % 1000:03d}Z"
