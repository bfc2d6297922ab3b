"""Asking: every call of a provider, with a deadline, and whatever goes wrong typed."""

from collections.abc import Awaitable
from typing import TypeVar

import anyio

from holdfast_edge.core.observed import in_text
from holdfast_protocol.errors import HoldfastError, PermanentError, ProviderError, TransientError

T = TypeVar("T")


async def asked(call: Awaitable[T], *, within: float, phase: str, resource: str = "") -> T:
    """Return what a provider answers within so many seconds; whatever goes wrong is raised as a ProviderError."""
    try:
        with anyio.fail_after(within):
            return await call
    except ProviderError as error:
        error.phase, error.resource = error.phase or phase, error.resource or resource
        error.message, error.hint = in_text(error.message), in_text(error.hint)
        raise
    except HoldfastError as error:
        raise PermanentError(
            in_text(error.message), reason=error.reason, phase=phase, resource=resource, hint=in_text(error.hint)
        ) from error
    except TimeoutError:
        raise TransientError(
            f"no answer within {within:g} s", reason="Deadline", phase=phase, resource=resource
        ) from None
    except (
        Exception
    ) as error:  # a provider's bug is reported as its resource's failure, and the rest of the site goes on
        raise PermanentError(
            in_text(f"{type(error).__name__}: {error}"), reason="ProviderBug", phase=phase, resource=resource
        ) from error
