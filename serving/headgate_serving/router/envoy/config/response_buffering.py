"""Answers in whose place another may come go to the user when they are whole: one that breaks off half-way is not lost.

`clusters` puts the filter between the router and the candidate's connections, and stable's where there is a fallback.
Envoy passes an answer on as it comes, and what the user has seen the beginning of can't be tried again. A call of gRPC
may also fail at its very end, where Envoy doesn't look for a reason to try again: so the reason is put at its
beginning.
"""

from typing import Any

from headgate_serving.router.envoy.config.layout import BODY_LIMIT

_TYPE = "type.googleapis.com/envoy.extensions."

_RETRIED = ("8", "13", "14")
"""RESOURCE_EXHAUSTED, INTERNAL, UNAVAILABLE."""

_SCRIPT = f"""
local retried = {{{", ".join(f'["{status}"] = true' for status in _RETRIED)}}}
-- An answer that says that it is larger than Envoy keeps goes on as it comes.
function envoy_on_response(handle)
  local size = tonumber(handle:headers():get("content-length") or "")
  if size ~= nil and size > {BODY_LIMIT} then return end
  handle:body()
  local trailers = handle:trailers()
  local status = trailers and trailers:get("grpc-status")
  if status and retried[status] then handle:headers():replace("grpc-status", status) end
end
"""


def response_buffering() -> list[dict[str, Any]]:
    """The filters of a cluster whose answers are kept until they are whole."""
    return [
        {
            "name": "envoy.filters.http.lua",
            "typed_config": {
                "@type": _TYPE + "filters.http.lua.v3.Lua",
                "default_source_code": {"inline_string": _SCRIPT},
            },
        },
        {
            "name": "envoy.filters.http.upstream_codec",
            "typed_config": {"@type": _TYPE + "filters.http.upstream_codec.v3.UpstreamCodec"},
        },
    ]
