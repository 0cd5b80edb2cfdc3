"""Real servers on loopback: Prometheus, Alertmanager, and receivers for what they send."""

from __future__ import annotations

import json
import re
import shutil
import socket
import socketserver
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from streams import deathwatch
from tests.deploy.tools import DEPLOY, RULES, read_yaml, tool, write_yaml

HOST = "127.0.0.1"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until(check: Any, what: str, seconds: float) -> Any:
    """Asks again and again until the answer is true; returns it."""
    end = time.monotonic() + seconds
    while True:
        try:
            if answer := check():
                return answer
            last: object = answer
        except (OSError, AssertionError) as error:
            last = error
        assert time.monotonic() < end, f"{what}: not within {seconds:g} s; last: {last}"
        time.sleep(0.25)


def fetch(url: str, data: dict[str, str] | None = None) -> Any:
    """The JSON that a URL answers; a refused query is an AssertionError with the server's reason."""
    body = urllib.parse.urlencode(data).encode() if data is not None else None
    try:
        with urllib.request.urlopen(url, data=body, timeout=10) as answer:
            return json.loads(answer.read())
    except urllib.error.HTTPError as error:
        raise AssertionError(f"{error.code} {error.read().decode(errors='replace')}") from error


class Process:
    """A server process that dies with the tests, its output in `log`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.log = directory / "log"
        self._process: subprocess.Popen[bytes] | None = None

    def launch(self, *command: str, **more: Any) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, deathwatch.__file__, *command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                **more,
            )

    def stop(self) -> None:
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def said(self) -> str:
        return self.log.read_text(errors="replace")[-3000:] if self.log.exists() else ""


class Prometheus(Process):
    """Prometheus with the committed config and rules; only addresses, intervals and `for:` are the test's."""

    def __init__(
        self,
        directory: Path,
        targets: list[str],
        *,
        alertmanager: str,
        every: str = "1s",
        hold: str | None = None,
    ) -> None:
        super().__init__(directory)
        self.url = f"http://{HOST}:{free_port()}"
        config = read_yaml(DEPLOY / "prometheus" / "prometheus.yml")
        config["global"] = {"scrape_interval": every, "scrape_timeout": "1s", "evaluation_interval": every}
        config["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"] = [alertmanager]
        config["scrape_configs"] = [
            job for job in config["scrape_configs"] if job["job_name"] == "conversion-monitor"
        ]
        config["scrape_configs"][0]["static_configs"][0]["targets"] = targets
        self.config = write_yaml(directory / "prometheus.yml", config)
        (directory / "rules").mkdir()
        for path in RULES:
            text = path.read_text(encoding="utf-8")
            if hold is not None:
                text = re.sub(r"^( +for:) .*$", rf"\1 {hold}", text, flags=re.MULTILINE)
            (directory / "rules" / path.name).write_text(text, encoding="utf-8")

    def start(self) -> None:
        address = self.url.removeprefix("http://")
        self.launch(
            tool("prometheus"),
            f"--config.file={self.config}",
            f"--storage.tsdb.path={self.directory / 'data'}",
            f"--web.listen-address={address}",
            "--log.level=warn",
        )
        wait_until(lambda: self.query("vector(1)"), f"Prometheus on {address}: {self.said()}", 20)

    def query(self, expr: str) -> list[dict[str, Any]]:
        """Instant query; an error of Prometheus is an AssertionError."""
        found: list[dict[str, Any]] = fetch(f"{self.url}/api/v1/query", {"query": expr})["data"]["result"]
        return found

    def query_range(self, expr: str, *, seconds: int = 20, step: int = 1) -> list[dict[str, Any]]:
        now = time.time()
        asked = {"query": expr, "start": f"{now - seconds:.3f}", "end": f"{now:.3f}", "step": str(step)}
        found: list[dict[str, Any]] = fetch(f"{self.url}/api/v1/query_range", asked)["data"]["result"]
        return found

    def label_values(self, label: str, selector: str) -> list[str]:
        asked = urllib.parse.urlencode({"match[]": selector})
        found: list[str] = fetch(f"{self.url}/api/v1/label/{label}/values?{asked}")["data"]
        return found

    def wait_for(self, expr: str, *, seconds: float) -> list[dict[str, Any]]:
        answer: list[dict[str, Any]] = wait_until(lambda: self.query(expr), f"{expr}", seconds)
        return answer


class Alertmanager(Process):
    """Alertmanager with the committed config, routes and templates; receivers and waits are the test's."""

    def __init__(self, directory: Path, receiver: Receiver, mail: MailBox) -> None:
        super().__init__(directory)
        self.address = f"{HOST}:{free_port()}"
        shutil.copytree(DEPLOY / "alertmanager" / "templates", directory / "templates")
        secrets = {
            "slack_url": f"{receiver.url}/slack",
            "webhook_token": "a-token",
            "smtp_password": "unused",
        }
        for name, value in secrets.items():
            (directory / name).write_text(value, encoding="utf-8")
        config = read_yaml(DEPLOY / "alertmanager" / "alertmanager.yml")
        config["templates"] = [f"{directory}/templates/*.tmpl"]
        config["global"] |= {"smtp_smarthost": mail.address, "smtp_require_tls": False}
        for key in ("smtp_auth_username", "smtp_auth_password_file"):  # not over a plain connection
            del config["global"][key]
        config["global"]["slack_api_url_file"] = str(directory / "slack_url")
        config["route"] |= {"group_wait": "1s", "group_interval": "3s"}
        [webhook] = [r for r in config["receivers"] if r["name"] == "on-call"]
        webhook["webhook_configs"][0]["url"] = f"{receiver.url}/webhook"
        token = {"credentials_file": str(directory / "webhook_token")}
        webhook["webhook_configs"][0]["http_config"]["authorization"] = token
        self.config = write_yaml(directory / "alertmanager.yml", config)

    def start(self) -> None:
        self.launch(
            tool("prometheus-alertmanager"),
            f"--config.file={self.config}",
            f"--storage.path={self.directory / 'data'}",
            f"--web.listen-address={self.address}",
            "--cluster.listen-address=",
            "--log.level=warn",
        )
        wait_until(lambda: fetch(f"http://{self.address}/api/v2/status"), f"Alertmanager: {self.said()}", 20)


class Receiver:
    """Takes every POST on loopback and keeps it: (path, headers, JSON)."""

    def __init__(self) -> None:
        self.posts: list[tuple[str, dict[str, str], Any]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.posts.append((self.path, dict(self.headers), body))
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer((HOST, 0), Handler)
        self.url = f"http://{HOST}:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def got(self, path: str) -> list[Any]:
        return [body for where, _, body in self.posts if where == path]

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class MailBox:
    """As much SMTP as Alertmanager speaks, on loopback; keeps the mails as text."""

    def __init__(self) -> None:
        self.mails: list[str] = []
        outer = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                self.wfile.write(b"220 test\r\n")
                while line := self.rfile.readline().decode().strip().upper():
                    if line.startswith("DATA"):
                        self.wfile.write(b"354 go on\r\n")
                        lines = iter(self.rfile.readline, b".\r\n")
                        outer.mails.append(b"".join(lines).decode())
                    self.wfile.write(b"221 bye\r\n" if line.startswith("QUIT") else b"250 ok\r\n")
                    if line.startswith("QUIT"):
                        return

        self._server = socketserver.ThreadingTCPServer((HOST, 0), Handler)
        self._server.daemon_threads = True
        self.address = f"{HOST}:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
