"""The configuration files of a Swift that keeps one copy of everything on one device."""

import secrets
from collections.abc import Mapping
from configparser import RawConfigParser
from pathlib import Path

ACCESS_KEY = "tenon:tests"
SECRET_KEY = "tests-only-secret-1f0c"
REGION = "us-east-1"
BACKENDS = ("object", "container", "account")
DEVICE = "disk"

# In the order a request passes them. s3api translates S3 into Swift's own protocol, tempauth checks its signature, slo
# puts multipart uploads together.
_FILTERS: Mapping[str, Mapping[str, str]] = {
    "catch_errors": {},
    "gatekeeper": {},
    "healthcheck": {},
    "listing_formats": {},
    "s3api": {"location": REGION, "s3_acl": "false"},
    "tempauth": {f"user_{ACCESS_KEY.replace(':', '_')}": f"{SECRET_KEY} .admin"},
    "copy": {},
    "slo": {},
    "dlo": {},
    "versioned_writes": {"allow_versioned_writes": "true", "allow_object_versioning": "true"},
    "symlink": {},
}


def write_swift_conf(etc: Path) -> None:
    """Write swift.conf once: its hash suffix decides where objects lie, so it must last as long as they do."""
    path = etc / "swift.conf"
    if not path.exists():
        hashing = {"swift_hash_path_suffix": secrets.token_hex(16)}
        _write(path, {"swift-hash": hashing, "storage-policy:0": {"name": "single", "default": "yes"}})


def write_server_confs(root: Path, etc: Path) -> dict[str, Path]:
    """Write the configuration of the proxy and of the servers behind it; return the paths by name."""
    shared = {
        "swift_dir": str(etc),
        "devices": str(root / "devices"),
        "mount_check": "false",
        "disable_fallocate": "true",
        "fallocate_reserve": "0",
        "recon_cache_path": str(root / "recon"),
        "log_level": "WARNING",
    }
    sections = {name: _backend(name) for name in BACKENDS} | {"proxy": _proxy()}
    paths = {name: etc / f"{name}-server.conf" for name in sections}
    for name, path in paths.items():
        _write(path, {"DEFAULT": shared} | sections[name])
    return paths


def _backend(name: str) -> dict[str, dict[str, str]]:
    return {"pipeline:main": {"pipeline": f"{name}-server"}, f"app:{name}-server": {"use": f"egg:swift#{name}"}}


def _proxy() -> dict[str, dict[str, str]]:
    filters = {f"filter:{name}": {"use": f"egg:swift#{name}", **options} for name, options in _FILTERS.items()}
    return filters | {
        "pipeline:main": {"pipeline": " ".join([*_FILTERS, "proxy-server"])},
        "app:proxy-server": {"use": "egg:swift#proxy", "account_autocreate": "true"},
    }


def _write(path: Path, sections: Mapping[str, Mapping[str, str]]) -> None:
    parser = RawConfigParser()
    parser.read_dict(sections)
    with path.open("w") as file:
        parser.write(file)
