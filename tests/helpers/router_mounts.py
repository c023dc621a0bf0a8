"""Secrets as the kubelet mounts them."""

import itertools
from dataclasses import dataclass
from pathlib import Path

_numbers = itertools.count()


@dataclass
class Mount:
    """All files of one state are behind one link, which is replaced whole."""

    root: Path

    def __post_init__(self) -> None:
        self.root.mkdir()

    def fill(self, **files: str | bytes) -> None:
        """Underscores in names stand for points: `tls_crt`."""
        place = self.root / f"..state-{next(_numbers)}"
        place.mkdir()
        for name, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            Path(place, name.replace("_", ".")).write_bytes(data)
        link = self.root / "..data"
        before = link.resolve() if link.exists() else None
        beside = self.root / "..data_tmp"
        beside.symlink_to(place.name)
        beside.replace(link)
        for name in set(files) - {file.name for file in self.root.iterdir()}:
            visible = self.root / name.replace("_", ".")
            if not visible.is_symlink():
                visible.symlink_to(f"..data/{visible.name}")
        if before:
            for file in before.iterdir():
                file.unlink()
            before.rmdir()
