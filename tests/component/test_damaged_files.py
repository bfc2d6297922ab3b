"""Bytes that are no text, where the agent reads its own small files and what programs say: each costs itself and no more."""

from pathlib import Path

import pytest

from holdfast_edge.providers.container import claims
from holdfast_edge.providers.container.claims import Deed
from holdfast_edge.providers.firewall.listing import listing_digest
from holdfast_edge.providers.network.links import links_of, managed_of
from holdfast_edge.sensors import surroundings
from holdfast_edge.store.sources import Kept, Sources
from holdfast_protocol.errors import TransientError
from holdfast_protocol.wire.names import ResourceKey

NO_TEXT = b"\xff\xfe"


def damage(file: Path, word: bytes) -> None:
    """Flip the bits of a word, inside a string of JSON."""
    content = file.read_bytes()
    assert word in content
    file.write_bytes(content.replace(word, NO_TEXT + word[len(NO_TEXT) :]))


def test_a_kept_source_with_bytes_that_are_no_text_is_as_if_it_were_not_there(tmp_path: Path) -> None:
    sources = Sources(tmp_path)
    for name in ("press", "robot"):
        sources.put(Kept(ResourceKey(f"DeviceSource/{name}"), name, {"mqtt": {"host": name}}, {}, name))
    damage(next(each for each in tmp_path.glob("*.json") if b"press" in each.read_bytes()), b"press")
    again = Sources(tmp_path)
    assert list(again.kept) == ["DeviceSource/robot"]
    again.put(Kept(ResourceKey("DeviceSource/press"), "press", {}, {}, "press"))
    assert len(Sources(tmp_path).kept) == 2


def test_a_deed_with_bytes_that_are_no_text_is_written_anew_and_the_data_stays(tmp_path: Path) -> None:
    folder, deed = tmp_path / "claims/_/db", Deed(ResourceKey("PersistentVolumeClaim/db"), 1024)
    claims.make(folder, deed)
    (folder / "data/rows").write_text("1")
    damage(folder / claims.DEED, b"Persistent")
    assert claims.read(folder) is None
    claims.make(folder, deed)
    assert claims.read(folder) == deed
    assert (folder / "data/rows").read_text() == "1"


@pytest.mark.parametrize(
    ("read", "said"),
    [
        (lambda said: links_of(said, []), b'[{"ifname": "eth0", "ifalias": "\xff"}]'),
        (managed_of, b'{"Interfaces": [{"Name": "\xff"}]}'),
        (listing_digest, b'{"nftables": [{"table": {"comment": "\xff"}}]}'),
    ],
)
def test_a_program_that_says_bytes_that_are_no_text_is_asked_again(read: object, said: bytes) -> None:
    assert callable(read)
    with pytest.raises(TransientError) as caught:
        read(said)
    assert caught.value.reason == "BadListing"


def test_what_ip_says_in_bytes_that_are_no_text_is_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ip").write_bytes(b'#!/bin/sh\nprintf \'[{"ifalias": "\\377"}]\'\n')
    (tmp_path / "ip").chmod(0o755)
    monkeypatch.setattr(surroundings, "_PATH", str(tmp_path))
    assert surroundings._listed(("-j", "link")) == []
