"""Settings from the environment."""

import pytest

from headgate.core.model import Defaults, NetworkAccess
from headgate.errors import SettingsError
from headgate.settings import read_settings

LEAST = {"HEADGATE_SERVING_IMAGE": "serving:1", "HEADGATE_ENVOY_IMAGE": "envoy:1"}


def test_the_images_are_all_that_is_needed() -> None:
    found = read_settings(LEAST)
    assert (found.serving_image, found.envoy_image) == ("serving:1", "envoy:1")
    assert (found.lease_seconds, found.workers, found.namespaces) == (15.0, 16, [])


def test_every_setting_has_a_variable() -> None:
    found = read_settings(
        {
            **LEAST,
            "HEADGATE_IMAGE_PULL_POLICY": "Never",
            "HEADGATE_IMAGE_PULL_SECRETS": "registry,my.other",
            "HEADGATE_PROMETHEUS_URL": "http://prometheus",
            "HEADGATE_NETWORK_POLICIES": '{"scrapers": [{"podSelector": {}}]}',
            "HEADGATE_METRICS_STALE_SECONDS": "45",
            "HEADGATE_METRICS_AUTHENTICATION": "true",
            "HEADGATE_METRICS_AUDIENCE": "headgate-metrics",
            "HEADGATE_WATCH_NAMESPACES": "a, b,,",
            "HEADGATE_WORKERS": "8",
            "HEADGATE_PORT": "9000",
            "HEADGATE_LEASE_NAME": "lease",
            "HEADGATE_LEASE_SECONDS": "15",
            "HEADGATE_LOG_LEVEL": "DEBUG",
            "POD_NAME": "operator-0",
            "POD_NAMESPACE": "system",
        }
    )
    assert found.namespaces == ["a", "b"]
    assert (found.metrics_stale_seconds, found.workers, found.port) == (45.0, 8, 9000)
    assert (found.identity, found.pod_namespace, found.log_level) == ("operator-0", "system", "DEBUG")
    assert found.image_pull_policy == "Never"
    assert (found.metrics_authentication, found.metrics_audience) == (True, "headgate-metrics")
    network = NetworkAccess(({"podSelector": {}},))
    assert found.defaults == Defaults("serving:1", "envoy:1", "Never", ("registry", "my.other"), network)


def test_other_variables_are_passed_over() -> None:
    assert read_settings({**LEAST, "HEADGATE_COLOUR": "blue", "PATH": "/bin"}) == read_settings(LEAST)


def test_without_a_pod_name_the_identity_is_host_and_process() -> None:
    assert "-" in read_settings(LEAST).identity


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("HEADGATE_SERVING_IMAGE", ""),
        ("HEADGATE_WORKERS", "0"),
        ("HEADGATE_WORKERS", "many"),
        ("HEADGATE_LEASE_SECONDS", "1"),
        ("HEADGATE_METRICS_STALE_SECONDS", "0"),
        ("HEADGATE_PORT", "http"),
        ("HEADGATE_PORT", "70000"),
        ("HEADGATE_LOG_LEVEL", "LOUD"),
        ("HEADGATE_IMAGE_PULL_POLICY", "Sometimes"),
        ("HEADGATE_IMAGE_PULL_SECRETS", "A Secret"),
        ("HEADGATE_IMAGE_PULL_SECRETS", "one,,two"),
        ("HEADGATE_NETWORK_POLICIES", "true"),
        ("HEADGATE_NETWORK_POLICIES", '{"scraper": []}'),
    ],
)
def test_a_wrong_setting_is_named(variable: str, value: str) -> None:
    with pytest.raises(SettingsError, match=variable):
        read_settings({**LEAST, variable: value})


def test_all_wrong_settings_are_named_at_once() -> None:
    with pytest.raises(SettingsError) as raised:
        read_settings({"HEADGATE_WORKERS": "0"})
    for variable in ("HEADGATE_SERVING_IMAGE", "HEADGATE_ENVOY_IMAGE", "HEADGATE_WORKERS"):
        assert variable in str(raised.value)
