"""From a kept source to what runs it. A type of source is one entry of `_OPENERS`, beside its entry at the kinds."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final, Protocol

import msgspec

from holdfast_edge.core.sources import Phase, SourceState
from holdfast_edge.ingest.attempts import is_serious
from holdfast_edge.ingest.carrying import Runner, beside, mqtt_giving, noted
from holdfast_edge.ingest.intake import Intake
from holdfast_edge.ingest.mqtt import IN_FLIGHT, MAX_PACKET, run_mqtt
from holdfast_edge.ingest.noticing import Noticing
from holdfast_edge.ingest.taking import Sink
from holdfast_edge.ingest.tls import client_context, server_context
from holdfast_edge.settings import Near
from holdfast_edge.store.orders import Orders
from holdfast_edge.store.sources import Kept
from holdfast_protocol.calendar.durations import seconds
from holdfast_protocol.errors import PermanentError, WireError
from holdfast_protocol.kinds import device_source
from holdfast_protocol.kinds.device_source import Wanted
from holdfast_protocol.kinds.inputs import Amqp, Http, Mqtt, Sparkplug
from holdfast_protocol.relay.renewal import file_marks, run_renewal
from holdfast_protocol.runtime.clock import Clock
from holdfast_protocol.runtime.link import LinkState
from holdfast_protocol.runtime.mqtt import Dial, Options
from holdfast_protocol.wire.names import SiteName


class Tell(Protocol):
    """Note how a source does: its phase, a CamelCase reason and a message, both "" while all is well."""

    def __call__(self, phase: Phase, reason: str = "", problem: str = "") -> None: ...


class Surroundings(msgspec.Struct, frozen=True):
    """What every source needs. `believed` answers whether the wall clock is right; `orders` None: none are carried;
    `near`: the site's broker."""

    dial: Dial
    outbox: Sink
    clock: Clock
    site: SiteName
    believed: Callable[[], bool]
    orders: Orders | None = None
    near: Near | None = None


class Opening(msgspec.Struct, frozen=True):
    """A source about to run."""

    kept: Kept
    want: Wanted
    around: Surroundings
    intake: Intake
    tell: Tell


def opened(kept: Kept, around: Surroundings, state: SourceState, tell: Tell) -> Runner:
    """Return what runs a source until it fails or is cancelled. Blocks: files are read, rules compiled.

    Raises PermanentError for what was kept and cannot be used (any more).
    """
    try:
        want = device_source.wanted(kept.spec, kept.name)
    except WireError as error:
        raise PermanentError(error.message, reason=error.reason, hint=error.hint) from None
    if around.orders is not None:
        noticing = Noticing(around.outbox, around.orders.whereabouts, kept.key, able=kept.carries)
        around = msgspec.structs.replace(around, outbox=noticing)
    intake = Intake(
        f"source/{kept.name}",
        want.map(),
        around.outbox,
        around.clock,
        bounds=want.bounds,
        believed=around.believed,
        state=state,
    )
    marks = file_marks(want.materials)
    run = _OPENERS[want.type](Opening(kept, want, around, intake, tell))
    return beside(run, partial(run_renewal, want.materials, marks, around.clock)) if marks else run


def _mqtt(source: Opening) -> Runner:
    given: Mqtt = source.want.section
    options, clock = _options(source, given), source.around.clock
    on_state = _telling(source)
    taking = partial(
        run_mqtt, source.around.dial, lambda: options, given.topics, source.intake, clock, on_state=on_state
    )
    orders, state = source.around.orders, source.intake.state
    if orders is None or (given.commands is None and given.desired is None):
        return taking
    return beside(taking, mqtt_giving(source.around.dial, options, orders, clock, source.kept.key, given, state))


def _sparkplug(source: Opening) -> Runner:
    from holdfast_edge.ingest.sparkplug import run_sparkplug
    from holdfast_edge.ingest.sparkplug_orders import Telling
    from holdfast_edge.ingest.taking import Taking

    given: Sparkplug = source.want.section
    options, around = _options(source, given), source.around
    return partial(
        run_sparkplug,
        around.dial,
        lambda: options,
        given.host_id or f"holdfast-{around.site}",
        given.groups,
        Taking(f"source/{source.kept.name}", around.outbox, around.clock, state=source.intake.state),
        around.clock,
        bounds=source.want.bounds,
        believed=around.believed,
        telling=Telling(around.orders, around.clock, source.kept.key) if around.orders and given.commands else None,
        on_state=_telling(source),
    )


