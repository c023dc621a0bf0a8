"""Thirty models of scikit-learn, LightGBM, XGBoost and CatBoost, written by their exporters with no option set.

Runs in an environment of its own (`exporters.txt`), as `python exporting.py FOLDER`: for each model FOLDER/NAME has
`model.onnx` and `requests.npz` (request.input → values), or `failed.txt` with what the exporter said.
"""

import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import catboost
import lightgbm
import numpy as np
import onnxmltools
import skl2onnx
import sklearn.calibration
import sklearn.cluster
import sklearn.compose
import sklearn.datasets
import sklearn.decomposition
import sklearn.ensemble
import sklearn.feature_extraction.text
import sklearn.gaussian_process
import sklearn.linear_model
import sklearn.multioutput
import sklearn.naive_bayes
import sklearn.neighbors
import sklearn.neural_network
import sklearn.pipeline
import sklearn.preprocessing
import sklearn.svm
import sklearn.tree
import xgboost
from onnxmltools.convert.common.data_types import FloatTensorType as MlFloat
from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType, StringTensorType

ROWS = (1, 7, 64)
X, Y = sklearn.datasets.make_classification(600, 8, n_informative=6, random_state=1)
X = X.astype(np.float32)
_, THREE = sklearn.datasets.make_classification(600, 8, n_informative=6, n_classes=3, random_state=1)
NAMES = np.array(["no", "yes"])[Y]
AMOUNT = (X @ np.arange(8) + 3).astype(np.float32)
WORDS = np.array([["a red fox"], ["the lazy dog"], ["red and blue"], ["no dog here"]] * 25)

Requests = list[dict[str, np.ndarray[Any, Any]]]


def _tables(values: Any = X, name: str = "X") -> Requests:
    return [{name: values[:rows]} for rows in ROWS]


def _sklearn(model: Any, truth: Any, dtype: Any = np.float32) -> Callable[[Path], Requests]:
    def write(path: Path) -> Requests:
        values = X.astype(dtype)
        kind = DoubleTensorType if dtype is np.float64 else FloatTensorType
        model.fit(values, truth)
        converted = skl2onnx.convert_sklearn(model, initial_types=[("X", kind([None, X.shape[1]]))])
        path.write_bytes(converted.SerializeToString())
        return _tables(values)

    return write


def _mixed(path: Path) -> Requests:
    """Columns of numbers and of text, each an input."""
    import pandas

    rng = np.random.default_rng(1)
    table = pandas.DataFrame({"age": X[:, 0], "fare": X[:, 1]})
    table["city"] = rng.choice(["Rome", "Oslo", "Lima"], len(X))
    table["class"] = rng.choice(["a", "b"], len(X))
    encoder = sklearn.preprocessing.OneHotEncoder(handle_unknown="ignore")
    steps = [("n", sklearn.preprocessing.StandardScaler(), ["age", "fare"]), ("t", encoder, ["city", "class"])]
    model = sklearn.pipeline.make_pipeline(
        sklearn.compose.ColumnTransformer(steps), sklearn.linear_model.LogisticRegression()
    ).fit(table, NAMES)
    kinds = [
        (name, StringTensorType([None, 1]) if name in ("city", "class") else FloatTensorType([None, 1]))
        for name in table
    ]
    path.write_bytes(skl2onnx.convert_sklearn(model, initial_types=kinds).SerializeToString())
    return [{name: table[name].to_numpy()[:rows, None] for name in table} for rows in ROWS]


def _text(path: Path) -> Requests:
    tfidf = sklearn.feature_extraction.text.TfidfVectorizer()
    model = sklearn.pipeline.make_pipeline(tfidf, sklearn.linear_model.LogisticRegression())
    model.fit(WORDS.ravel(), np.arange(len(WORDS)) % 2)
    converted = skl2onnx.convert_sklearn(model, initial_types=[("X", StringTensorType([None, 1]))])
    path.write_bytes(converted.SerializeToString())
    return _tables(WORDS)


def _boosted(model: Any, truth: Any, convert: Callable[..., Any]) -> Callable[[Path], Requests]:
    def write(path: Path) -> Requests:
        model.fit(X, truth)
        path.write_bytes(convert(model, initial_types=[("X", MlFloat([None, X.shape[1]]))]).SerializeToString())
        return _tables()

    return write


def _catboost(model: Any, truth: Any) -> Callable[[Path], Requests]:
    def write(path: Path) -> Requests:
        model.fit(X, truth)
        model.save_model(str(path), format="onnx")
        return _tables(name="features")

    return write


def _lightgbm(model: Any, truth: Any) -> Callable[[Path], Requests]:
    return _boosted(model, truth, onnxmltools.convert_lightgbm)


