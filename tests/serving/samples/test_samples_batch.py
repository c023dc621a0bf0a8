"""Exchanges go through a batch as they are, and what is no batch is said to be none."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate_serving.codec.http_message import Message
from headgate_serving.sidecar import batch
from headgate_serving.sidecar.batch import MOST_BYTES, Sample, in_batches, packed, unpacked

headers = st.dictionaries(
    st.sampled_from(["content-encoding", "grpc-encoding", "inference-header-content-length"]),
    st.text("a1-", min_size=1),
)
messages = st.builds(
    lambda headers, pieces: Message(headers, pieces, sum(map(len, pieces))), headers, st.lists(st.binary(max_size=40))
)
samples = st.builds(Sample, messages, messages, st.booleans())


def flat(sample: Sample) -> list[object]:
    return [sample.is_grpc, *((half.headers, half.body, half.size) for half in (sample.request, sample.answer))]


@given(st.lists(samples, max_size=5))
def test_what_is_packed_is_unpacked(some: list[Sample]) -> None:
    assert list(map(flat, unpacked(packed(some)))) == list(map(flat, some))


def test_headers_that_say_who_asked_are_not_passed_on() -> None:
    request = Message({":path": "/secret", "grpc-encoding": "gzip", "authorization": "Bearer x"}, [b"a"], 1)
    (found,) = unpacked(packed([Sample(request, Message(), is_grpc=True)]))
    assert found.request.headers == {"grpc-encoding": "gzip"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"5\n",
        b"[5]\n",
        b"nonsense\n",
        b"[]\nmore",
        b'[{"grpc": true}]\n',
        b'[{"grpc": true, "request": {"headers": {}, "size": 2}, "answer": {"headers": {}, "size": 0}}]\na',
        b'[{"grpc": true, "request": {"headers": {}, "size": "a"}, "answer": {"headers": {}, "size": 0}}]\na',
        b'[{"grpc": true, "request": {"headers": {}, "size": -1}, "answer": {"headers": {}, "size": 2}}]\na',
        b'[{"grpc": true, "request": {"headers": [], "size": 0}, "answer": {"headers": {}, "size": 0}}]\n',
    ],
)
def test_what_is_no_batch_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError):
        unpacked(body)


@given(st.binary(max_size=100))
def test_no_bytes_do_more_than_be_refused(body: bytes) -> None:
    with suppress(ValueError):
        unpacked(body + b"\n")


@given(st.lists(st.integers(0, 30), max_size=20))
def test_batches_hold_all_samples_in_their_order_and_are_no_larger_than_they_may_be(sizes: list[int]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch, "MOST_BYTES", 40)
        some = [Sample(Message({}, [bytes(size)], size), Message(), is_grpc=False) for size in sizes]
        batches = list(in_batches(some))
        assert [sample for each in batches for sample in each] == some
        for each in batches:
            assert len(each) == 1 or sum(sample.request.size for sample in each) <= 20


def test_the_largest_sample_fits_into_a_batch() -> None:
    full = Message({}, [bytes(1 << 20)], 1 << 20)
    assert len(packed([Sample(full, full, is_grpc=False)])) < MOST_BYTES
