"""Compressed bodies, both ways: what is damaged, cut off or much larger than it looks is refused."""

import gzip
import zlib
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate_serving.codec.compression import WORTH_IT, compressing, decompressed
from headgate_serving.errors import BodyTooLarge, MalformedRequest, RequestError, UnsupportedEncoding
from headgate_serving.turns import at_once

MOST = 1 << 20


def raw_deflate(body: bytes) -> bytes:
    writer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return writer.compress(body) + writer.flush()


@given(st.binary(max_size=5000))
def test_what_clients_compress_comes_out_as_it_was(body: bytes) -> None:
    assert decompressed(gzip.compress(body), "gzip", MOST) == body
    assert decompressed(gzip.compress(body), " GZIP ", MOST) == body
    assert decompressed(zlib.compress(body), "deflate", MOST) == body
    assert decompressed(body, "identity", MOST) == body


def test_deflate_without_its_header_is_understood() -> None:
    assert decompressed(raw_deflate(b"hello" * 50), "deflate", MOST) == b"hello" * 50


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, deflate", "compress"])
def test_other_encodings_are_named_and_refused(encoding: str) -> None:
    with pytest.raises(UnsupportedEncoding, match="gzip, deflate and identity"):
        decompressed(b"", encoding, MOST)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_bomb_is_refused_before_it_is_unpacked(encoding: str) -> None:
    bomb = (gzip.compress if encoding == "gzip" else zlib.compress)(bytes(50 << 20))
    assert len(bomb) < 100_000
    with pytest.raises(BodyTooLarge, match="when it is decompressed"):
        decompressed(bomb, encoding, MOST)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_what_is_cut_off_or_followed_by_something_is_malformed(encoding: str) -> None:
    whole = (gzip.compress if encoding == "gzip" else zlib.compress)(b"hello" * 100)
    with pytest.raises(MalformedRequest, match="cut off"):
        decompressed(whole[:-1], encoding, MOST)
    more = "member at byte" if encoding == "gzip" else "follow the end"
    with pytest.raises(MalformedRequest, match=more):
        decompressed(whole + b"more", encoding, MOST)


@given(st.lists(st.binary(max_size=5000), min_size=1, max_size=5), st.integers(0, 3))
def test_a_gzip_body_has_as_many_members_as_it_likes(members: list[bytes], zeros: int) -> None:
    body = b"".join(map(gzip.compress, members))
    assert decompressed(body + bytes(zeros), "gzip", MOST) == b"".join(members)


def test_members_of_many_pieces_come_out_as_they_were() -> None:
    members = [np.random.default_rng(at).bytes(200_000) for at in range(4)]
    assert decompressed(b"".join(map(gzip.compress, members)), "gzip", MOST) == b"".join(members)


def test_what_is_wrong_with_one_of_several_members_is_said() -> None:
    first, second = gzip.compress(b"hello" * 100), gzip.compress(b"world" * 100)
    with pytest.raises(MalformedRequest, match="cut off"):
        decompressed(first + second[:-1], "gzip", MOST)
    with pytest.raises(MalformedRequest, match=f"member at byte {len(first)}"):
        decompressed(first + b"\0" + second, "gzip", MOST)
    with pytest.raises(BodyTooLarge, match="when it is decompressed"):
        decompressed(first + gzip.compress(bytes(MOST - 499)), "gzip", MOST)
    assert len(decompressed(first + gzip.compress(bytes(MOST - 500)), "gzip", MOST)) == MOST
    with pytest.raises(MalformedRequest, match="more than 4096 members"):
        decompressed(gzip.compress(b"") * 100_000, "gzip", MOST)


@pytest.mark.parametrize("encoding", ["gzip, identity", " ,gzip", "identity,\tGZIP", "x-gzip"])
def test_an_encoding_is_a_list_of_which_one_counts(encoding: str) -> None:
    assert decompressed(gzip.compress(b"hello"), encoding, MOST) == b"hello"


@given(st.binary(max_size=200), st.sampled_from(["gzip", "deflate"]))
def test_any_bytes_are_a_body_or_an_error_of_the_protocol(body: bytes, encoding: str) -> None:
    with suppress(RequestError):
        assert isinstance(decompressed(body, encoding, MOST), bytes)


@pytest.mark.parametrize(
    ("accepted", "name"),
    [
        ("gzip", "gzip"),
        ("deflate", "deflate"),
        ("br, gzip;q=0.5", "gzip"),
        ("gzip;q=0, deflate", "deflate"),
        ("gzip;q=0.000, deflate", "deflate"),
        ("gzip;q=0.2, deflate;q=0.9", "deflate"),
        ("GZIP ; q=1.000", "gzip"),
        ("gzip;q=0.001", "gzip"),
        ("identity;q=0.5, gzip", "gzip"),
        ("*;q=0, gzip", "gzip"),
    ],
)
def test_an_answer_comes_in_an_encoding_that_the_client_takes(accepted: str, name: str) -> None:
    body = b"0.5," * 1000
    smaller = at_once(compressing(body, accepted))
    assert smaller is not None
    assert smaller[1] == name
    assert len(smaller[0]) < len(body) / 10
    assert decompressed(*smaller, MOST) == body


REFUSED = [
    "gzip;q=0",
    "gzip;q=0.",
    "gzip;q=0.000",
    "gzip ; q=0.0",
    "gzip;Q=0",
    "gzip;\tq=0",
    "gzip;q=none",
    "identity, gzip;q=0.5",
]


@pytest.mark.parametrize("accepted", ["", "identity", "br", "*", *REFUSED])
def test_an_answer_stays_as_it_is_where_nothing_of_ours_is_taken(accepted: str) -> None:
    assert at_once(compressing(b"0.5," * 1000, accepted)) is None


def test_small_answers_are_not_worth_it() -> None:
    assert at_once(compressing(bytes(WORTH_IT - 1), "gzip")) is None
