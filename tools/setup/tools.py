"""Programs built from Go modules, each once for all checkouts.

A tool is a folder beside this file with a `go.mod` that pins its version and a `go.sum` that pins its bytes.
`paths()` is what the cluster and the images call; it builds what is missing.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from . import cache, packages, progress
from .errors import Missing

HERE = Path(__file__).resolve().parent
GO_NEEDED = (1, 26)


@dataclass(frozen=True)
class Tool:
    """One Go build: a folder with a go.mod, and the packages whose programs it makes."""

    name: str
    packages: tuple[str, ...]
    tags: str = ""
    # Module whose version the program should report, and the variables that hold it.
    versioned_by: str = ""
    version_variables: tuple[str, ...] = ()
    beside: Path = HERE

    @property
    def folder(self) -> Path:
        """Where its go.mod is."""
        return self.beside / self.name

    @property
    def version(self) -> str:
        """The version that go.mod pins."""
        found = re.search(rf"\s{re.escape(self.versioned_by)} (v\S+)", (self.folder / "go.mod").read_text())
        return found.group(1) if found else ""

    @property
    def key(self) -> str:
        """Hash of everything that shapes the binary."""
        return cache.digest(self.folder, *self.packages, self.tags, self.ldflags)

    @property
    def ldflags(self) -> str:
        """Strip symbols; tell the program its version, which only a release build would know."""
        stamps = [f"-X {variable}={self.version}" for variable in self.version_variables]
        return " ".join(["-s", "-w", *stamps])


TOOLS = (
    Tool(
        "kube",
        (".",),
        versioned_by="k8s.io/kubernetes",
        version_variables=(
            "k8s.io/component-base/version.gitVersion",
            "k8s.io/client-go/pkg/version.gitVersion",
        ),
    ),
    Tool("coredns", ("github.com/coredns/coredns",)),
    Tool(
        "helm",
        ("helm.sh/helm/v4/cmd/helm",),
        versioned_by="helm.sh/helm/v4",
        version_variables=("helm.sh/helm/v4/internal/version.version",),
    ),
    Tool(
        "prometheus",
        (
            "github.com/prometheus/prometheus/cmd/prometheus",
            "github.com/prometheus/prometheus/cmd/promtool",
        ),
        # Without every cloud's service discovery: half the size, half the build.
        tags="remove_all_sd,enable_kubernetes_sd",
        versioned_by="github.com/prometheus/prometheus",
        version_variables=("github.com/prometheus/common/version.Version",),
    ),
    Tool("pause", (".",)),
    Tool("registry", (".",)),
    Tool("h2spec", ("github.com/summerwind/h2spec/cmd/h2spec",)),
    Tool("generator", (".",), beside=cache.REPOSITORY / "bench" / "serving"),
)


def ensure(name: str) -> Path:
    """Build a tool unless the cache has it; return the folder with its programs."""
    tool = next(tool for tool in TOOLS if tool.name == name)
    return cache.once("tools", tool.name, tool.key, lambda folder: _build(tool, folder))


def ensure_all() -> None:
    """Build whatever the cache does not have yet."""
    for tool in TOOLS:
        ensure(tool.name)


def _build(tool: Tool, folder: Path) -> None:
    go = _go()
    folder.mkdir()
    argv = [str(go), "build", "-trimpath", "-buildvcs=false", "-ldflags", tool.ldflags, "-tags", tool.tags]
    progress.run(
        f"building {tool.name} (once; kept in the cache)",
        [*argv, "-o", f"{folder}/", *tool.packages],
        cwd=tool.folder,
        env={"CGO_ENABLED": "0", "GOWORK": "off", "GOFLAGS": ""},
        log=cache.root() / "logs" / f"build-{tool.name}.log",
    )


def _go() -> Path:
    wanted = ".".join(map(str, GO_NEEDED))
    go = packages.which("go") or next(iter(Path("/usr/local/go/bin").glob("go")), None)
    if go is None:
        raise Missing(f"Go {wanted} or newer is needed to build the cluster's programs. Install it and try again.")
    text = subprocess.run([go, "env", "GOVERSION"], check=True, capture_output=True, text=True).stdout
    found = re.match(r"go(\d+)\.(\d+)", text)
    if found and (int(found[1]), int(found[2])) < GO_NEEDED:
        raise Missing(f"Go {wanted} or newer is needed, and {go} is {text.strip()}.")
    return go
