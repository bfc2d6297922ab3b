"""From what a Bridge wants to what runs it. Blocking: files are read."""

from collections.abc import Callable, Mapping
from functools import partial

import msgspec

from holdfast_protocol.calendar.durations import seconds
from holdfast_protocol.kinds import bridge
from holdfast_protocol.kinds.bridge import Place, Side, Wanted
from holdfast_protocol.relay.queue import Bounds
from holdfast_protocol.relay.renewal import file_marks
from holdfast_protocol.relay.run import Plan, bounded
from holdfast_protocol.relay.tls import client_context, file_texts
from holdfast_protocol.runtime.mqtt import Options


def plan_of(want: Wanted, name: str, place: Place, texts: Mapping[str, str], *, own: str = "") -> Plan:
    """Return what to run: `texts` by place, those of files are read here; `own` is the mark, SITE/NAME unless said.

    Raises PermanentError for what cannot be used.
    """
    marks = file_marks(want.materials)
    known = {**texts, **file_texts(want.materials)}
    given = want.spec
    called = partial(bridge.client_id, name=name, site=place.site, node=place.node if given.run == "site" else "")
    near = _options(given.local or Side(host=place.host or "127.0.0.1", port=place.port), "local", called, known)
    return Plan(
        own=own or f"{place.site}/{name}",
        out=want.out,
        into=want.into,
        local=near if given.local is not None else msgspec.structs.replace(near, unix=place.unix),
        remote=_options(given.remote, "remote", called, known),
        window=given.window,
        product=given.broker,
        materials=want.materials,
        marks=marks,
    )


def bounds_of(want: Wanted) -> Bounds:
    """Return the bounds of its queue, of each way."""
    return Bounds(want.bytes, want.messages, want.spec.buffer.drop, want.ttl)


def _options(side: Side, which: str, called: Callable[[Side], str], texts: Mapping[str, str]) -> Options:
    host, port = side.address
    return bounded(
        Options(
            client_id=called(side) if which == "remote" or side.client_id else f"{called(side)}-local",
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
