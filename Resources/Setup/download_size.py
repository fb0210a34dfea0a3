"""Prints how much a pip dry run would download: python download_size.py REPORT.json.

Asks for the sizes with pip's own session, so that its settings for proxies, certificates and passwords hold.
"""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

from pip._internal.commands import create_command


def main(report: Path) -> None:
    found = [item["download_info"] for item in json.loads(report.read_text())["install"]]
    addresses = [entry["url"] for entry in found if "dir_info" not in entry]
    remote = [address for address in addresses if urlsplit(address).scheme != "file"]
    command = create_command("install")
    options, _ = command.parse_args([])
    with command.main_context():
        session = command.get_default_session(options)

        def size(address: str) -> int | None:
            try:
                answer = session.head(address, allow_redirects=True, timeout=10)
                return int(answer.headers["Content-Length"]) if answer.ok else None
            except Exception:  # whatever it is, only this size stays unknown
                return None

        with ThreadPoolExecutor(8) as threads:
            sizes = list(threads.map(size, remote))
    known = sum(s for s in sizes if s is not None) / 1e6
    unknown = sizes.count(None)
    print(
        f"To download: {'at least ' if unknown else ''}{known:,.0f} MB in {len(remote)} packages"
        + (f" ({unknown} of unknown size)" if unknown else "")
        + f", less what pip has in its cache; {len(addresses) - len(remote)} more lie on this machine.",
        flush=True,
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
