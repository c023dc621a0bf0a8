"""Durations and percentages as users write them."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.api.quantities import fraction, nanoseconds, quantity, routed_percent, seconds
from manifest_cases import BAD_QUANTITIES


@pytest.mark.parametrize(
    ("text", "expected"),
    [("200ms", 0.2), ("90s", 90), ("1m30s", 90), ("1.5h", 5400), ("0s", 0), ("1h1m1s1ms", 3661.001)],
)
def test_a_duration_in_seconds(text: str, expected: float) -> None:
    assert seconds(text) == pytest.approx(expected)


@pytest.mark.parametrize("text", ["", "5", "s", "1d", "-1s", "1 s", "1s ", ".5s", "1..5s", "1s\n", "١s"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="no duration"):
        seconds(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1ms", 10**6),
        ("0.9999999ms", 999_999),
        ("1h0.0001ms", 3600 * 10**9 + 100),
        ("9999999999h", 3600 * 10**9 * 9999999999),
    ],
)
def test_a_duration_in_whole_nanoseconds(text: str, expected: float) -> None:
    assert nanoseconds(text) == expected


@pytest.mark.parametrize(
    ("amount", "expected"),
    [
        *[("500m", "0.5"), (2, "2"), ("1.5", "1.5"), ("+3", "3"), ("5.", "5"), (".5", "0.5"), ("0", "0"), (0, "0")],
        *[("1Ki", "1024"), ("1.5Gi", "1610612736"), ("2Ei", "2305843009213693952"), ("1k", "1000"), ("1M", "1000000")],
        *[("1G", "1e9"), ("1T", "1e12"), ("1P", "1e15"), ("1E", "1e18"), ("1E3", "1000"), ("1e3", "1000")],
        *[("5e-1", "0.5"), ("100u", "0.0001"), ("1n", "1e-9")],
    ],
)
def test_a_quantity_of_kubernetes(amount: object, expected: str) -> None:
    assert quantity(amount) == Decimal(expected)


@pytest.mark.parametrize("amount", BAD_QUANTITIES)
def test_what_is_no_quantity(amount: object) -> None:
    with pytest.raises(ValueError, match="must be a quantity"):
        quantity(amount)


@given(st.integers(0, 99), st.integers(0, 59), st.integers(0, 59))
def test_units_add_up(hours: int, minutes: int, rest: int) -> None:
    assert seconds(f"{hours}h{minutes}m{rest}s") == hours * 3600 + minutes * 60 + rest


@pytest.mark.parametrize(("text", "expected"), [("0.5%", 0.005), ("50%", 0.5), ("100%", 1.0), ("0.0001%", 1e-6)])
def test_a_percentage_as_a_fraction(text: str, expected: float) -> None:
    assert fraction(text) == pytest.approx(expected)


@pytest.mark.parametrize("text", ["", "5", "%", "-1%", "1000%", "0.00001%", "1 %", "5%%", "5%\n"])
def test_what_is_no_percentage(text: str) -> None:
    with pytest.raises(ValueError, match="no percentage"):
        fraction(text)


@pytest.mark.parametrize(
    ("share", "expected"),
    [("10%", 10), ("100%", 100), ("2.56%", 2.6), ("0.14%", 0.1), ("0.04%", 0.1), ("0.0001%", 0.1)],
)
def test_a_part_of_the_requests_is_told_to_a_tenth_and_is_never_none(share: str, expected: float) -> None:
    assert routed_percent(share) == expected
