"""Golden messages: one of each kind with every field said, written once for each version of the wire and kept for ever.

`python -m support.golden` (with PYTHONPATH=tests) writes the ones that do not exist yet and never touches another.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from holdfast_protocol.wire import envelope, messages, strict, target, topics
from holdfast_protocol.wire.drift import Rule
from holdfast_protocol.wire.messages import (
    Cause,
    Clock,
    Condition,
    Down,
    Hello,
    Hold,
    HubState,
    InstanceStatus,
    Presence,
    Progress,
    ResourceStatus,
    Resync,
    Status,
    StreamAck,
    StreamState,
)
from holdfast_protocol.wire.names import NodeName, ResourceKey
from holdfast_protocol.wire.program import Late, Program, ProgramInstance
from support.builders import FLEET, HUB, NODE, SITE, a_target, file_body

FOLDER = Path(__file__).resolve().parents[1] / "wire" / "v1"
ME = NodeName("node-1")
A, B = "a" * 64, "b" * 64
NOW = 1_790_000_000_000
KEYS = {HUB.keyid: HUB.public, NODE.keyid: NODE.public}

_file = target.resource(
    file_body("motd", "/etc/motd", "hello\n", mode="0644"), id="motd", instance="west", blueprint="quality", revision=3
)
_unit = target.resource(
    {
        "apiVersion": "compute.start-alpha.io/v1alpha1",
        "kind": "SystemdService",
        "metadata": {"name": "driver"},
        "spec": {"unit": "[Service]\nExecStart=/usr/bin/driver --daemon\n"},
    },
    depends_on=(_file.key,),
)


def samples() -> dict[str, bytes]:
    """Return each message by the name of its file."""
    content = target.Content(resources=(_file, _unit), requires=("resources/v1",))
    beacon = target.Beacon(FLEET, SITE, 1, 7, A, NOW, NOW + 86_400_000)
    hello = Hello(
        fleet=FLEET,
        site=SITE,
        node=ME,
        boot_id="5b8b0299-28be-4656-ae15-10633ac83143",
        session="00112233aabbccdd",
        nonce="0f" * 16,
        clock=Clock(NOW, 3_600_000, "synced"),
        agent="0.1.0",
        epoch=1,
        generation=7,
        digest=A,
        streams={"p0": StreamState("1" * 32, 3, 9, 2), "p3": StreamState("2" * 32, 0, 0, 0)},
        features=("resources/v1",),
        facts={"arch": "aarch64", "os": "debian"},
    )
    status = Status(
        fleet=FLEET,
        site=SITE,
        node=ME,
        boot_id="5b8b0299-28be-4656-ae15-10633ac83143",
        sequence=3_600_123,
        at=NOW,
        state="Degraded",
        epoch=1,
        generation=7,
        digest=A,
        observed_digest=B,
        last_good=B,
        resources=(
            ResourceStatus(_file.key, Condition("Ready", "AsWanted", "", NOW), _file.digest, "west"),
            ResourceStatus(_unit.key, Condition("Failed", "Denied", "not allowed", NOW, "ask for more"), "", "west"),
        ),
        counts={"Failed": 1, "Ready": 1},
        holds=(Hold("82e94646", "cutting over", NOW + 60_000, "uid 0", (ResourceKey("File/motd"),)),),
        problems=("target refused: Stale: generation (1, 6) is older than (1, 7)",),
    )
    down = Down(
        fleet=FLEET,
        site=SITE,
        node=ME,
        time=NOW,
        acks=(StreamAck("p3", "2" * 32, 40, credit=4, missing=((42, 44),), fork=True, high=50, chain=B),),
        resync=Resync("0f" * 16, 1, 7, A, conflict=True),
    )
    gone_back = Progress(
        "stuck",
        held=6,
        last_good=6,
        cause=Cause("readiness", _unit.key, "CrashLoop", "not ready within 600 s", "look at its log"),
        second=Cause("apply", _file.key, "DiskFull", "no room", "free space"),
        bad=(A,),
        next="going back to generation 6 is tried on and on; a newer target ends it",
    )
    lenient = target.Content(
        resources=(_file,),
        requires=("resources/v1", "drift/v1"),
        drift=(Rule("quiet", "report", ("File/motd", "SystemdService/*")), Rule("rest", "ignore")),
    )
    evaluated = target.Content(
        resources=(_file,),
        requires=("resources/v1", "programs/v1"),
        programs=(
            Program(
                "quality",
                3,
                {
                    "apiVersion": "holdfast.io/v1alpha1",
                    "kind": "Blueprint",
                    "metadata": {"name": "quality"},
                    "spec": {"schema": {"apiVersion": "v1alpha1", "kind": "Quality"}, "resources": []},
                },
                (
                    ProgramInstance(
                        "Quality/west",
                        {"apiVersion": "v1alpha1", "kind": "Quality", "metadata": {"name": "west"}, "spec": {"n": 1}},
                        (Late("seen", "File", "externalRef reads what is at a site", external=True),),
                    ),
                ),
            ),
        ),
    )
    condition = {"type": "Served", "status": "True", "reason": "", "message": ""}
    instances = (InstanceStatus("Quality/west", "ACTIVE", {"n": 1}, (condition,), "divide by zero"),)
    return {
        "status-instances": messages.seal(msgspec.structs.replace(status, instances=instances), NODE),
        "target-programs": target.seal(a_target(content=evaluated, generation=9, previous=A), [HUB]),
        "status-progress": messages.seal(msgspec.structs.replace(status, progress=gone_back), NODE),
        "target-drift": target.seal(a_target(content=lenient, generation=8, previous=A), [HUB]),
        "target": target.seal(a_target(content=content, generation=7, previous=B), [HUB]),
        "beacon": envelope.seal(target.BEACON, strict.encode(beacon), [HUB]),
        "presence": messages.encode_presence(Presence(SITE, ME, True, "5b8b0299", "00112233aabbccdd", "0.1.0")),
        "hello": messages.seal(hello, NODE),
        "status": messages.seal(status, NODE),
        "down": messages.seal(down, HUB),
        "hub": messages.seal(HubState(FLEET, True, 1, NOW, "ffeeddccbbaa9988"), HUB),
    }


def _target(data: bytes) -> bytes:
    expected = target.Expected(FLEET, SITE, {HUB.keyid: HUB.public}, {HUB.keyid: 1})
    return target.seal(target.open_target(data, expected), [HUB])


def _beacon(data: bytes) -> bytes:
    payload = envelope.open_sealed(data, target.BEACON, KEYS, limit=topics.TABLE["beacon"].limit)
    return envelope.seal(target.BEACON, strict.encode(strict.decode(payload, target.Beacon, limit=len(payload))), [HUB])


def _signed(kind: Any, signer: envelope.Signer) -> Callable[[bytes], bytes]:
    return lambda data: messages.seal(messages.open_message(data, kind, KEYS), signer)


AGAIN: dict[str, Callable[[bytes], bytes]] = {  # decode and encode again
    "target": _target,
    "target-drift": _target,
    "target-programs": _target,
    "beacon": _beacon,
    "presence": lambda data: messages.encode_presence(messages.decode_presence(data)),
    "hello": _signed(Hello, NODE),
    "status": _signed(Status, NODE),
    "status-progress": _signed(Status, NODE),
    "status-instances": _signed(Status, NODE),
    "down": _signed(Down, HUB),
    "hub": _signed(HubState, HUB),
}


if __name__ == "__main__":
    for name, data in samples().items():
        path = FOLDER / f"{name}.json"
        if not path.exists():
            path.write_bytes(data)
