"""The start of a model: it ends, within its time; what it chooses, and what it leaves for later."""

import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import httpx
import numpy as np
import pytest
from onnx import TensorProto, helper

import serving_models as models
from headgate_serving.codec.tensor import Tensor
from headgate_serving.errors import RunTooLong
from headgate_serving.runtime import tryout
from headgate_serving.runtime.cores import cores
from headgate_serving.runtime.joining import JOINED_BYTES
from headgate_serving.runtime.model import Model, Run
from headgate_serving.runtime.rows import LATER, examples
from headgate_serving.server.inherited import HUNG
from patience import PATIENCE
from serving_process import Served
from serving_tried import start_of, tried

FOREVER_AT_ZERO = """
import numpy as np
from headgate_serving.runtime import tryout
from headgate_serving.server import worker
tryout.examples = lambda model, rows: {"IN": np.ones((rows, 2), np.float32)}
"""
CAN_NOT_BE_STOPPED = """
from headgate_serving.runtime import model
model.Run.terminate = lambda run: setattr(run, "terminated", True)
worker._GIVE_UP = 0.2
"""
LIVE, READY = "/v2/health/live", "/v2/health/ready"


@pytest.fixture
def hangs(tmp_path: Path) -> Path:
    return models.endless(tmp_path / "artifact" / "model.onnx").parent


def test_a_first_run_without_an_end_is_stopped_as_users_runs_are(hangs: Path, tmp_path: Path) -> None:
    served = Served(hangs, "--run-timeout", "1", log=tmp_path / "termination-log", before=FOREVER_AT_ZERO)
    try:
        assert any("a run of the model has taken 1 s: stopping it" in line for line in served.lines)
        assert any("failed when it was tried out" in line and "was stopped" in line for line in served.lines)
        zeros = {"inputs": [{"name": "IN", "datatype": "FP32", "shape": [1, 2], "data": [0, 0]}]}
        assert served.client.post("/v2/models/fraud/infer", json=zeros, timeout=PATIENCE).status_code == 200
    finally:
        assert served.stop() == 0


def test_a_first_run_that_can_not_be_stopped_ends_the_process(hangs: Path, tmp_path: Path) -> None:
    before = FOREVER_AT_ZERO + CAN_NOT_BE_STOPPED
    served = Served(hangs, "--run-timeout", "1", log=tmp_path / "termination-log", before=before)
    assert served.stop() == HUNG
    assert served.last_words == {
        "reason": "ServingCrashed",
        "message": "the serving process gave up a run of the model that hangs, before it was ready",
    }


def test_told_to_end_while_it_tries_the_model_out_it_ends(hangs: Path, tmp_path: Path) -> None:
    before = FOREVER_AT_ZERO + "worker._SAY_EVERY = 0.2\n"
    said = "still trying out the model"
    served = Served(hangs, "--run-timeout", "0", log=tmp_path / "termination-log", before=before, until=said)
    assert [httpx.get(f"http://{served.address}{path}").status_code for path in (LIVE, READY)] == [200, 503]
    began = time.monotonic()
    assert served.stop() == 0
    assert time.monotonic() - began < PATIENCE / 2
    assert any("told to end while trying out the model" in line for line in served.lines)


class Counted:
    """How many rows each run of a start has; every run can be made to take long, by what its caller measures."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rows: list[int] = []
        real = Model.run

        def run(
            model: Model, inputs: Mapping[str, Tensor], outputs: Sequence[str], of: Run | None = None
        ) -> dict[str, Tensor]:
            self.rows.append(len(next(iter(inputs.values()))))
            return real(model, inputs, outputs, of)

        monkeypatch.setattr(Model, "run", run)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    return Counted(monkeypatch)


class Clock:
    """Time that passes only in runs of the model: the first takes `first` seconds, each of the others `others`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, first: float, others: float) -> None:
        self.runs, self._now, real = 0, 1000.0, Model.run

        def run(model: Model, inputs: Mapping[str, Tensor], outputs: Sequence[str], of: Run) -> dict[str, Tensor]:
            self._now += others if self.runs else first
            self.runs += 1
            return real(model, inputs, outputs, of)

        monkeypatch.setattr(Model, "run", run)
        monkeypatch.setattr(tryout, "time", self)
        monkeypatch.setattr(tryout, "cores", lambda: 1)

    def monotonic(self) -> float:
        return self._now

    perf_counter = monotonic


