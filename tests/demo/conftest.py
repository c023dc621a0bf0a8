"""The models trained on a few made-up rows, and a real run of the demo, recorded."""

import json
from pathlib import Path

import pytest

from demo.models import Models, train
from demo.recording import Recording
from demo_made_up import people

RECORDED = Path(__file__).with_name("recorded.json")


@pytest.fixture(scope="session")
def models() -> Models:
    return train(people(3000))


@pytest.fixture
def recorded() -> Recording:
    """A run of four minutes in which everything went right."""
    return Recording.from_json(json.loads(RECORDED.read_text()))
