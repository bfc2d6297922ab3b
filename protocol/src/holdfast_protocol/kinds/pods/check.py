"""Whether a site could ever take a Kubernetes object, as far as the object itself tells: the hub asks before it is placed."""

from collections.abc import Callable
from typing import Any, Final

from holdfast_protocol.kinds.pods.admission import Rules, admit
from holdfast_protocol.kinds.pods.claim import claim
from holdfast_protocol.kinds.pods.contents import contents
from holdfast_protocol.kinds.pods.cron_job import cron_job
from holdfast_protocol.kinds.pods.job import job
from holdfast_protocol.kinds.pods.reading import workload
from holdfast_protocol.kinds.pods.service import service
from holdfast_protocol.wire.names import resource_key
from holdfast_protocol.wire.target import resource

ANY_SITE: Final = Rules(host_paths=("/",), privileged=True)  # what a site does not allow is for the site to say


def check(body: dict[str, Any]) -> None:
    """Raise PermanentError or UnsupportedError, naming every path, for an object no site can take. `kind` is in KINDS."""
    _CHECKS[str(body["kind"])](body)


def _workload(body: dict[str, Any]) -> None:
    admit(workload(resource(body)), ANY_SITE)


def _job(body: dict[str, Any]) -> None:
    admit(job(resource_key(body), body).workload, ANY_SITE)


def _cron_job(body: dict[str, Any]) -> None:
    admit(cron_job(resource_key(body), body).job.workload, ANY_SITE)


_CHECKS: Final[dict[str, Callable[[dict[str, Any]], object]]] = {
    "Deployment": _workload,
    "StatefulSet": _workload,
    "DaemonSet": _workload,
    "Pod": _workload,
    "Job": _job,
    "CronJob": _cron_job,
    "Service": lambda body: service(resource_key(body), body),
    "PersistentVolumeClaim": lambda body: claim(resource_key(body), body),
    "ConfigMap": contents,
    "Secret": contents,
}
KINDS: Final = frozenset(_CHECKS)