def test_without_time_the_start_is_one_run_and_the_rest_is_for_later(tmp_path: Path, counted: Counted) -> None:
    found = start_of(models.score(tmp_path / "model.onnx"), budget=0)
    assert counted.rows == [1]
    assert (found.unproven, found.model.batches, found.model.batching) == (True, False, LATER)


def test_with_time_it_is_known_whether_rows_are_independent(tmp_path: Path, counted: Counted) -> None:
    found = start_of(models.score(tmp_path / "model.onnx"))
    assert (found.unproven, found.model.batching) == (False, "on")
    assert set(counted.rows) == {1, 2}
    assert found.row_seconds


def test_the_first_run_does_not_use_up_the_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU it takes seconds, which the others do not."""
    clock = Clock(monkeypatch, first=100.0, others=0.01)
    found = start_of(models.score(tmp_path / "model.onnx"), budget=1.0)
    assert clock.runs > 4
    assert found.row_seconds == pytest.approx(0.01)
    assert (found.unproven, found.model.batching) == (False, "on")


def test_a_long_first_run_is_not_believed_even_if_it_is_longer_than_the_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch, first=100.0, others=0.6)
    found = start_of(models.score(tmp_path / "model.onnx"), budget=1.0)
    assert clock.runs == 2
    assert found.row_seconds == pytest.approx(0.6)
    assert (found.unproven, found.model.batching) == (True, LATER)


@pytest.mark.parametrize("options", [("--max-batch", "1"), ()])
def test_what_would_never_be_joined_is_not_tried(tmp_path: Path, counted: Counted, options: tuple[str, ...]) -> None:
    columns = 2 if options else JOINED_BYTES
    found = start_of(models.by_rows(tmp_path / "model.onnx", "Neg", columns=columns), *options)
    assert set(counted.rows) == {1}
    assert not found.unproven
    assert found.model.batching.startswith("off: ")


def test_a_budget_that_ends_in_the_middle_says_nothing_of_the_model(hangs: Path) -> None:
    """The node may just be busy. Whether a run ends at all, only the limit of users' runs can tell."""
    found = start_of(hangs, budget=0.5)
    assert (found.model.batches, found.unproven, found.model.batching) == (False, True, LATER)


