"""How the kinds of containers are shown, on the machine's own engine."""

from typing import Any, Final

from support.shown.row import Row

IMAGE: Final = "every:1"
STATE: Final = "/var/lib/holdfast"
_FOREVER: Final = "trap exit TERM; while true; do sleep 3600 & wait $!; done"
_HOST: Final = "/srv/every-host"


def _pod(word: str, script: str = _FOREVER, **more: Any) -> dict[str, Any]:
    main = {"name": "main", "image": IMAGE, "command": ["sh", "-c", script], "env": [{"name": "WORD", "value": word}]}
    return {"terminationGracePeriodSeconds": 1, "containers": [{**main, **more}]}


def _workload(app: str, word: str, **more: Any) -> dict[str, Any]:
    labels = {"app": app}
    return {
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": _pod(word)},
        **more,
    }


def _of(key: str) -> str:
    return f"docker ps -q --no-trunc --filter label=holdfast.io/resource={key}"


def _words(key: str) -> str:
    """Return a line that prints host name and word of every container of a resource that runs."""
    form = "{{.Config.Hostname}} {{range .Config.Env}}{{println .}}{{end}}"
    return f"{_of(key)} | xargs -r docker inspect -f '{form}' | sed 's/WORD=//; /^PATH=/d; /^$/d' | sort"


def _gone(key: str) -> str:
    return f"{_of(key)} | xargs -r docker rm -f >/dev/null"


def _running(kind: str, app: str, spec: tuple[dict[str, Any], dict[str, Any]], pod: str) -> Row:
    key = f"{kind}/{app}"
    return Row(
        *spec,
        look=_words(key),
        shows=(f"{pod} one", f"{pod} two"),
        drift=_gone(key),
        name=app,
    )


def _job(word: str) -> dict[str, Any]:
    pod = _pod(word, f"echo $WORD >>{_HOST}/job", volumeMounts=[{"name": "host", "mountPath": _HOST}])
    volumes = [{"name": "host", "hostPath": {"path": _HOST}}]
    return {"template": {"spec": {**pod, "restartPolicy": "Never", "volumes": volumes}}}


def _cron_job(word: str, schedule: str) -> dict[str, Any]:
    job = {"spec": {"template": {"spec": {**_pod(word), "restartPolicy": "Never"}}}}
    return {"schedule": schedule, "concurrencyPolicy": "Replace", "jobTemplate": job}


# As if the machine had been off for two hours: of the times missed the newest is made up for.
_HOURS_PASS: Final = f"sed -Ei 's/\"since\":[0-9.]+/\"since\":'$(($(date +%s) - 7200))'.0/' {STATE}/jobs/*nightly*.json"


def _claim(size: str) -> dict[str, Any]:
    return {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}}


def _service(port: int) -> dict[str, Any]:
    return {"type": "NodePort", "selector": {"app": "shop"}, "ports": [{"port": 80, "nodePort": port}]}


def _shop() -> dict[str, Any]:
    labels = {"app": "shop"}
    serve = _pod("-", "echo open >/tmp/x; exec httpd -f -p 80 -h /tmp")
    spec = {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": serve}}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "shop"}, "spec": spec}


_ASK: Final = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:%d/x', timeout=2).read().decode(), %d)"

ROWS: Final[dict[str, Row]] = {
    "Deployment": _running(
        "Deployment",
        "web",
        (_workload("web", "one"), _workload("web", "two")),
        "web-0",
    ),
    "StatefulSet": _running(
        "StatefulSet",
        "db",
        (_workload("db", "one", serviceName="db"), _workload("db", "two", serviceName="db")),
        "db-0",
    ),
    "DaemonSet": _running(
        "DaemonSet",
        "logs",
        (_workload("logs", "one"), _workload("logs", "two")),
        "logs",
    ),
    "Pod": _running("Pod", "till", (_pod("one"), _pod("two")), "till"),
    "Job": Row(
        _job("one"),
        _job("two"),
        look=f"cat {_HOST}/job",
        shows=("one", "one two"),
        drift="docker ps -aq --filter label=holdfast.io/resource=Job/migrate | xargs -r docker rm -f >/dev/null",
        name="migrate",
        unmoved="a Job that succeeded never runs again, whatever becomes of its containers",
        kept="what a Job has done is done",
    ),
    "CronJob": Row(
        _cron_job("one", "0 * * * *"),
        _cron_job("two", "30 * * * *"),
        look=f"{_words('CronJob/nightly')} | cut -d ' ' -f 2",
        shows=("one", "two"),
        meanwhile=_HOURS_PASS,
        drift=_gone("CronJob/nightly"),
        name="nightly",
    ),
    "Service": Row(
        _service(30080),
        _service(30081),
        look="; ".join(f'python3 -c "{_ASK % (port, port)}"' for port in (30080, 30081)),
        shows=("open 30080", "open 30081"),
        drift=f"{_of('Deployment/shop')} | xargs -r docker network disconnect holdfast-press-01",
        name="shop",
        also=(_shop(),),
    ),
    "PersistentVolumeClaim": Row(
        _claim("1Mi"),
        _claim("2Mi"),
        look=f"cd {STATE}/claims/_/every; cat deed.json; ls -d data",
        shows=(
            '{"owner":"PersistentVolumeClaim/every","size":1048576}data',
            '{"owner":"PersistentVolumeClaim/every","size":2097152}data',
        ),
        drift=f"rm -r {STATE}/claims/_/every/data",
        metadata={"annotations": {"holdfast.io/reclaim-policy": "Delete"}},
    ),
    "ConfigMap": Row(
        {"data": {"word": "one"}},
        {"data": {"word": "two"}},
        look=f"cd {STATE}/configmaps/_/every; stat -c %a word; cat word",
        shows=("644 one", "644 two"),
        drift=f"echo edited >{STATE}/configmaps/_/every/word",
    ),
    "Secret": Row(
        {"stringData": {"word": "one"}},
        {"stringData": {"word": "two"}},
        look=f"cd {STATE}/secrets/_/every; stat -c %a word; cat word",
        shows=("600 one", "600 two"),
        drift=f"rm {STATE}/secrets/_/every/word",
    ),
}
