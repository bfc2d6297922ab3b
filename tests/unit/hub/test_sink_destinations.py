"""What is wrong with a destination is said at its place, before anything is stored."""

from typing import Any

import pytest

from holdfast_hub.blueprint import sink


@pytest.mark.parametrize(
    ("spec", "at"),
    [
        ({"otlp": {"endpoint": "collector:4318"}}, ("otlp", "endpoint")),
        ({"otlp": {"endpoint": "http://user:word@a:4318"}}, ("otlp", "endpoint")),
        ({"otlp": {"endpoint": "http://a:4318/?x=1"}}, ("otlp", "endpoint")),
        ({"otlp": {"endpoint": "http://a:4318", "headersFile": "headers"}}, ("otlp", "headersFile")),
        ({"otlp": {"endpoint": "http://a:4318", "tls": {}}}, ("otlp", "tls")),
        ({"otlp": {"endpoint": "https://a", "tls": {"caFile": "a.pem"}}}, ("otlp", "tls", "caFile")),
        ({"otlp": {"endpoint": "https://a", "tls": {"keyFile": "/a.key"}}}, ("otlp", "tls")),
        ({"otlp": {"endpoint": "https://a", "timeoutSeconds": 301}}, ("otlp", "timeoutSeconds")),
        ({"nats": {}}, ("nats",)),
        ({"nats": {"servers": []}}, ("nats", "servers")),
        ({"nats": {"servers": ["nats://a"] * 17}}, ("nats", "servers")),
        ({"nats": {"servers": ["ws://a"]}}, ("nats", "servers")),
        ({"nats": {"servers": ["nats://u:p@a"]}}, ("nats", "servers")),
        ({"nats": {"servers": ["nats://a/b"]}}, ("nats", "servers")),
        ({"nats": {"servers": ["nats://a"], "subject": "a..b"}}, ("nats", "subject")),
        ({"nats": {"servers": ["nats://a"], "subject": "a.>"}}, ("nats", "subject")),
        ({"nats": {"servers": ["nats://a"], "subject": "$JS.API.{site}"}}, ("nats", "subject")),
        ({"nats": {"servers": ["nats://a"], "subject": "a.{value}"}}, ("nats", "subject")),
        ({"nats": {"servers": ["nats://a"], "subject": "a.{site.__class__}"}}, ("nats", "subject")),
        ({"nats": {"servers": ["nats://a"], "username": "u"}}, ("nats", "username")),
        (
            {"nats": {"servers": ["nats://a"], "tokenFile": "/t", "username": "u", "passwordFile": "/p"}},
            ("nats",),
        ),
        ({"nats": {"servers": ["nats://a"], "tokenFile": "/t", "credentialsFile": "/c"}}, ("nats",)),
        ({"nats": {"servers": ["nats://a"], "credentialsFile": "c"}}, ("nats", "credentialsFile")),
        ({"kafka": {"brokers": []}}, ("kafka", "brokers")),
        ({"kafka": {"brokers": ["a"]}}, ("kafka", "brokers")),
        ({"kafka": {"brokers": ["a:0"]}}, ("kafka", "brokers")),
        ({"kafka": {"brokers": ["a:1,b:2"]}}, ("kafka", "brokers")),
        ({"kafka": {"brokers": ["a:1"], "topic": ".."}}, ("kafka", "topic")),
        ({"kafka": {"brokers": ["a:1"], "topic": "a b"}}, ("kafka", "topic")),
        ({"kafka": {"brokers": ["a:1"], "mechanism": "GSSAPI"}}, ("kafka", "mechanism")),
        ({"kafka": {"brokers": ["a:1"], "passwordFile": "/p"}}, ("kafka", "username")),
        ({"kafka": {"brokers": ["a:1"], "username": "a\nb", "passwordFile": "/p"}}, ("kafka", "username")),
        ({"webhook": {"url": "http://a", "tls": {"caFile": "/ca"}}}, ("webhook", "tls")),
    ],
    ids=str,
)
def test_a_destination_that_cannot_be_is_refused_at_its_place(spec: dict[str, Any], at: tuple[str, ...]) -> None:
    assert [each.path for each in sink.flaws(spec)] == [at]


@pytest.mark.parametrize(
    "spec",
    [
        {"otlp": {"endpoint": "https://a:4318/x", "headersFile": "/h", "tls": {"caFile": "/ca"}}},
        {"nats": {"servers": ["nats://a:4222", "tls://b"], "subject": "x.{site}-{node}.{stream}.{device}.{metric}"}},
        {"nats": {"servers": ["tls://[::1]:4222"], "tokenFile": "/t"}},
        {"kafka": {"brokers": ["a.example:9092", "[::1]:9092"], "username": "u", "passwordFile": "/p", "tls": {}}},
    ],
    ids=str,
)
def test_a_destination_that_can_be_is_taken(spec: dict[str, Any]) -> None:
    assert list(sink.flaws(spec)) == []
    assert sink.read(spec).to == next(iter(spec))