def _xgboost(model: Any, truth: Any) -> Callable[[Path], Requests]:
    return _boosted(model, truth, onnxmltools.convert_xgboost)


_QUIET = {"verbose": -1, "n_jobs": 1}
_CAT = {"iterations": 30, "verbose": False, "allow_writing_files": False, "thread_count": 1}
_linear, _ensemble = sklearn.linear_model, sklearn.ensemble
MODELS: dict[str, Callable[[Path], Requests]] = {
    "sklearn LogisticRegression": _sklearn(_linear.LogisticRegression(), Y),
    "sklearn LogisticRegression, float64": _sklearn(_linear.LogisticRegression(), Y, np.float64),
    "sklearn LogisticRegression, text labels": _sklearn(_linear.LogisticRegression(), NAMES),
    "sklearn LogisticRegression, three classes": _sklearn(_linear.LogisticRegression(), THREE),
    "sklearn RandomForestClassifier": _sklearn(_ensemble.RandomForestClassifier(30, random_state=1), THREE),
    "sklearn GradientBoostingClassifier": _sklearn(_ensemble.GradientBoostingClassifier(random_state=1), Y),
    "sklearn GaussianNB": _sklearn(sklearn.naive_bayes.GaussianNB(), Y),
    "sklearn SVC": _sklearn(sklearn.svm.SVC(), Y),
    "sklearn KNeighborsClassifier": _sklearn(sklearn.neighbors.KNeighborsClassifier(), Y),
    "sklearn MLPClassifier": _sklearn(sklearn.neural_network.MLPClassifier((16,), max_iter=50, random_state=1), Y),
    "sklearn CalibratedClassifierCV": _sklearn(
        sklearn.calibration.CalibratedClassifierCV(_linear.LogisticRegression()), Y
    ),
    "sklearn DecisionTreeClassifier": _sklearn(sklearn.tree.DecisionTreeClassifier(max_depth=5, random_state=1), NAMES),
    "sklearn MultiOutputClassifier": _sklearn(
        sklearn.multioutput.MultiOutputClassifier(_linear.LogisticRegression()), np.column_stack([Y, THREE])
    ),
    "sklearn KMeans": _sklearn(sklearn.cluster.KMeans(4, random_state=1, n_init=1), None),
    "sklearn PCA": _sklearn(sklearn.decomposition.PCA(3), None),
    "sklearn GaussianProcessRegressor": _sklearn(sklearn.gaussian_process.GaussianProcessRegressor(), AMOUNT),
    "sklearn RandomForestRegressor": _sklearn(_ensemble.RandomForestRegressor(30, random_state=1), AMOUNT),
    "sklearn Ridge": _sklearn(_linear.Ridge(), AMOUNT),
    "sklearn ColumnTransformer": _mixed,
    "sklearn TfidfVectorizer": _text,
    "LightGBM classifier": _lightgbm(lightgbm.LGBMClassifier(n_estimators=30, **_QUIET), Y),
    "LightGBM classifier, three classes": _lightgbm(lightgbm.LGBMClassifier(n_estimators=30, **_QUIET), THREE),
    "LightGBM classifier, 400 trees": _lightgbm(lightgbm.LGBMClassifier(n_estimators=400, **_QUIET), Y),
    "LightGBM regressor": _lightgbm(lightgbm.LGBMRegressor(n_estimators=30, **_QUIET), AMOUNT),
    "XGBoost classifier": _xgboost(xgboost.XGBClassifier(n_estimators=30, n_jobs=1), Y),
    "XGBoost classifier, three classes": _xgboost(xgboost.XGBClassifier(n_estimators=30, n_jobs=1), THREE),
    "XGBoost regressor": _xgboost(xgboost.XGBRegressor(n_estimators=30, n_jobs=1), AMOUNT),
    "CatBoost classifier": _catboost(catboost.CatBoostClassifier(**_CAT), Y),
    "CatBoost classifier, three classes": _catboost(catboost.CatBoostClassifier(**_CAT), THREE),
    "CatBoost regressor": _catboost(catboost.CatBoostRegressor(**_CAT), AMOUNT),
}


def main(folder: Path) -> None:
    """Write all of them."""
    warnings.simplefilter("ignore")
    for name, write in MODELS.items():
        place = folder / name
        place.mkdir(parents=True)
        try:
            requests = write(place / "model.onnx")
        except Exception:
            (place / "failed.txt").write_text(traceback.format_exc())
            continue
        arrays = {f"{number}.{key}": values for number, one in enumerate(requests) for key, values in one.items()}
        np.savez(place / "requests.npz", **{key: _plain(values) for key, values in arrays.items()})


def _plain(values: Any) -> Any:
    """Text as numpy saves it without pickle."""
    return values.astype("U") if values.dtype.kind in "OUT" else values


if __name__ == "__main__":
    main(Path(sys.argv[1]))
