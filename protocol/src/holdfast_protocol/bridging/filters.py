"""Subscription filters against each other: whether any topic at all matches both."""


def overlaps(one: str, other: str) -> bool:
    """Return whether a topic may match both filters, as MQTT matches them."""
    first, second = one.split("/"), other.split("/")
    for a, b in ((first, second), (second, first)):
        if a[0] in ("+", "#") and b[0].startswith("$"):  # a leading wildcard matches no topic of the broker's own
            return False
    return _meet(first, second)


def _meet(first: list[str], second: list[str]) -> bool:
    for place in range(max(len(first), len(second))):
        a = first[place] if place < len(first) else ""
        b = second[place] if place < len(second) else ""
        if "#" in (a, b):  # it also stands for nothing: a/# is a, too
            return True
        if place >= len(first) or place >= len(second):
            longer = first if place < len(first) else second
            return longer[place:] == ["#"]
        if a != b and "+" not in (a, b):
            return False
    return True


def matches(pattern: str, topic: str) -> bool:
    """Return whether a filter covers a topic."""
    wanted, levels = pattern.split("/"), topic.split("/")
    if topic.startswith("$") and wanted[0] in ("+", "#"):
        return False
    for place, level in enumerate(wanted):
        if level == "#":
            return True
        if place >= len(levels) or level not in ("+", levels[place]):
            return False
    return len(levels) == len(wanted)
