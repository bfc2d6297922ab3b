"""What providers say in characters that are none (names on a disk may be any bytes): it is shown, and ends nothing."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from holdfast_edge.providers.port import Observed
from holdfast_protocol.errors import PermanentError
from holdfast_protocol.wire.target import Resource
from support.builders import a_target, file_body
from support.clock import Running, eventually
from support.provider import FakeProvider
from support.site import TestSite

pytestmark = pytest.mark.anyio
NO_TEXT = b"caf\xe9".decode(errors="surrogateescape")


class Raw(FakeProvider):
    def _observed(self, resource: Resource) -> Observed:
        seen = super()._observed(resource)
        said = seen.differences or (f"path: {NO_TEXT} is left over",)
        return msgspec.structs.replace(
            seen, differences=said, message=NO_TEXT, detail={"name": NO_TEXT}, status={"name": NO_TEXT}
        )


@pytest.fixture
def it(tmp_path: Path) -> Iterator[TestSite]:
    site = TestSite(tmp_path, Raw("File"))
    yield site
    site.close()


async def test_a_look_that_says_no_text_is_shown_and_the_loop_goes_on(it: TestSite) -> None:
    async with Running(*it.loops()):
        await it.give(a_target(file_body("a", "/srv/a", "1")))
        await eventually(lambda: it.provider.changes())
        await eventually(lambda: "caf? is left over" in str(it.site.board.status))
        await it.give(a_target(file_body("b", "/srv/b", "1"), generation=2))
        await eventually(lambda: ("apply", "File/b") in it.provider.changes())


async def test_an_error_that_says_no_text_is_kept_and_the_loop_goes_on(it: TestSite) -> None:
    async with Running(*it.loops()):
        it.provider.fails["File/a"] = [PermanentError(NO_TEXT, reason="Refused", hint=NO_TEXT)]
        await it.give(a_target(file_body("a", "/srv/a", "1"), file_body("b", "/srv/b", "1")))
        await eventually(lambda: ("apply", "File/b") in it.provider.changes())
        await eventually(lambda: it.site.attempts.held["File/a"].message == "caf?")
