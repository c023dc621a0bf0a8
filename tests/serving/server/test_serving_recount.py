"""Bins equal a recount of the requests: both protocols, many clients at once, over a restart of the process."""

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import tritonclient.grpc
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer

import serving_models as models
from headgate_serving.monitor import build_profile
from headgate_serving.monitor.profile import Column
from headgate_serving.runtime.model import load_model
from serving_process import Served

WIDTH = 30
RNG = np.random.default_rng(5)

Rows = NDArray[np.float32]


def artifact(folder: Path) -> tuple[Rows, dict[str, Any]]:
    """A classifier of three classes with its profile; the reference rows, and the profile as it was written."""
    rows = load_breast_cancer().data.astype(np.float32)
    weights = RNG.normal(size=(WIDTH, 3)).astype(np.float32) / rows.max(axis=0, keepdims=True).T
    path = models.three_classes(folder / "model.onnx", weights)
    columns = [Column(f"f{at}", "X", at, rows[:, at]) for at in range(WIDTH)]
    profile, left_out = build_profile(columns, load_model(path).run({"X": rows}, ["P", "L"]))
    assert not left_out
    (folder / "profile.json").write_text(profile.to_json())
    return rows, json.loads(profile.to_json())


def live_rows(rows: Rows) -> list[Rows]:
    """Requests of one to seven rows: some values missing, some far out."""
    live = rows[RNG.integers(0, len(rows), 1200)] * RNG.choice([0.0, 1.0, 1.0, 1.0, 3.0], (1200, WIDTH))
    live[RNG.random(live.shape) < 0.01] = np.nan
    cuts = np.cumsum(RNG.integers(1, 8, 1000))
    return [part.astype(np.float32) for part in np.split(live, cuts[cuts < len(live)])]


def over_rest(client: httpx.Client, rows: Rows) -> dict[str, NDArray[Any]]:
    data = [None if np.isnan(value) else float(value) for value in rows.ravel()]
    item = {"name": "X", "datatype": "FP32", "shape": list(rows.shape), "data": data}
    answer = client.post("/v2/models/fraud/infer", json={"inputs": [item]}).json()
    shaped = {one["name"]: np.array(one["data"], float).reshape(one["shape"]) for one in answer["outputs"]}
    return {"P": shaped["P"].astype(np.float32), "L": shaped["L"]}


def over_grpc(client: tritonclient.grpc.InferenceServerClient, rows: Rows) -> dict[str, NDArray[Any]]:
    given = tritonclient.grpc.InferInput("X", list(rows.shape), "FP32").set_data_from_numpy(rows)
    answer = client.infer("fraud", [given])
    return {name: answer.as_numpy(name) for name in ("P", "L")}


def recount(bins: dict[str, Any], values: NDArray[Any], rest: str) -> Counter[str]:
    """By comparisons with each edge, one value at a time: nothing of the monitor's own code."""
    counts: Counter[str] = Counter()
    names = [name for name in bins["counts"] if name[0] in "nc" and name[1:3].isdigit()]
    for value in values.tolist():
        if np.isnan(value):
            counts[rest] += 1
        elif bins["kind"] == "categorical":
            text = str(int(value))
            unknown = "other" if text in bins["others"] else "unseen"
            counts[next((name for name in names if name.split(" ")[1] == text), unknown)] += 1
        elif value < bins["edges"][0]:
            counts["below"] += 1
        elif value > bins["edges"][-1]:
            counts["above"] += 1
        else:
            upper = bins["edges"][1:]
            counts[names[next(at for at, edge in enumerate(upper) if value <= edge)]] += 1
    return counts


def counted(served: Served) -> Counter[tuple[str, str]]:
    """(`feature` or `output`, its name, bin) → count, where there is one."""
    found: Counter[tuple[str, str]] = Counter()
    for series, value in served.metrics().items():
        if series.startswith(("headgate_feature_bin_total{", "headgate_prediction_bin_total{")) and value:
            kind = "feature" if "feature=" in series else "output"
            found[series.split(f'{kind}="')[1].split('"')[0], series.split('bin="')[1].split('"')[0]] = int(value)
    return found


def test_bins_equal_a_recount(tmp_path: Path) -> None:
    reference, profile = artifact(tmp_path)
    requests = live_rows(reference)
    half = len(requests) // 2
    answers: list[dict[str, NDArray[Any]]] = []
    total: Counter[tuple[str, str]] = Counter()
    for part in (requests[:half], requests[half:]):
        served = Served(tmp_path, log=tmp_path / "log")
        try:
            with (
                tritonclient.grpc.InferenceServerClient(served.grpc_address) as calls,
                ThreadPoolExecutor(8) as pool,
            ):
                asks = [partial(over_grpc, calls), partial(over_rest, served.client)] * len(part)
                answers += pool.map(lambda ask, rows: ask(rows), asks, part)
            total += counted(served)
        finally:
            assert served.stop() == 0
    live, shares = np.concatenate(requests), np.concatenate([answer["P"] for answer in answers])
    expected: Counter[tuple[str, str]] = Counter()
    values = {"argmax(P)": shares.argmax(axis=1).astype(float), "max(P)": shares.max(axis=1).astype(float)}
    values["L"] = np.concatenate([answer["L"] for answer in answers]).astype(float)
    unclear = np.isnan(shares).any(axis=1)
    values["argmax(P)"][unclear] = values["max(P)"][unclear] = np.nan
    for bins in profile["features"]:
        column = live[:, bins["column"]].astype(float)
        expected += Counter({(bins["name"], name): n for name, n in recount(bins, column, "missing").items()})
    for bins in profile["outputs"]:
        found = recount(bins, values[bins["name"]], "invalid")
        expected += Counter({(bins["name"], name): n for name, n in found.items()})
    assert {name for name, _ in expected} == {f"f{at}" for at in range(WIDTH)} | set(values)
    assert total == expected
