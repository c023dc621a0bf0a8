"""Names of Envoy's own series, and of those that it counts for Headgate."""

from headgate.api import contract

SUCCESSES = "envoy_cluster_endpoint_rq_success"
ERRORS = "envoy_cluster_endpoint_rq_error"
ANSWERED = "envoy_cluster_canary_upstream_rq_time_count"
ANSWERED_WITHIN = "envoy_cluster_canary_upstream_rq_time_bucket"
"""Times of the answers that a revision's own pods gave; neither rescues nor attempts that were given up."""
UPTIME = "envoy_server_uptime"
REFUSED = f"envoy_{contract.REFUSED}"
REJECTED = f"envoy_{contract.REJECTED}"
