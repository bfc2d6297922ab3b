"""From what a Bridge wants to what runs it. Blocking: files are read."""

from collections.abc import Mapping

from holdfast_protocol.calendar.durations import seconds
from holdfast_protocol.kinds import bridge
from holdfast_protocol.kinds.bridge import Place, Side, Wanted
from holdfast_protocol.relay.queue import Bounds
from holdfast_protocol.relay.run import Plan, bounded
from holdfast_protocol.relay.tls import client_context, file_texts
from holdfast_protocol.runtime.mqtt import Options


def plan_of(want: Wanted, name: str, place: Place, texts: Mapping[str, str], *, own: str = "") -> Plan:
    """Return what to run: `texts` by place, those of files are read here; `own` is the mark, SITE/NAME unless said.

    Raises PermanentError for what cannot be used.
    """
    known = {**texts, **file_texts(want.materials)}
    given = want.spec
    local = given.local or Side(host=place.host or "127.0.0.1", port=place.port)
    return Plan(
        own=own or f"{place.site}/{name}",
        out=want.out,
        into=want.into,
        local=_options(local, "local", name, place, known),
        remote=_options(given.remote, "remote", name, place, known),
        window=given.window,
        product=given.broker,
    )


def bounds_of(want: Wanted) -> Bounds:
    """Return the bounds of its queue, of each way."""
    return Bounds(want.bytes, want.messages, want.spec.buffer.drop, want.ttl)


def _options(side: Side, which: str, name: str, place: Place, texts: Mapping[str, str]) -> Options:
    host, port = side.address
    called = bridge.client_id(side, place.site, name)
    return bounded(
        Options(
            client_id=called if which == "remote" or side.client_id else f"{called}-local",
            host=host,
            port=port,
            username=side.username,
            password=texts.get(f"{which}.password", ""),
            keepalive=seconds(side.keep_alive, f"spec.{which}.keepAlive"),
            version=5 if side.version == "5" else 4,
            tls=client_context(texts, which) if side.tls is not None else None,
            server_name=side.tls.server_name if side.tls is not None else "",
        )
    )
