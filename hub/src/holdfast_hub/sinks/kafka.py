"""Readings into a topic of Kafka by an idempotent producer; a batch is handed over when every one of it is acknowledged."""

import time
from collections.abc import Sequence
from typing import Any, Final

import anyio
import anyio.to_thread
import msgspec

from holdfast_hub.blueprint.destinations import Kafka
from holdfast_hub.sinks.outlet import Refusal, in_halves, missing, secret, unreachable
from holdfast_hub.sinks.record import identity_of, record_of
from holdfast_hub.sinks.trust import tls_context
from holdfast_hub.store.sinks import Entry

QUEUE: Final = 16 * 1024  # KiB that wait in the library
AT_ONCE: Final = 2  # threads of one sink


class KafkaOutlet:
    """INVARIANTS: one producer; nothing is left in it between two batches."""

    def __init__(self, name: str, wanted: Kafka) -> None:
        """Raises PermanentError `NoDriver` without the extra it needs."""
        try:
            import confluent_kafka
        except ImportError as error:
            raise missing("confluent-kafka", "kafka") from error
        self._kafka = confluent_kafka
        codes = confluent_kafka.KafkaError
        self._unfit = (codes.MSG_SIZE_TOO_LARGE, codes.INVALID_RECORD, codes.INVALID_MSG_SIZE)
        self._name = name
        self._wanted = wanted
        self._producer: Any = None  # confluent_kafka.Producer once there is one
        self._limiter = anyio.CapacityLimiter(AT_ONCE)
        self._said = ""  # the library's last word on why it is not connected

    async def send(self, entries: Sequence[Entry]) -> Refusal:
        return await in_halves(entries, self._attempt)

    async def _attempt(self, entries: Sequence[Entry]) -> tuple[bool, Refusal]:
        """Hand over what is left of some readings: those that were unfit are the next to be halved."""
        password = await secret(self._wanted.password_file) if self._wanted.password_file else ""
        try:
            unfit, why = await anyio.to_thread.run_sync(
                self._hand_over, entries, password, abandon_on_cancel=True, limiter=self._limiter
            )
        except self._kafka.KafkaException as error:
            raise unreachable(error.args[0].str()) from error
        if not unfit:
            return True, Refusal()
        if len(unfit) == len(entries):
            return False, Refusal(why=why)
        return True, await in_halves(unfit, self._attempt)

    def _hand_over(self, entries: Sequence[Entry], password: str) -> tuple[list[Entry], str]:
        """Produce and wait for every report; return what will never fit as it was sent, and why.

        Raises TransientError when one is missing.
        """
        if self._producer is None:
            tls_context(self._wanted.tls)  # says which file is wrong; the library does not
            self._producer = self._kafka.Producer(self._settings(password))
        unfit: list[Entry] = []
        taken: list[Entry] = []
        failed: list[str] = []
        whys: list[str] = []
        end = time.monotonic() + self._wanted.timeout_seconds

        def produce(entry: Entry) -> None:
            def on_delivery(error: Any, _: Any) -> None:
                if error is not None and error.code() in self._unfit:
                    unfit.append(entry)
                    whys.append(error.str())
                elif error is not None:
                    failed.append(error.str())
                else:
                    taken.append(entry)

            one = entry.series
            headers = {"id": identity_of(entry), "content-type": "application/json"}
            body, key = msgspec.json.encode(record_of(entry)), f"{one.site}/{one.device}".encode()
            while True:
                try:
                    self._producer.produce(
                        self._wanted.topic, body, key, headers=list(headers.items()), on_delivery=on_delivery
                    )
                except BufferError:  # what waits in the library is at its bound
                    if time.monotonic() > end:
                        raise unreachable(self._said or "not acknowledged in time") from None
                    self._producer.poll(0.1)
                except self._kafka.KafkaException as error:
                    on_delivery(error.args[0], None)
                    return
                else:
                    return

        for entry in entries:
            produce(entry)
            self._producer.poll(0)
        self._producer.flush(max(end - time.monotonic(), 0.1))  # what it says is left are not messages alone
        if left := len(entries) - len(taken) - len(unfit):
            what = f"{left} of {len(entries)} not acknowledged"
            raise unreachable(": ".join(each for each in (what, *failed[:1], self._said) if each))
        return unfit, whys[-1] if whys else ""

    def _settings(self, password: str) -> dict[str, Any]:
        """Return librdkafka's settings."""
        wanted, tls = self._wanted, self._wanted.tls
        kind = ("sasl_" if wanted.username else "") + ("ssl" if tls is not None else "plaintext")
        settings: dict[str, Any] = {
            "bootstrap.servers": ",".join(wanted.brokers),
            "client.id": f"holdfast-sink-{self._name}",
            "security.protocol": kind,
            "enable.idempotence": True,
            "acks": "all",
            "compression.type": "lz4",
            "linger.ms": 5,
            "queue.buffering.max.kbytes": QUEUE,
            "delivery.timeout.ms": wanted.timeout_seconds * 1000,
            "error_cb": self._on_error,
            "log_level": 0,  # what is wrong is raised
        }
        if wanted.username:
            settings |= {
                "sasl.mechanism": wanted.mechanism,
                "sasl.username": wanted.username,
                "sasl.password": password,
            }
        if tls is not None:
            files = {
                "ssl.ca.location": tls.ca_file,
                "ssl.certificate.location": tls.certificate_file,
                "ssl.key.location": tls.key_file,
            }
            settings |= {key: path for key, path in files.items() if path}
        return settings

    def _on_error(self, error: Any) -> None:
        self._said = error.str()

    async def close(self) -> None:
        """Let go what was not acknowledged: it is sent anew."""
        held, self._producer = self._producer, None
        if held is not None:
            await anyio.to_thread.run_sync(_end, held, abandon_on_cancel=True, limiter=self._limiter)


def _end(producer: Any) -> None:
    producer.purge()
    producer.flush(1)
