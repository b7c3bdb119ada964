"""Which of Ably's suites run, which of their files, and how each is started."""

import os
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

RESOLVE = Path(__file__).parent / "resolve"
"""What makes a suite find the echo server here."""
FILE_DEADLINE = 900
"""Seconds one file may take; a suite's single tests have timeouts of their own."""


@dataclass(frozen=True, slots=True)
class Suite:
    """`left_out`: files about what the emulator does not claim, with what that is."""

    name: str
    commit: str
    version: str
    files: tuple[str, ...]
    left_out: Mapping[str, str]
    path_of: Callable[[str], str]
    command: Callable[[Path, str, Path], list[str]]
    """(checkouts, the file's path in the suite, where the JUnit report goes)"""
    environment: Callable[[Path, int], Mapping[str, str]]
    """(certificate, port)"""

    def run(self, checkouts: Path, file: str, report: Path, certificate: Path, port: int) -> str | None:
        """Why the file could not be run to its end; None when it was, whatever its tests came to."""
        command = self.command(checkouts, self.path_of(file), report)
        environment = {**os.environ, **self.environment(certificate, port)}
        with report.with_suffix(".log").open("wb") as log:
            try:
                subprocess.run(
                    command,
                    cwd=checkouts / self.name,
                    env=environment,
                    stdout=log,
                    stderr=log,
                    timeout=FILE_DEADLINE,
                    check=False,
                )
            except subprocess.TimeoutExpired:
                return f"not finished after {FILE_DEADLINE} s"
        return None if report.exists() else "no report was written"

    def found_commit(self, checkouts: Path) -> str:
        """The commit checked out, with a mark when a file of the suite differs from it."""
        where = str(checkouts / self.name)
        head = subprocess.run(["git", "-C", where, "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
        changed = subprocess.run(
            ["git", "-C", where, "diff", "--quiet", "--ignore-submodules", "HEAD", "--", "test/realtime", "test/rest"]
            if self.name == "ably-js"
            else ["git", "-C", where, "diff", "--quiet", "HEAD", "--", "test"],
            check=False,
            capture_output=True,
        )
        return head.stdout.strip() + (" (modified)" if changed.returncode else "")


def _mocha(checkouts: Path, path: str, report: Path) -> list[str]:
    del checkouts
    reporter = ["--reporter", "mocha-junit-reporter", "--reporter-options", f"mochaFile={report}"]
    return ["node", "node_modules/mocha/bin/_mocha", "--exit", *reporter, path]


def _pytest(checkouts: Path, path: str, report: Path) -> list[str]:
    python = str(checkouts / "venv" / "bin" / "python")
    return [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--timeout", "60", f"--junitxml={report}", path]


ABLY_JS = Suite(
    name="ably-js",
    commit="7fa7dc5993af3b67ab05fea2b6a242f729d9088f",
    version="2.26.0",
    files=(
        "realtime/api",
        "realtime/auth",
        "realtime/channel",
        "realtime/connection",
        "realtime/connectivity",
        "realtime/encoding",
        "realtime/event_emitter",
        "realtime/failure",
        "realtime/history",
        "realtime/init",
        "realtime/message",
        "realtime/reauth",
        "realtime/resume",
        "realtime/transports",
        "realtime/updates-deletes",
        "realtime/utils",
        "rest/api",
        "rest/auth",
        "rest/batch",
        "rest/capability",
        "rest/defaults",
        "rest/fallbacks",
        "rest/history",
        "rest/http",
        "rest/init",
        "rest/message",
        "rest/request",
        "rest/status",
        "rest/time",
        "rest/updates-deletes",
    ),
    left_out={
        "realtime/annotations": "annotations",
        "realtime/crypto": "encryption, which is the client's own",
        "realtime/delta": "deltas",
        "realtime/liveobjects": "LiveObjects",
        "realtime/presence": "presence",
        "realtime/sync": "presence",
        "rest/bufferutils": "no server",
        "rest/liveobjects": "LiveObjects",
        "rest/presence": "presence",
        "rest/push": "push",
        "rest/stats": "statistics",
    },
    path_of=lambda file: f"test/{file}.test.js",
    command=_mocha,
    environment=lambda certificate, port: {
        "NODE_EXTRA_CA_CERTS": str(certificate),
        "ABLY_LOCAL_SANDBOX_URL": f"https://localhost:{port}",
        "ABLY_TEST_TRANSPORTS": "web_socket",
        "NODE_OPTIONS": f"--require {RESOLVE / 'resolve.cjs'}",
    },
)

ABLY_PYTHON = Suite(
    name="ably-python",
    commit="7579682b87714a666792c6de2282fc5519f22bf4",
    version="3.1.2",
    files=(
        "realtime/eventemitter_test",
        "realtime/realtimeauth_test",
        "realtime/realtimechannel_publish_test",
        "realtime/realtimechannel_test",
        "realtime/realtimechannelmutablemessages_test",
        "realtime/realtimeconnection_test",
        "realtime/realtimeinit_test",
        "realtime/realtimeresume_test",
        "rest/encoders_test",
        "rest/restauth_test",
        "rest/restcapability_test",
        "rest/restchannelhistory_test",
        "rest/restchannelmutablemessages_test",
        "rest/restchannelpublish_test",
        "rest/restchannels_test",
        "rest/restchannelstatus_test",
        "rest/resthttp_test",
        "rest/restinit_test",
        "rest/restpaginatedresult_test",
        "rest/restrequest_test",
        "rest/resttime_test",
        "rest/resttoken_test",
    ),
    left_out={
        "realtime/presencemap_test": "presence",
        "realtime/realtimeannotations_test": "annotations",
        "realtime/realtimechannel_vcdiff_test": "deltas",
        "realtime/realtimepresence_test": "presence",
        "rest/restannotations_test": "annotations",
        "rest/restcrypto_test": "encryption, which is the client's own",
        "rest/restpresence_test": "presence",
        "rest/restpush_test": "push",
        "rest/reststats_test": "statistics",
    },
    path_of=lambda file: f"test/ably/{file}.py",
    command=_pytest,
    environment=lambda certificate, _port: {
        "SSL_CERT_FILE": str(certificate),
        "ABLY_ENDPOINT": "localhost",
        "PYTHONPATH": str(RESOLVE),
    },
)

SUITES = (ABLY_JS, ABLY_PYTHON)
