"""Runs a suite that is its database alone: `python host.py DATA_DIR`. Prints one JSON line, then the ready line."""

import asyncio
import json
import sys
from pathlib import Path

from cli.suite.data_directory import DataDirectory
from cli.suite.keys import SuiteKeys
from cli.suite.process import ProcessSpec
from cli.suite.services import Addresses
from cli.suite.up import UpOptions, run_suite
from services.common.errors import DomainError


def announce(line: str) -> None:
    print(line, flush=True)


def database_alone(directory: DataDirectory, at: Addresses, database_url: str, keys: SuiteKeys) -> list[ProcessSpec]:
    announce(json.dumps({"database_url": database_url, "mark": directory.mark}))
    return []


def main() -> int:
    try:
        options = UpOptions.resolve(Path(sys.argv[1]), "127.0.0.1:0")
        return asyncio.run(run_suite(options, announce, database_alone))
    except DomainError as error:
        print(f"{error.reason}: {error.message}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
