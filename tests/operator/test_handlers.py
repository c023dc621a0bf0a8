"""kopf as informer: events become keys, objects become children, nothing else happens."""

from types import SimpleNamespace

import kopf
import pytest

from headgate.errors import HeadgateError
from headgate.handlers import Informer, kopf_settings, register
from headgate.queue import Key, Queue


class Wired:
    """Handlers as they are registered, without a cluster."""

    def __init__(self):
        self.queue, self.informer, self.changed = Queue(lambda: 0.0), Informer(), []
        self.registry = kopf.OperatorRegistry()
        register(self.registry, self.queue, self.informer, lambda *about: self.changed.append(about))
        self.watchers = {h.selector.any_name or h.selector.plural: h.fn for h in self.registry._watching._handlers}
        self.indexers = {h.id: h.fn for h in self.registry._indexing._handlers}

    def child(self, plural, type_="MODIFIED", labels=None, **meta):
        labels = {"headgate.dev/model": "fraud"} if labels is None else labels
        event = {"type": type_, "object": {"metadata": {"name": "x", **meta}}}
        resource = SimpleNamespace(plural=plural)
        self.watchers[plural](namespace="models", event=event, resource=resource, labels=labels)

    @property
    def queued(self):
        return list(self.queue._due)


@pytest.fixture
def wired():
    return Wired()


def test_a_model_that_changed_is_looked_at(wired):
    indices = {name: {} for name in ("deployments", "pods", "modelrevisions")}
    wired.watchers["modeldeployments"](namespace="models", name="fraud", event={}, **indices)
    assert wired.queued == [Key("models", "fraud")]


@pytest.mark.parametrize("plural", ["deployments", "pods", "services"])
def test_a_child_that_changed_leads_to_a_look_at_its_model(wired, plural):
    wired.child(plural, generation=3)
    assert wired.queued == [Key("models", "fraud")]


def test_a_child_without_the_label_is_nobodys(wired):
    wired.child("pods", labels={})
    assert wired.queued == []


def test_changes_and_removals_of_applied_children_are_told(wired):
    wired.child("deployments", generation=3)
    wired.child("services")
    wired.child("deployments", "DELETED", generation=3)
    wired.child("pods", "DELETED")
    assert wired.changed == [
        ("Deployment", "models", "x", 3),
        ("Service", "models", "x", 0),
        ("Deployment", "models", "x", None),
    ]


def test_objects_are_indexed_by_their_model(wired):
    body = {"metadata": {"name": "x"}}
    for plural in ("deployments", "pods", "modelrevisions"):
        found = wired.indexers[plural](namespace="models", body=body, labels={"headgate.dev/model": "fraud"})
        assert found == {("models", "fraud"): body}


def test_children_are_read_from_the_indices_of_kopf(wired):
    store = {("models", "fraud"): [{"metadata": {"name": "a"}}]}
    wired.informer.bind(deployments=store, pods={}, modelrevisions=store)
    found = wired.informer.children("models", "fraud")
    assert [d["metadata"]["name"] for d in found.deployments] == ["a"]
    assert (found.pods, len(found.revisions)) == ([], 1)
    assert wired.informer.children("other", "fraud").deployments == []


def test_before_kopf_has_seen_anything_nothing_is_known_rather_than_empty(wired):
    with pytest.raises(HeadgateError):
        wired.informer.children("models", "fraud")


def test_kopf_writes_nothing_and_watches_what_is_ours():
    settings = kopf_settings()
    assert settings.posting.enabled is False
    assert settings.peering.standalone is True
    assert settings.watching.client_timeout > settings.watching.server_timeout


def test_only_event_and_index_handlers_are_used(wired):
    assert set(wired.watchers) == {"modeldeployments", "deployments", "pods", "services"}
    assert set(wired.indexers) == {"deployments", "pods", "modelrevisions"}
    assert not wired.registry._changing._handlers
    assert not wired.registry._spawning._handlers
    assert not wired.registry._webhooks._handlers
