"""What a version answers is looked at when it is whole, before the user gets it: somebody else may have to answer.

`clusters` puts the filters between the router and the candidate's connections, and stable's where there is a fallback.
Envoy passes an answer on as it comes, and what the user has seen the beginning of can't be tried again. A call of gRPC
may also fail at its very end, where Envoy doesn't look for a reason to try again: so the reason is put at its
beginning.

A candidate that refuses a request, or answers with NaN or infinity, may be wrong, or the request is. Stable tells:
such an answer is marked with a header for which the clusters have Envoy try the next in line. What stable answers goes
to the user in any case, a refusal too, so a request that is wrong reaches no fallback. `access_log` counts what
became of it, by the stream's metadata that are set here.

Which pod has answered is known by its metadata alone: the first try of a candidate's request goes to stable where the
candidate has no pod.
"""

from typing import Any

from headgate.api import contract
from headgate.api.contract import Rejection
from headgate_serving.router.envoy.config.layout import BODY_LIMIT
from headgate_serving.router.envoy.config.names import METADATA

_TYPE = "type.googleapis.com/envoy.extensions."

_RETRIED = ("8", "13", "14")
"""RESOURCE_EXHAUSTED, INTERNAL, UNAVAILABLE."""

REFUSALS = {
    "INVALID_ARGUMENT": "3",
    "NOT_FOUND": "5",
    "ALREADY_EXISTS": "6",
    "PERMISSION_DENIED": "7",
    "FAILED_PRECONDITION": "9",
    "ABORTED": "10",
    "OUT_OF_RANGE": "11",
    "UNIMPLEMENTED": "12",
    "UNAUTHENTICATED": "16",
}
"""Statuses of gRPC that blame the request, as 4xx does; the rest says that the server or the time has failed."""

NO_REFUSALS = (408, 429)
"""Statuses 4xx that say nothing about the request: it was slow, or there are too many."""

_WHOLE = f"""
local failed = {{{", ".join(f'["{status}"] = true' for status in _RETRIED)}}}
-- Waits until the answer is whole, and returns a call's status. One that says that it is larger than Envoy keeps goes
-- on as it comes.
local function status_of_call(handle)
  local headers = handle:headers()
  local size = tonumber(headers:get("content-length") or "")
  if size ~= nil and size > {BODY_LIMIT} then return headers:get("grpc-status") end
  handle:body()
  local trailers = handle:trailers()
  local status = trailers and trailers:get("grpc-status")
  if status and failed[status] then handle:headers():replace("grpc-status", status) end
  return status or handle:headers():get("grpc-status")
end
"""

_KEPT = f"""{_WHOLE}
function envoy_on_response(handle) status_of_call(handle) end
"""

_KINDS = f"""{_WHOLE}
local refused = {{{", ".join(f'["{status}"] = true' for status in REFUSALS.values())}}}
local no_refusals = {{{", ".join(f'["{status}"] = true' for status in NO_REFUSALS)}}}
local rejected = {{{Rejection.REFUSAL} = true, {Rejection.INVALID} = true}}
-- What an answer is, by its headers and, of a call, the status.
local function kind_of(headers, call)
  local status = headers:get(":status")
  if refused[call] or (status:sub(1, 1) == "4" and not no_refusals[status]) then return "{Rejection.REFUSAL}" end
  if status:sub(1, 1) == "2" and (call == nil or call == "0") then
    return headers:get("{contract.INVALID_HEADER}") and "{Rejection.INVALID}" or "good"
  end
end
"""


def _marking(candidate: str) -> str:
    return f"""{_KINDS}
function envoy_on_response(handle)
  local call = status_of_call(handle)
  local headers = handle:headers()
  local kind = kind_of(headers, call)
  if rejected[kind] and headers:get("{contract.REVISION_HEADER}") == "{candidate}" then
    headers:replace("{contract.REJECTED_HEADER}", kind)
  end
end
"""


def _counting(candidate: str) -> str:
    return f"""{_KINDS}
local function said(handle) return handle:streamInfo():dynamicMetadata():get("{METADATA}") or {{}} end
local function say(handle, what, value) handle:streamInfo():dynamicMetadata():set("{METADATA}", what, value) end
function envoy_on_response(handle)
  local call = status_of_call(handle)
  local headers = handle:headers()
  local kind, revision = kind_of(headers, call), headers:get("{contract.REVISION_HEADER}")
  if revision == "{candidate}" then
    if not rejected[kind] then return end
    headers:replace("{contract.REJECTED_HEADER}", kind)
    say(handle, "{Rejection.REASON}", kind)
    say(handle, "{contract.REVISION}", revision)
    say(handle, "{Rejection.OUTCOME}", "{Rejection.UNDECIDED}")
  elseif revision then
    local reason = said(handle).{Rejection.REASON}
    if reason and kind == "good" then say(handle, "{Rejection.OUTCOME}", "{Rejection.ANSWERED}") end
    local both = reason == "{Rejection.INVALID}" and kind == reason
    if both then say(handle, "{Rejection.OUTCOME}", "{Rejection.ALIKE}") end
  end
end
"""


def response_buffering(candidate: str | None = None, *, counted: bool = False) -> list[dict[str, Any]]:
    """The filters of a cluster whose answers are kept until they are whole.

    `candidate` is the revision whose refusals and invalid answers stable is asked about; `counted` where what becomes
    of them is evidence.
    """
    if candidate is None:
        return [_lua(_KEPT), _CODEC]
    return [_lua((_counting if counted else _marking)(candidate)), _WHO_ANSWERS, _CODEC]


def _lua(script: str) -> dict[str, Any]:
    return {
        "name": "envoy.filters.http.lua",
        "typed_config": {"@type": _TYPE + "filters.http.lua.v3.Lua", "default_source_code": {"inline_string": script}},
    }


_WHO_ANSWERS = {
    "name": "envoy.filters.http.header_mutation",
    "typed_config": {
        "@type": _TYPE + "filters.http.header_mutation.v3.HeaderMutation",
        "mutations": {
            "response_mutations": [
                {"remove": contract.REJECTED_HEADER},
                {"remove": contract.REVISION_HEADER},
                {
                    "append": {
                        "header": {
                            "key": contract.REVISION_HEADER,
                            "value": f"%UPSTREAM_METADATA({METADATA}:revision)%",
                        },
                        "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
                    }
                },
            ]
        },
    },
}
"""Comes before the script, for answers pass the filters from the last to the first."""

_CODEC = {
    "name": "envoy.filters.http.upstream_codec",
    "typed_config": {"@type": _TYPE + "filters.http.upstream_codec.v3.UpstreamCodec"},
}
