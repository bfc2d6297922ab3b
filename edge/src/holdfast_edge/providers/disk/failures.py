"""Errors of the operating system as errors of a provider: again later, or not before something changes; and what cannot be
looked at for one of them."""

import errno
from collections.abc import Callable, Sequence
from typing import Final

from holdfast_edge.core.observed import Observed
from holdfast_protocol.errors import HoldfastError, PermanentError, ProviderError, TransientError
from holdfast_protocol.wire.names import ResourceKey
from holdfast_protocol.wire.target import Resource

_TRANSIENT: Final = {
    errno.ENOSPC: "DiskFull",
    errno.EDQUOT: "DiskFull",
    errno.EIO: "DiskError",
    errno.ESTALE: "DiskError",
    errno.EBUSY: "Busy",
    errno.ETXTBSY: "Busy",
    errno.EEXIST: "Busy",  # lost a race for a name that was just free
    errno.EMFILE: "TooManyFiles",
    errno.ENFILE: "TooManyFiles",
    errno.ENOMEM: "OutOfMemory",
}
_PERMANENT: Final = {
    errno.EACCES: ("NotPermitted", "the agent needs more rights here"),
    errno.EPERM: ("NotPermitted", "the agent needs more rights here"),
    errno.ENOENT: ("NotFound", "the allowed folder itself is missing"),
    errno.EROFS: ("ReadOnly", "the file system is mounted read-only"),
    errno.ELOOP: ("SymbolicLink", "write the path without symbolic links"),
    errno.ENOTDIR: ("NotAFolder", "a part of the path is no folder; links count as none"),
    errno.EISDIR: ("IsAFolder", "a folder stands where the file should be"),
    errno.ENAMETOOLONG: ("BadPath", "a part of the path is too long"),
}


def provider_error(error: OSError, path: str) -> ProviderError:
    """Return the typed error for what the system said about `path`."""
    text = f"{path}: {error.strerror or error}"
    if error.errno in _TRANSIENT:
        return TransientError(text, reason=_TRANSIENT[error.errno])
    reason, hint = _PERMANENT.get(error.errno or 0, ("FileSystem", ""))
    return PermanentError(text, reason=reason, hint=hint)


def unseen(key: ResourceKey, error: HoldfastError, *, exists: bool = False) -> Observed:
    """Return a resource that cannot be looked at, or not applied as it is written: with the reason."""
    return Observed(
        key=key,
        exists=exists,
        differences=(error.message,),
        readiness="degraded",
        reason=error.reason,
        message=error.message,
    )


def each_seen(resources: Sequence[Resource], look: Callable[[Resource], Observed]) -> dict[ResourceKey, Observed]:
    """Look at each resource by itself: one that cannot be looked at is returned with the reason, like `unseen`."""
    found = {}
    for resource in resources:
        try:
            found[resource.key] = look(resource)
        except HoldfastError as error:
            found[resource.key] = unseen(resource.key, error)
    return found


def refusal(error: HoldfastError) -> PermanentError:
    """Return what is wrong with a spec as a provider says it."""
    return PermanentError(error.message, reason=error.reason, hint=error.hint)
