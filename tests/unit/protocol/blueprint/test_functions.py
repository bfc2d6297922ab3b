"""Kubernetes' libraries of CEL: quantities, versions, addresses, URLs, lists and patterns."""

import pytest

from holdfast_protocol.blueprint.cel import Environment, ExpressionError

ENVIRONMENT = Environment({"l": {"type": "array", "items": {"type": "integer"}}}, ["x"])


def value(source: str) -> object:
    expression = ENVIRONMENT.compile(source)
    return expression.evaluate(ENVIRONMENT.bind({"x": {"a": [1, 2]}, "l": [3, 1, 2]}))


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ('quantity("1Gi").isGreaterThan(quantity("1G"))', True),
        ('quantity("1000m") == quantity("1")', True),
        ('quantity("1.5Ki").asInteger()', 1536),
        ('quantity("100m").isInteger()', False),
        ('quantity("-2e3").sign()', -1),
        ('quantity("1E").compareTo(quantity("1e18"))', 0),
        ('quantity("250m").add(quantity("0.75")).sub(3).asApproximateFloat()', -2),
        ('quantity("1e999999999").asInteger()', 2**63 - 1),
        ('quantity("0.1n") == quantity("1n")', True),
        (
            '[isQuantity("1.3Gi"), isQuantity("1Gix"), isQuantity(""), isQuantity("."), isQuantity("1e")]',
            [True] + [False] * 4,
        ),
        ('semver("1.2.3-rc.10").isLessThan(semver("1.2.3"))', True),
        ('semver("1.0.0-alpha.9").compareTo(semver("1.0.0-alpha.10"))', -1),
        ('semver("1.0.0-1").isGreaterThan(semver("1.0.0-a"))', False),
        ('semver("1.2.3+a") == semver("1.2.3+b")', True),
        ('semver("v01.2", true).minor()', 2),
        (
            '[isSemver("1.2"), isSemver("01.2.3"), isSemver("1.2.3-01"), isSemver("1.2", true)]',
            [False, False, False, True],
        ),
        ('ip("2001:DB8::1") == ip("2001:db8::1")', True),
        ('string(ip("2001:db8:0::1")) + string(cidr("10.0.0.1/8"))', "2001:db8::110.0.0.1/8"),
        ('[isIP("::ffff:1.2.3.4"), isIP("fe80::1%eth0"), isIP("01.2.3.4"), isIP("1.2.3")]', [False] * 4),
        ('ip.isCanonical("2001:DB8::1")', False),
        ('ip("255.255.255.255").isGlobalUnicast()', False),
        ('ip("10.0.0.1").isGlobalUnicast() && ip("ff12::1").isLinkLocalMulticast()', True),
        (
            'cidr("10.0.0.0/8").containsCIDR("10.1.0.0/16") && !cidr("10.1.0.0/16").containsCIDR(cidr("10.0.0.0/8"))',
            True,
        ),
        ('cidr("10.1.2.3/8").masked().ip().family() + cidr("::/0").prefixLength()', 4),
        ('type(cidr("10.0.0.0/8")) == net.CIDR', True),
        ('[isCIDR("10.0.0.0/08"), isCIDR("10.0.0.0/33"), isCIDR("10.0.0.0")]', [False] * 3),
        ('url("https://u@example.com:80/a%20b/ü?q=1&q=2&z=a+b").getQuery()', {"q": ["1", "2"], "z": ["a b"]}),
        ('url("https://example.com:80/a b").getEscapedPath()', "/a%20b"),
        (
            'url("https://[::1]:80/x").getHostname() + url("HTTP://h").getScheme() + url("http://h:8/").getHost()',
            "::1httph:8",
        ),
        (
            '[isURL("/a"), isURL("a"), isURL(""), isURL("http://a b/"), isURL("http://h:x/"), isURL("/%zz")]',
            [True] + [False] * 5,
        ),
        ('"abc 123 45".find("[0-9]+") + "x".find("[0-9]")', "123"),
        ('"123 abc 456".findAll("[0-9]*") + "1 2 3".findAll("[0-9]", 2)', ["123", "", "", "", "", "456", "1", "2"]),
        ("[l.isSorted(), l.sum() == 6, l.min() == 1, l.max() == 3]", [False, True, True, True]),
        ("[1.5, 2.5].sum() / 2.0", 2),
        ('[duration("1s"), duration("2m")].isSorted()', True),
        ('["b", "a"].min() + string([1, 2, 1].lastIndexOf(1)) + string("abc".indexOf("c"))', "a22"),
        ("x.a.sum()", 3),
        ("[].sum()", 0),
        ("[1, 2].indexOf(3)", -1),
    ],
)
def test_a_function_gives_what_kubernetes_does(source: str, expected: object) -> None:
    assert value(source) == expected


@pytest.mark.parametrize(
    "source",
    [
        'quantity("x")',
        'quantity("1.5").asInteger()',
        'quantity("1" + "0".replace("0", "' + "0" * 300 + '"))',
        'semver("1.2")',
        'ip("300.1.1.1")',
        'cidr("10.0.0.0/8").containsIP("x")',
        'dyn(cidr("10.0.0.0/8")).family()',
        'net.IP{text: "x"}.family()',
        'kubernetes.Quantity{text: "1/0"}.sign()',
        'url("x").getHost()',
        '"a".find("(?=a)")',
        '"a".find("a{999}{999}")',
        "[].min()",
        "x.a.map(n, n == 1 ? dyn(1) : dyn('a')).max()",
        "[9223372036854775807, 1].sum()",
        'ip("1.2.3.4")',
        '[ip("1.2.3.4")]',
        'json.marshal([ip("1.2.3.4")])',
        '[quantity("1")].map(q, dyn(q)).sum()',
        '{"a": 1}.merge({"b": ip("1.2.3.4")})',
        '[ip("1.2.3.4")].indexOf(ip("1.2.3.4"))',
        "[optional.of(1)].sum()",
    ],
)
def test_what_makes_no_sense_is_an_error_and_never_the_end_of_the_process(source: str) -> None:
    with pytest.raises(ExpressionError):
        value(source)


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("l.sum()", "int"),
        ("[1.5].max()", "double"),
        ('quantity("1").add(1)', "kubernetes.Quantity"),
        ('"a".findAll("a")', "list(string)"),
        ('url("/").getQuery()', "map(string, list(string))"),
    ],
)
def test_results_are_typed(source: str, kind: str) -> None:
    assert ENVIRONMENT.compile(source).type == kind


@pytest.mark.parametrize("source", ['["a"].sum()', "ip(1)", 'quantity("1").isLessThan(semver("1.0.0"))', "1.sign()"])
def test_wrong_types_are_found_before_anything_runs(source: str) -> None:
    with pytest.raises(ExpressionError):
        ENVIRONMENT.compile(source)
