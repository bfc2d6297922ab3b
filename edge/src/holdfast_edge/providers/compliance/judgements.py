"""What an assertion finds: met, or why not and what a person can do. Pure."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from holdfast_edge.core.observed import Observed
from holdfast_edge.providers.compliance.blocks import Storage
from holdfast_edge.providers.compliance.firmware import Boot
from holdfast_protocol.kinds import disk_encryption, secure_boot
from holdfast_protocol.wire.names import ResourceKey

MAX_NAMED: Final = 5  # failures told in full
_LEVELS: Final = ("none", "integrity", "confidentiality")


class Failure(msgspec.Struct, frozen=True):
    reason: str
    message: str
    hint: str


def observed(key: ResourceKey, failures: list[Failure], status: Mapping[str, Any]) -> Observed:
    """Return an assertion as the loop sees it: always as wanted, for there is nothing to change; degraded when it fails."""
    if not failures:
        return Observed(key=key, exists=True, reason="Compliant", status={"compliant": True, **status})
    more = f"; and {len(failures) - MAX_NAMED} more" if len(failures) > MAX_NAMED else ""
    return Observed(
        key=key,
        exists=True,
        readiness="degraded",
        reason=failures[0].reason,
        message="; ".join(each.message for each in failures[:MAX_NAMED]) + more,
        hint=failures[0].hint,
        status={"compliant": False, **status},
    )


def encryption_failures(want: disk_encryption.Spec, found: Mapping[str, Storage]) -> list[Failure]:
    """Return what is not encrypted as asked; `found` by what it is of: "/srv", "/dev/sda2", "swap /dev/sda3"."""
    failures = []
    for what, storage in found.items():
        if storage.trouble:
            hint = "name mounts and devices that are on a disk here"
            failures.append(Failure("CannotTell", f"{what}: {storage.trouble}", hint))
        elif not storage.encrypted:
            hint = "encryption is set up at installation (LUKS); Holdfast changes no disk"
            failures.append(Failure("NotEncrypted", f"{what} lies on a disk in the clear", hint))
        elif want.types and not set(storage.ciphers) <= set(want.types):
            said = f"{what} is encrypted by {', '.join(storage.ciphers)}, wanted {' or '.join(want.types)}"
            failures.append(Failure("OtherCipher", said, "cryptsetup convert turns luks1 into luks2"))
    return failures


def boot_failures(want: secure_boot.Spec, boot: Boot) -> list[Failure]:
    """Return what of the boot is not as asked."""
    failures = []
    firmware = "switch it on in the firmware's set-up"
    if want.enabled:
        if not boot.efi:
            failures.append(Failure("NoEfi", "the machine was not booted by EFI firmware", "boot it in UEFI mode"))
        elif boot.secure is None:
            hint = "mount efivarfs at /sys/firmware/efi/efivars"
            failures.append(Failure("CannotTell", "the firmware's variables cannot be read", hint))
        elif not boot.secure:
            failures.append(Failure("SecureBootOff", "secure boot is off", firmware))
        if boot.setup:
            failures.append(Failure("SetupMode", "the firmware is in set-up mode: anyone can put keys in", firmware))
        if boot.unchecked:
            failures.append(Failure("ShimUnchecked", "the shim verifies nothing", "mokutil --enable-validation"))
    if want.lockdown and _LEVELS.index(want.lockdown) > _level(boot.lockdown):
        said = f"the kernel's lockdown is {boot.lockdown or 'not there'}, wanted {want.lockdown}"
        failures.append(Failure("NotLockedDown", said, f"boot the kernel with lockdown={want.lockdown}"))
    return failures


def _level(lockdown: str | None) -> int:
    return _LEVELS.index(lockdown) if lockdown in _LEVELS else 0
