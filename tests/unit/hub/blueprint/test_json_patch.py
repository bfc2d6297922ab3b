"""JSON Patch, RFC 6902."""

from typing import Any

import pytest

from holdfast_hub.blueprint.json_patch import MAX_OPERATIONS, operation_flaws, patched
from holdfast_protocol.errors import WireError


@pytest.mark.parametrize(
    ("before", "operations", "after"),
    [
        ({"a": 1}, [{"op": "add", "path": "/b", "value": [2]}], {"a": 1, "b": [2]}),
        ({"a": [1, 3]}, [{"op": "add", "path": "/a/1", "value": 2}], {"a": [1, 2, 3]}),
        ({"a": [1]}, [{"op": "add", "path": "/a/-", "value": 2}], {"a": [1, 2]}),
        ({"a": [1]}, [{"op": "add", "path": "/a/1", "value": 2}], {"a": [1, 2]}),
        ({"a": [1, 2]}, [{"op": "remove", "path": "/a/0"}], {"a": [2]}),
        ({"a": 1}, [{"op": "replace", "path": "/a", "value": None}], {"a": None}),
        ({"a": [1, 2]}, [{"op": "replace", "path": "/a/1", "value": 3}], {"a": [1, 3]}),
        ({"a": {"b": 1}}, [{"op": "move", "from": "/a/b", "path": "/c"}], {"a": {}, "c": 1}),
        ({"a": [1, 2]}, [{"op": "move", "from": "/a/0", "path": "/a/1"}], {"a": [2, 1]}),
        ({"a": {"b": 1}}, [{"op": "copy", "from": "/a", "path": "/c"}], {"a": {"b": 1}, "c": {"b": 1}}),
        ({"a": 1}, [{"op": "test", "path": "/a", "value": 1.0}], {"a": 1}),
        ({"a/b": 1, "c~d": 2}, [{"op": "remove", "path": "/a~1b"}, {"op": "remove", "path": "/c~0d"}], {}),
        ({"a": 1}, [{"op": "replace", "path": "", "value": {"b": 1}}], {"b": 1}),
    ],
)
def test_operations_do_what_the_standard_says(
    before: dict[str, Any], operations: list[dict[str, Any]], after: dict[str, Any]
) -> None:
    assert operation_flaws(operations) == ()
    kept = repr(before)
    assert patched(before, operations) == after
    assert repr(before) == kept


@pytest.mark.parametrize(
    ("operation", "words"),
    [
        ({"op": "remove", "path": "/b"}, "there is no 'b'"),
        ({"op": "replace", "path": "/b", "value": 1}, "there is no 'b'"),
        ({"op": "add", "path": "/x/y", "value": 1}, "there is no 'x'"),
        ({"op": "add", "path": "/a/9", "value": 1}, "a list of 2"),
        ({"op": "add", "path": "/a/01", "value": 1}, "a list of 2"),
        ({"op": "add", "path": "/n/x", "value": 1}, "below a plain value"),
        ({"op": "remove", "path": "/a/-"}, "a list of 2"),
        ({"op": "test", "path": "/n", "value": True}, "another"),
        ({"op": "move", "from": "/a", "path": "/a/0"}, "into itself"),
        ({"op": "remove", "path": ""}, "no object"),
    ],
)
def test_an_operation_that_cannot_be_done_says_which_and_why(operation: dict[str, Any], words: str) -> None:
    with pytest.raises(WireError, match=words) as caught:
        patched({"a": [1, 2], "n": 1}, [operation])
    assert caught.value.reason == "PatchFailed"


@pytest.mark.parametrize(
    ("operation", "path"),
    [
        ({"op": "erase", "path": "/a"}, (0,)),
        ("remove", (0,)),
        ({"op": "add", "path": "/a"}, (0,)),
        ({"op": "add", "path": "a", "value": 1}, (0, "path")),
        ({"op": "move", "path": "/a"}, (0,)),
        ({"op": "remove", "path": "/a", "value": 1}, (0, "value")),
    ],
)
def test_an_operation_that_is_none_is_refused_at_its_place(operation: Any, path: tuple[str | int, ...]) -> None:
    assert [each.path for each in operation_flaws([operation])] == [path]


def test_operations_are_counted() -> None:
    assert operation_flaws([{"op": "remove", "path": "/a"}] * (MAX_OPERATIONS + 1))
