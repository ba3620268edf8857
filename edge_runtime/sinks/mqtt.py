"""MQTT: one record a message, acknowledged by the broker. Wants the extra ``mqtt``."""

from __future__ import annotations

import contextlib
import queue
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from crackedge.edge_runtime.errors import MissingExtraError
from crackedge.edge_runtime.records import Record
from crackedge.edge_runtime.sinks.jsonl import json_line
from crackedge.edge_runtime.sinks.network_sinks import CONNECT_S, SEND_S

if TYPE_CHECKING:
    import paho.mqtt.client as paho

_KEEP_ALIVE_S = 20


def require_mqtt() -> None:
    """Turn a missing extra into the line to type.

    Raises:
        MissingExtraError: it is missing.
    """
    if find_spec("paho") is None:
        raise MissingExtraError("mqtt:// needs paho-mqtt: pip install 'crackedge[mqtt]'")


class MqttLink:
    """Messages to a topic of a broker, each delivered at least once.

    Args:
        host: of the broker.
        port: of the broker.
        topic: of all messages.
        user: where the broker asks for one.
        password: of the user.
        tls: whether to encrypt, and to check the broker's certificate.
    """

    def __init__(
        self, host: str, port: int, topic: str, *, user: str | None, password: str | None, tls: bool = False
    ) -> None:
        require_mqtt()
        self._address, self._topic, self._user, self._password, self._tls = (host, port), topic, user, password, tls
        self._client: paho.Client | None = None

    def open(self) -> None:
        """Connect; see :class:`.network_sinks.Link`."""
        import paho.mqtt.client as paho
        from paho.mqtt.enums import CallbackAPIVersion

        answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
        client = self._client = paho.Client(CallbackAPIVersion.VERSION2, reconnect_on_failure=False)
        client.connect_timeout = CONNECT_S
        client.on_connect = lambda *answer: answers.put(answer[3])
        if self._user is not None:
            client.username_pw_set(self._user, self._password)
        if self._tls:
            client.tls_set()
        client.connect(*self._address, keepalive=_KEEP_ALIVE_S)
        client.loop_start()
        try:
            answer = answers.get(timeout=CONNECT_S)
        except queue.Empty:
            raise TimeoutError(None, "no answer from the broker") from None
        if answer.is_failure:
            raise ConnectionRefusedError(None, f"the broker says: {answer}")

    def send(self, record: Record) -> None:
        """Publish, and wait for the broker's acknowledgement; see :class:`.network_sinks.Link`."""
        assert self._client is not None
        sent = self._client.publish(self._topic, json_line(record).rstrip(), qos=1)
        acknowledged = False
        with contextlib.suppress(RuntimeError, ValueError):  # both calls raise where the connection is gone already
            sent.wait_for_publish(SEND_S)
            acknowledged = sent.is_published()
        if not acknowledged:
            raise ConnectionError(None, "no acknowledgement from the broker")

    def close(self) -> None:
        """Disconnect; see :class:`.network_sinks.Link`."""
        if self._client is not None:
            self._client.disconnect()
            self._client.loop_stop()
            self._client = None
