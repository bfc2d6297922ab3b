"""The text of a unit file, judged before systemd sees it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast_protocol.errors import WireError
from holdfast_protocol.kinds.unit_text import MAX_LINE, MAX_TEXT, check_service, read_unit

CAMERA = """\
[Unit]
Description=Camera Driver
After=network.target
[Service]
ExecStart=/usr/bin/driver --daemon
Restart=always
"""


def refusal(text: str) -> WireError:
    with pytest.raises(WireError) as caught:
        check_service(read_unit(text, "spec.unit"), "spec.unit")
    return caught.value


def test_settings_are_read_with_their_sections_and_lines() -> None:
    unit = read_unit(CAMERA, "spec.unit")
    check_service(unit, "spec.unit")
    assert unit.values("Service", "ExecStart") == ("/usr/bin/driver --daemon",)
    assert [each.line for each in unit.settings] == [2, 3, 5, 6]


def test_comments_blanks_and_continued_lines_are_read_as_systemd_reads_them() -> None:
    text = "# a\n; b\n\n[Service]\nExecStart=/bin/echo one \\\n# not a part\n  two\\\n  three\n  Type = oneshot\r\n"
    unit = read_unit(text, "spec.unit")
    assert unit.values("Service", "ExecStart") == ("/bin/echo one two three",)
    assert unit.values("Service", "Type") == ("oneshot",)


def test_two_backslashes_go_on_with_nothing_and_a_no_break_space_is_no_blank() -> None:
    unit = read_unit("[Unit]\nDescription=x \\\\\nConflicts=a.service\n", "spec.unit")
    assert unit.values("Unit", "Conflicts") == ("a.service",)
    unit = read_unit("[Unit]\nDescription=x \\\u00a0\nConflicts=a.service\n", "spec.unit")
    assert unit.values("Unit", "Conflicts") == ("a.service",)


def test_an_empty_value_clears_the_ones_before() -> None:
    unit = read_unit("[Service]\nExecStart=/bin/a\nExecStart=\nExecStart=/bin/b\n", "spec.unit")
    assert unit.values("Service", "ExecStart") == ("/bin/b",)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "spec.unit: there is no [Service] section"),
        ("[Unit]\nDescription=x\n", "spec.unit: there is no [Service] section"),
        ("[Service]\nType=simple\n", "spec.unit: [Service] has no ExecStart="),
        ("[Service]\nExecStart=/bin/a\nExecStart=\n", "spec.unit: [Service] has no ExecStart="),
        ("ExecStart=/bin/a\n", "spec.unit line 1: ExecStart= stands before any [Section]"),
        ("[Unit]\n\n[Servce]\nExecStart=/bin/a\n", "spec.unit line 3: [Servce] is no section of a service"),
        ("[Timer]\nOnBootSec=1\n", "spec.unit line 1: [Timer] is no section of a service"),
        ("[Service\nExecStart=/bin/a\n", "spec.unit line 1: [Service is no section"),
        ("[Service]\nExecStart /bin/a\n", "spec.unit line 2: 'ExecStart /bin/a' is no Setting=value"),
        ("[Service]\n=x\n", "spec.unit line 2: '=x' is no Setting=value"),
        ("[Service]\nExec Start=/bin/a\n", "spec.unit line 2: 'Exec Start=/bin/a' is no Setting=value"),
        ("[Service]\nExecStart=/bin/a\0\n", "spec.unit line 2: control character '\\x00'"),
        ("[Service]\nExecStart=/bin/a\x1b[2J\n", "spec.unit line 2: control character"),
        ("[Service]\n\nExecStart=/bin/\ud800\n", "spec.unit line 3: not text"),
        ("[Service]\nExecStart=/bin/a \\ \nUser=b\n", "spec.unit line 2: blanks after the last"),
        ("[Service]\nExecStart=/bin/a \\", "spec.unit line 2: the text ends inside a continued line"),
        ("[Service]\nExecStart=/bin/a" + "a" * MAX_LINE, "spec.unit line 2: line of more than"),
        ("[Service]\nExecStart=/bin/a " + "\\\nb " * MAX_LINE, "spec.unit line 2: line of more than"),
    ],
)
def test_what_cannot_be_a_service_is_refused_with_its_line(text: str, says: str) -> None:
    error = refusal(text)
    assert error.reason == "BadUnit"
    assert error.message.startswith(says)


def test_a_text_that_is_too_large_is_refused() -> None:
    assert refusal("#" * (MAX_TEXT + 1)).reason == "TooLarge"


@pytest.mark.parametrize(
    ("settings", "ends"),
    [("Type=oneshot", True), ("Type=oneshot\nRemainAfterExit=yes", False), ("Type=simple", False), ("", False)],
)
def test_a_service_that_is_meant_to_end_is_known(settings: str, ends: bool) -> None:
    assert read_unit(f"[Service]\nExecStart=/bin/a\n{settings}\n", "spec.unit").runs_to_completion is ends


def test_only_a_unit_with_something_to_install_can_be_enabled() -> None:
    assert not read_unit(CAMERA, "spec.unit").can_be_enabled
    assert read_unit(CAMERA + "[Install]\nWantedBy=multi-user.target\n", "spec.unit").can_be_enabled


@given(st.text(max_size=300))
def test_any_text_is_read_or_refused_with_a_reason(text: str) -> None:
    found: object
    try:
        found = read_unit(text, "spec.unit")
    except WireError as error:
        found = error.reason
    assert not isinstance(found, str) or found in {"BadUnit", "TooLarge"}