def _amqp(source: Opening) -> Runner:
    if source.want.section.version == "1.0":
        return _amqp10(source)
    try:
        from holdfast_edge.ingest.amqp import Feed, run_amqp
        from holdfast_edge.ingest.amqp_orders import run_amqp_orders
    except ModuleNotFoundError as error:
        hint = "install holdfast-edge[amqp] on this node"
        raise PermanentError(f"no AMQP on this node: {error}", reason="NoAmqp", hint=hint) from None

    given: Amqp = source.want.section
    feed = Feed(
        host=given.host,
        port=given.port or (5671 if given.tls else 5672),
        queue=given.queue,
        username=given.username or "guest",
        password=source.kept.materials.get("password", "guest"),
        virtual_host=given.virtual_host,
        exchange=given.exchange,
        keys=given.keys,
        prefetch=given.prefetch,
        heartbeat=seconds(given.keep_alive, "spec.amqp.keepAlive"),
        tls=client_context(source.want, source.kept) if given.tls else None,
    )
    taking = partial(run_amqp, feed, source.intake, source.around.clock, on_state=_telling(source))
    if source.around.orders is None or given.commands is None:
        return taking
    giving = partial(
        run_amqp_orders,
        feed,
        given.commands,
        source.around.orders,
        source.around.clock,
        source.kept.key,
        on_state=noted(source.intake.state),
    )
    return beside(taking, giving)


def _amqp10(source: Opening) -> Runner:
    from holdfast_edge.core.amqp10.receiver import Terms
    from holdfast_edge.ingest.amqp10 import LARGEST, Feed10, run_amqp10

    given: Amqp = source.want.section
    terms = Terms(
        container=f"holdfast-{source.around.site}-{source.kept.name}",
        hostname=given.host if given.virtual_host == "/" else f"vhost:{given.virtual_host}",
        address=given.address,
        username=given.username,
        password=source.kept.materials.get("password", ""),
        has_certificate=given.tls is not None and given.tls.cert is not None,
        credit=given.prefetch,
        largest=LARGEST,
        idle=int(seconds(given.keep_alive, "spec.amqp.keepAlive")),
    )
    feed = Feed10(
        given.host,
        given.port or (5671 if given.tls else 5672),
        terms,
        client_context(source.want, source.kept) if given.tls else None,
        given.tls.server_name if given.tls else "",
    )
    return partial(run_amqp10, feed, source.intake, source.around.clock, on_state=_telling(source))


def _options(source: Opening, given: Mqtt | Sparkplug) -> Options:
    port = given.port or (8883 if given.tls else 1883)
    return Options(
        client_id=given.client_id or f"holdfast-{source.around.site}-{source.kept.name}",
        host=given.host,
        port=port,
        unix=_door(source.around.near, given, port),
        username=given.username,
        password=source.kept.materials.get("password", ""),
        keepalive=seconds(given.keep_alive, "spec.keepAlive"),
        receive_maximum=IN_FLIGHT,
        max_packet=MAX_PACKET,
        queue=2 * IN_FLIGHT,
        version=5 if given.version == "5" else 4,
        tls=client_context(source.want, source.kept) if given.tls else None,
        server_name=given.tls.server_name if given.tls else "",
    )


def _door(near: Near | None, given: Mqtt | Sparkplug, port: int) -> str:
    """Return the agent's own way into the broker it runs, "" for another broker or a login that was given."""
    if near is None or given.username or given.tls is not None:
        return ""
    is_ours = port == near.port and given.host in {near.host, "127.0.0.1", "localhost"}
    return near.unix if is_ours else ""


def _telling(source: Opening) -> Callable[[LinkState], None]:
    def take(state: LinkState) -> None:
        match state.doing:
            case "settled":
                source.tell("connected")
            case "waiting":
                source.tell("connecting", state.reason if is_serious(state) else "", state.message)

    return take


def _http(source: Opening) -> Runner:
    from holdfast_edge.ingest.exchange import Keys
    from holdfast_edge.ingest.http_server import run_http

    given: Http = source.want.section
    context = server_context(source.want, source.kept) if given.tls else None
    keys = Keys(source.kept.materials.get("token", ""), given.username, source.kept.materials.get("password", ""))
    return partial(
        run_http,
        given.address,
        given.port,
        source.intake,
        source.around.clock,
        keys=keys,
        listed=source.want.reader,
        plain=not source.want.rules,
        tls=context,
        tell=lambda: source.tell("connected"),
    )


_OPENERS: Final[Mapping[str, Callable[[Opening], Runner]]] = {
    "mqtt": _mqtt,
    "http": _http,
    "sparkplug": _sparkplug,
    "amqp": _amqp,
}
