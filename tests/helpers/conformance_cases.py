"""The whole table."""

import cases_datatypes
import cases_discovery
import cases_grpc
import cases_rest
import cases_rest_wrong

CASES = [
    *cases_discovery.CASES,
    *cases_rest.CASES,
    *cases_rest_wrong.CASES,
    *cases_datatypes.CASES,
    *cases_grpc.CASES,
]