def test_a_run_that_the_budget_ends_leaves_what_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the runs that follow the first: one that is stopped is no failure of the model."""
    runs, real = [], Model.run

    def run(model: Model, inputs: Mapping[str, Tensor], outputs: Sequence[str], of: Run) -> dict[str, Tensor]:
        runs.append(inputs)
        if len(runs) == 3:
            raise RunTooLong("stopped")
        return real(model, inputs, outputs, of)

    monkeypatch.setattr(Model, "run", run)
    found = start_of(models.score(tmp_path / "model.onnx"), "--threads", "1", "--intra-op-threads", "1")
    assert found.row_seconds
    assert found.model.batching == "on"


def test_without_a_limit_of_runs_rows_that_never_end_are_not_tried_again(hangs: Path) -> None:
    found = start_of(hangs, "--run-timeout", "0", budget=0.5)
    assert "still running" in found.model.batching
    assert (found.model.batches, found.unproven) == (False, False)  # and nobody tries them again


def test_a_model_that_takes_no_row_of_length_one_is_left_for_later(tmp_path: Path) -> None:
    found = start_of(models.long_rows(tmp_path / "model.onnx"))
    assert (found.unproven, found.model.batching) == (True, LATER)


def test_what_comes_out_decides_and_not_what_is_declared(tmp_path: Path) -> None:
    """Converters of LightGBM declare [1] for the label of each row."""
    path = models.save(
        tmp_path / "model.onnx",
        [helper.make_node("ArgMax", ["X"], ["label"], axis=1, keepdims=0)],
        [("X", TensorProto.FLOAT, ["n", 3])],
        [("label", TensorProto.INT64, [1])],
    )
    assert tried(path).batching == "on"


def test_an_output_that_is_one_for_all_rows_is_named(tmp_path: Path) -> None:
    path = models.save(
        tmp_path / "model.onnx",
        [helper.make_node("ReduceMax", ["X"], ["largest"], axes=[0], keepdims=1)],
        [("X", TensorProto.FLOAT, ["n", 3])],
        [("largest", TensorProto.FLOAT, ["n", 3])],
    )
    assert tried(path).batching == "off: output 'largest' does not have one row for each row of the inputs"


def threads_of(model: Model) -> tuple[int, int]:
    """Of a run among others, and of one alone."""
    sessions = (model._session, model._session_alone)
    one, alone = (session.get_session_options().intra_op_num_threads for session in sessions)
    return one, alone


@pytest.fixture
def five_cores(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(tryout, "cores", lambda: 5)
    yield


@pytest.mark.usefixtures("five_cores")
@pytest.mark.parametrize(
    ("small_file", "large", "faster", "threads"),
    [
        (True, 0.0, 1e9, (1, 5)),
        (True, 0.0, 0.0, (1, 1)),
        (True, 1e9, 1e9, (1, 1)),
        (False, 0.0, 0.0, (5, 5)),
        (False, 1e9, 0.0, (5, 5)),
    ],
)
def test_threads_are_chosen_by_what_a_run_takes(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    small_file: bool,
    large: float,
    faster: float,
    threads: tuple[int, int],
) -> None:
    """A small file is loaded twice, for runs among others and for lone ones, if those are large and then faster."""
    monkeypatch.setattr(tryout, "LARGE", large)
    monkeypatch.setattr(tryout, "_FASTER", faster)
    monkeypatch.setattr(tryout, "_SMALL_FILES", 1 << 40 if small_file else 0)
    found = start_of(models.score(tmp_path / "model.onnx"))
    assert (threads_of(found.model), found.threads) == (threads, 4)


@pytest.mark.usefixtures("five_cores")
@pytest.mark.parametrize(("free", "threads"), [(True, (1, 5)), (False, (1, 1))])
def test_where_users_rows_may_be_longer_both_sessions_are_there(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, free: bool, threads: tuple[int, int]
) -> None:
    """What a row of length one takes says nothing of theirs; which runs are large is learnt from them."""
    with caplog.at_level("INFO"):
        found = start_of(models.by_rows(tmp_path / "model.onnx", "Neg", columns="k" if free else 1))
    assert threads_of(found.model) == threads
    assert (found.row_seconds is None) == free
    [said] = [line for line in caplog.messages if line.startswith("a run of one made-up row")]
    assert ("whose free dimensions have length 1" in said) == free
    assert "with 1 thread(s)" in said
    assert f"alone has {threads[1]} (--threads and --intra-op-threads change that)" in said


@pytest.mark.usefixtures("five_cores")
def test_where_nothing_could_be_measured_both_sessions_are_there(tmp_path: Path, counted: Counted) -> None:
    """What failed with the first is not tried with the second: it might have had no end."""
    found = start_of(models.long_rows(tmp_path / "model.onnx"))
    assert (threads_of(found.model), found.row_seconds) == ((1, 5), None)
    assert counted.rows == [1]


def test_no_run_has_more_threads_than_were_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tryout, "cores", lambda: 64)
    found = start_of(models.by_rows(tmp_path / "model.onnx", "Neg", columns="k"))
    assert threads_of(found.model) == (1, 8)


@pytest.mark.usefixtures("five_cores")
def test_where_one_run_is_at_a_time_it_has_all_cores(tmp_path: Path) -> None:
    found = start_of(models.score(tmp_path / "model.onnx"), "--threads", "1")
    assert (threads_of(found.model), found.threads) == ((5, 5), 1)


@pytest.mark.usefixtures("five_cores")
@pytest.mark.parametrize("given", ["folder", "file"])
@pytest.mark.parametrize("location", ["weights.bin", "weights/of/all.bin"])
def test_weights_count_wherever_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, location: str
) -> None:
    file = models.with_weights(tmp_path / "artifact" / ("model.onnx" if given == "folder" else "other.onnx"), location)
    weights = file.parent / location
    path = file.parent if given == "folder" else file
    for limit, threads in ((weights.stat().st_size, (5, 5)), (1 << 20, (1, 5))):
        monkeypatch.setattr(tryout, "_SMALL_FILES", limit)
        assert threads_of(start_of(path).model) == threads


@pytest.mark.usefixtures("five_cores")
def test_threads_that_are_given_are_not_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tryout, "LARGE", 0.0)
    found = start_of(models.score(tmp_path / "model.onnx"), "--threads", "3", "--intra-op-threads", "2")
    assert (threads_of(found.model), found.threads) == ((2, 2), 3)


@pytest.mark.usefixtures("five_cores")
def test_what_takes_long_to_load_is_loaded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tryout, "LARGE", 0.0)
    assert threads_of(start_of(models.score(tmp_path / "model.onnx"), budget=0).model) == (1, 1)


def test_threads_do_not_spin(tmp_path: Path) -> None:
    options = tried(models.score(tmp_path / "model.onnx"))._session.get_session_options()
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


LIMITS = {
    "none": ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, 64),
    "a part of a core": ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "20000 100000\n"}, 1),
    "two and a half": ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "250000 100000\n"}, 3),
    "of the group above": (
        {
            "proc/self/cgroup": "0::/pod/container\n",
            "sys/fs/cgroup/pod/cpu.max": "200000 100000",
            "sys/fs/cgroup/pod/container/cpu.max": "max 100000",
        },
        2,
    ),
    "more than there are": ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "9900000 100000"}, 64),
    "version 1": (
        {
            "proc/self/cgroup": "4:memory:/m\n3:cpu,cpuacct:/elsewhere\n0::/\n",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "400000\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
        },
        4,
    ),
    "version 1, none": (
        {
            "proc/self/cgroup": "3:cpu:/\n",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
        },
        64,
    ),
    "nothing to read": ({}, 64),
    "nonsense": ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "soon\n"}, 64),
}


@pytest.mark.parametrize("name", LIMITS)
def test_cores_are_those_of_the_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    files, expected = LIMITS[name]
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(64)))
    assert cores(tmp_path) == expected


def test_what_the_start_runs_on_has_the_shapes_that_it_is_told(tmp_path: Path) -> None:
    model = tried(models.long_rows(tmp_path / "model.onnx"))
    made = examples(model, 2, {"IN": (1, 1, 7)})
    assert made["IN"].shape == (2, 1, 7)
    assert not np.array_equal(made["IN"][0], made["IN"][1])


def test_sigterm_while_a_model_loads(tmp_path: Path) -> None:
    models.score(tmp_path / "model.onnx")
    before = """
import threading
from headgate_serving.runtime import tryout
from headgate_serving.server import worker
worker._SAY_EVERY = 0.2
tryout.load_model = lambda *_, **__: threading.Event().wait()
"""
    served = Served(tmp_path, log=tmp_path / "termination-log", before=before, until="still loading the model")
    served.process.send_signal(signal.SIGTERM)
    assert served.process.wait(PATIENCE) == 0
    assert served.stop() == 0
