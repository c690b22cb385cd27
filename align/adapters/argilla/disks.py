"""Where a database may not stand: SQLite's write-ahead log needs memory that all its processes share."""

from __future__ import annotations

from pathlib import Path

from align.errors import UsageError

NETWORK = (
    *("9p", "acfs", "afs", "beegfs", "ceph", "cifs", "coda", "fhgfs", "gfs", "gfs2", "glusterfs", "gpfs", "lustre"),
    *("ncpfs", "nfs", "nfs4", "ocfs2", "orangefs", "panfs", "pvfs2", "smb3", "smbfs", "vboxsf", "wekafs"),
)
NETWORK_FUSE = (
    *("beegfs", "ceph", "cephfs", "cifs", "davfs", "gcsfuse", "glusterfs", "goofys", "juicefs", "mergerfs", "mfs"),
    *("nfs", "rclone", "s3fs", "seaweedfs", "smb", "sshfs"),
)


def refuse_network(path: Path) -> None:
    """UsageError where `path` lies on a file system that other machines see too."""
    try:
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return  # not Linux: nothing is known
    kind = kind_at(path.resolve(), mounts)
    if is_network(kind):
        raise UsageError(
            f"{path}: is on a network file system ({kind}), where a database can be damaged; choose a folder on a disk "
            "of this machine with --home"
        )


def kind_at(path: Path, mounts: str) -> str:
    """The kind of file system at an absolute path, by the lines of `/proc/self/mountinfo`."""
    best, kind = -1, ""
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        fields, told = before.split(), after.split()
        if len(fields) < 5 or not told:
            continue
        point = Path(fields[4].encode("latin-1", "replace").decode("unicode_escape"))
        # of two at the same place the later lies on top
        if path.is_relative_to(point) and len(point.parts) >= best:
            best, kind = len(point.parts), told[0]
    return kind


def is_network(kind: str) -> bool:
    name, _, inner = kind.partition(".")
    return kind in NETWORK or (name in ("fuse", "fuseblk") and inner in NETWORK_FUSE)
