"""The lighter site: apart from the others as far as it says, and gone afterwards."""

from pathlib import Path

import pytest

from support import plain
from support.machines import CommandFailed


def test_each_lighter_site_has_its_own_files_and_processes(tmp_path: Path) -> None:
    assert plain.why_not() == ""
    with plain.site("one", tmp_path / "one") as one, plain.site("two", tmp_path / "two") as two:
        one.write("/srv/inspection/settings", "mine\n", mode=0o600)
        assert one.read("/srv/inspection/settings") == "mine\n"
        assert not two.exists("/srv/inspection")
        assert not Path("/srv/inspection").exists()
        one.start_program("idle", ["sleep", "3600"])
        assert "sleep" not in two.run(["ps", "-e", "-o", "comm="]).stdout
        with pytest.raises(CommandFailed, match="status 1"):
            one.run(["false"])


def test_a_program_asked_to_end_ends_and_the_rest_ends_with_the_site(tmp_path: Path) -> None:
    with plain.site("one", tmp_path / "one") as one:
        one.start_program("first", ["sleep", "3600"])
        one.start_program("second", ["sleep", "3601"])
        one.stop_program("first")
        programs = list(one._programs.values())
        assert [program.poll() for program in programs] == [None]
    assert [program.poll() is not None for program in programs] == [True]
