"""An MQTT broker, with the discovery of Home Assistant."""

import json
import os
import re
import socket
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

if __package__:
    from .publish import ANSWER_SECONDS, UnreachableError, host_and_port, words
else:  # copied alone, and run as a script
    from publish import (  # type: ignore[no-redef]
        ANSWER_SECONDS,
        UnreachableError,
        host_and_port,
        words,
    )

KEEP_ALIVE_SECONDS = 15  # between signs of life; a broker gives a device up after 1.5 times that
PASSWORD = "SER_MQTT_PASSWORD"  # in the environment, where ps does not show it
DISCOVERY = "homeassistant"  # prefix that Home Assistant listens to unless told otherwise


class Broker:
    """An MQTT broker, as Home Assistant uses one.

    Topics: ``ser/NAME/state`` holds the latest answer, ``ser/NAME/availability`` "online" or
    "offline" (which the broker says itself where the device falls silent), and
    ``homeassistant/sensor/ser_NAME/…/config`` what Home Assistant must know to show both emotion
    and confidence. All are retained. Answers have quality of service 1, one in flight at a time.
    """

    def __init__(self, address: str, states: Sequence[str]) -> None:
        """Remember an ``address``, ``[mqtt[s]://][USER@]HOST[:PORT][/NAME]``.

        Args:
            address: Of the broker. NAME is this device's, by default that of the computer; no two
                on a broker may share one. A password comes from the environment, SER_MQTT_PASSWORD.
            states: All that an answer's ``state`` may be.

        Raises:
            AddressError: The address is no such address.
            ImportError: paho-mqtt is not installed.
        """
        import paho.mqtt.client

        self._library: Any = paho.mqtt.client
        parts = urlsplit(address if "://" in address else f"mqtt://{address}")
        host, port = host_and_port(address, parts, ("mqtt", "mqtts"))
        self._secure = parts.scheme == "mqtts"
        self._host, self._port = host, port or (8883 if self._secure else 1883)
        self._user = parts.username
        name = parts.path.strip("/") or socket.gethostname()
        self._device = re.sub(r"[^A-Za-z0-9_-]+", "-", name)
        self._states = list(states)
        self._client: Any = None
        self._news = threading.Condition()
        self._connected: object = None  # the broker's reason code
        self._lost = False
        self.name = f"broker {self._host}:{self._port}"

    def open(self) -> None:
        if self._client is not None and not self._lost:
            return
        self._leave()
        library = self._library
        client = library.Client(
            library.CallbackAPIVersion.VERSION2,
            client_id=f"ser-{self._device}",
            reconnect_on_failure=False,  # it would send again what is in doubt
        )
        client.will_set(self._topic("availability"), "offline", qos=1, retain=True)
        if self._user:
            client.username_pw_set(self._user, os.environ.get(PASSWORD))
        if self._secure:
            client.tls_set()
        client.connect_timeout = ANSWER_SECONDS
        self._connected, self._lost = None, False
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        try:
            client.connect(self._host, self._port, KEEP_ALIVE_SECONDS)
        except (OSError, ValueError) as error:
            raise UnreachableError(f"cannot be reached ({words(error)})") from None
        self._client = client
        client.loop_start()
        with self._news:
            self._news.wait_for(lambda: self._connected or self._lost, ANSWER_SECONDS)
        if self._lost or self._connected is None or self._connected.is_failure:  # type: ignore[attr-defined]
            reason = self._connected or "no answer"
            self._leave()
            raise UnreachableError(f"refuses the connection ({reason})")
        for sensor, configuration in self._discovery().items():
            topic = f"{DISCOVERY}/sensor/ser_{self._device}/{sensor}/config"
            self._publish(topic, json.dumps(configuration).encode())
        self._publish(self._topic("availability"), b"online")

    def send(self, content: bytes) -> None:
        self._publish(self._topic("state"), content)

    def close(self) -> None:
        if self._client is not None and not self._lost:
            with suppress(UnreachableError):  # the broker will say it
                self._publish(self._topic("availability"), b"offline")
        if self._client is not None:
            self._client.disconnect()
            self._client.loop_stop()

    def _publish(self, topic: str, content: bytes) -> None:
        """Send one message and wait until the broker has it."""
        if self._lost:
            raise UnreachableError("has closed the connection")
        message = self._client.publish(topic, content, qos=1, retain=True)
        if message.rc != self._library.MQTT_ERR_SUCCESS:  # gone, and on_disconnect yet to come
            self._leave()
            raise UnreachableError("has closed the connection")
        with self._news:
            self._news.wait_for(lambda: self._lost or message.is_published(), ANSWER_SECONDS)
        if not message.is_published():
            reason = "has closed the connection" if self._lost else "does not answer"
            self._leave()
            raise UnreachableError(reason, in_doubt=True)

    def _leave(self) -> None:
        """Drop the connection without a word."""
        client, self._client = self._client, None
        if client is not None:
            client.on_disconnect = None
            connection = client.socket()
            if connection is not None:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            client.loop_stop()

    def _on_connect(
        self, client: object, data: object, flags: object, reason: object, _: object
    ) -> None:
        with self._news:
            self._connected = reason
            self._news.notify_all()

    def _on_disconnect(self, *_: object) -> None:
        with self._news:
            self._lost = True
            self._news.notify_all()

    def _on_publish(self, *_: object) -> None:
        with self._news:
            self._news.notify_all()

    def _topic(self, leaf: str) -> str:
        return f"ser/{self._device}/{leaf}"

    def _discovery(self) -> dict[str, dict[str, Any]]:
        """What https://www.home-assistant.io/integrations/sensor.mqtt asks for."""
        common = {
            "state_topic": self._topic("state"),
            "availability_topic": self._topic("availability"),
            "device": {
                "identifiers": [f"ser_{self._device}"],
                "name": f"Speech emotion {self._device}",
                "model": "ser-tf",
            },
            "origin": {"name": "ser-tf"},
        }
        emotion = {
            "name": "Emotion",
            "unique_id": f"ser_{self._device}_emotion",
            "value_template": "{{ value_json.state }}",
            "json_attributes_topic": self._topic("state"),
            "device_class": "enum",
            "options": self._states,
            "icon": "mdi:account-voice",
        }
        confidence = {
            "name": "Confidence",
            "unique_id": f"ser_{self._device}_confidence",
            "value_template": "{{ (value_json.confidence * 100) | round(1) }}",
            "unit_of_measurement": "%",
            "state_class": "measurement",
            "icon": "mdi:percent",
        }
        return {"emotion": common | emotion, "confidence": common | confidence}
